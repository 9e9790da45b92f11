"""Upload a folder with obstore and asyncio: put_obstore.py ENDPOINT_URL BUCKET PREFIX FOLDER IN_FLIGHT [path].

So many tasks take files from one iterator; a semaphore over a task per file was no faster. Bodies are read by Python,
or, with "path", by obstore.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from obstore.store import S3Store

endpoint_url, bucket, prefix, folder, in_flight, *how = sys.argv[1:]


def files() -> Iterator[tuple[str, str]]:
    """Path and key of every file."""
    for entry in os.scandir(folder):
        for file in os.scandir(entry.path):
            yield file.path, f"{prefix}{entry.name}/{file.name}"


async def lane(store: S3Store, todo: Iterator[tuple[str, str]]) -> None:
    """One upload after another."""
    for path, key in todo:
        if how:
            await store.put_async(key, Path(path))
            continue
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
# obstore 0.12 aborts now and then while the interpreter is taken down, when all is uploaded already. Leaving without
# that is in its favour.
os._exit(0)
