"""Upload a folder with obstore and asyncio: put_obstore.py ENDPOINT_URL BUCKET PREFIX FOLDER IN_FLIGHT.

Its fastest form found: so many tasks that take files from one iterator (a semaphore over a task per file is the same
bound and costs a task per file), bodies read by Python.
"""

import asyncio
import os
import sys
from collections.abc import Iterator

from obstore.store import S3Store

endpoint_url, bucket, prefix, folder, in_flight = sys.argv[1:]


def files() -> Iterator[tuple[str, str]]:
    """Path and key of every file."""
    for entry in os.scandir(folder):
        for file in os.scandir(entry.path):
            yield file.path, f"{prefix}{entry.name}/{file.name}"


async def lane(store: S3Store, todo: Iterator[tuple[str, str]]) -> None:
    """One upload after another."""
    for path, key in todo:
        with open(path, "rb") as file:
            body = file.read()
        await store.put_async(key, body)


async def main() -> None:
    """All lanes over one store."""
    store = S3Store(
        bucket, endpoint=endpoint_url, region="us-east-1", virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )  # fmt: skip
    todo = files()
    await asyncio.gather(*(lane(store, todo) for _ in range(int(in_flight))))


asyncio.run(main())
