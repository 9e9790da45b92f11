"""Upload a folder with boto3 in threads: put_boto3.py ENDPOINT_URL BUCKET PREFIX FOLDER IN_FLIGHT.

One client for all threads (clients are safe to share), pool and threads of the same size, put_object rather than
upload_file, which would add a transfer manager to every object.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

endpoint_url, bucket, prefix, folder, in_flight = sys.argv[1:]
client = boto3.client(
    "s3", endpoint_url=endpoint_url, region_name="us-east-1",
    config=Config(max_pool_connections=int(in_flight), s3={"addressing_style": "path"}),
)  # fmt: skip


def put(name: str) -> None:
    """Upload one file."""
    with open(os.path.join(folder, name), "rb") as file:
        client.put_object(Bucket=bucket, Key=prefix + name, Body=file.read())


names = (f"{entry.name}/{file}" for entry in os.scandir(folder) for file in os.listdir(entry.path))
with ThreadPoolExecutor(int(in_flight)) as pool:
    for _ in pool.map(put, names):
        pass
