"""Upload a folder with minio in threads: put_minio.py ENDPOINT_URL BUCKET PREFIX FOLDER IN_FLIGHT.

One client for all threads, its pool of the same size. The region is given, or it would ask for the bucket's.
"""

import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import urllib3
from minio import Minio

endpoint_url, bucket, prefix, folder, in_flight = sys.argv[1:]
client = Minio(
    urlsplit(endpoint_url).netloc, access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"], secure=False, region="us-east-1",
    http_client=urllib3.PoolManager(maxsize=int(in_flight)),
)  # fmt: skip


def put(name: str) -> None:
    """Upload one file."""
    with open(os.path.join(folder, name), "rb") as file:
        body = file.read()
    client.put_object(bucket, prefix + name, io.BytesIO(body), len(body))


names = (f"{entry.name}/{file}" for entry in os.scandir(folder) for file in os.listdir(entry.path))
with ThreadPoolExecutor(int(in_flight)) as pool:
    for _ in pool.map(put, names):
        pass
