"""One job with fast-s3: with_fast_s3.py JOB URL BUCKET PREFIX PATH IN_FLIGHT [KEYS].

Jobs: upload, download. fast-s3 lists nothing, so the keys of a download are given to it in a file, which is in its
favour. Bodies are given as bytes: reading through its thread pool was slower.
"""

import itertools
import os
import sys
from collections.abc import Iterator

from fast_s3 import Fetcher, Status, Uploader

job, endpoint_url, bucket, prefix, path, number, *rest = sys.argv[1:]
access = {
    "endpoint_url": endpoint_url, "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"], "region_name": "us-east-1", "bucket_name": bucket,
    "concurrency": int(number), "addressing_style": "path",
}  # fmt: skip


def files() -> Iterator[tuple[bytes, str]]:
    """Body and key of every file."""
    for entry in os.scandir(path):
        for file in os.scandir(entry.path):
            with open(file.path, "rb") as body:
                yield body.read(), f"{prefix}{entry.name}/{file.name}"


def upload() -> bool:
    """In slices, so that not all bodies are in memory at a time."""
    todo = files()
    with Uploader(**access) as uploader:
        while some := list(itertools.islice(todo, 2000)):
            uploader.queue_upload([body for body, _ in some], [key for _, key in some])
        return all(result.status == "done" for result in uploader.await_upload())


def download() -> bool:
    """Unordered, which is its faster way."""
    with open(rest[0], encoding="ascii") as file:
        keys = file.read().split()
    good = True
    for folder in {os.path.dirname(key[len(prefix) :]) for key in keys}:
        os.makedirs(os.path.join(path, folder), exist_ok=True)
    for one in Fetcher(keys, **access):
        good &= one.status == Status.succeeded
        with open(os.path.join(path, str(one.path)[len(prefix) :]), "wb") as target:
            target.write(one.content)
    return good


sys.exit(0 if {"upload": upload, "download": download}[job]() else 1)
