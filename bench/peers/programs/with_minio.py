"""One job with minio-py: with_minio.py JOB URL BUCKET KEY PATH IN_FLIGHT [PART_MIB].

Jobs: put, get (one file: parts of a put go in parallel, a get is one answer), upload, download (a flat folder of large
files, so many in threads). The region is given, or it would ask for the bucket's; one client, its pool of that size.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import urllib3
from minio import Minio

job, endpoint_url, bucket, key, path, number, *rest = sys.argv[1:]
in_flight, part_bytes = int(number), int(rest[0] if rest else 16) * 1024 * 1024
url = urlsplit(endpoint_url)
client = Minio(
    url.netloc, access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=url.scheme == "https", region="us-east-1",
    http_client=urllib3.PoolManager(maxsize=in_flight, ca_certs=os.environ.get("AWS_CA_BUNDLE")),
)  # fmt: skip


def put(one: str, file: str, parallel: int = 1) -> None:
    """Upload a file."""
    client.fput_object(bucket, one, file, part_size=part_bytes, num_parallel_uploads=parallel)


if job == "put":
    put(key, path, in_flight)
elif job == "get":
    client.fget_object(bucket, key, path)
else:
    with ThreadPoolExecutor(in_flight) as pool:
        if job == "upload":
            list(pool.map(lambda name: put(key + name, os.path.join(path, name)), os.listdir(path)))
        else:
            keys = [str(one.object_name) for one in client.list_objects(bucket, key, recursive=True)]
            list(pool.map(lambda one: client.fget_object(bucket, one, os.path.join(path, one[len(key) :])), keys))
