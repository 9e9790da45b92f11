"""Counts words with obstore and multiprocessing: count_obstore.py URL BUCKET PREFIX FUNCTION PROCESSES IN_FLIGHT.

IN_FLIGHT 1: each process gets one object after another. More: it runs so many tasks of asyncio over slices of keys.
"""

import asyncio
import json
import multiprocessing
import os
import sys
from typing import Any

from counting import FUNCTIONS  # type: ignore[import-not-found]  # beside this file: found when it is run
from obstore.store import S3Store

endpoint_url, bucket, prefix, function, processes, in_flight = sys.argv[1:]
count = FUNCTIONS[function]
store: Any = None
SLICE = 250


def connect() -> None:
    """Once in each process."""
    global store
    store = S3Store(
        bucket, endpoint=endpoint_url, region="us-east-1", virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )  # fmt: skip


def words(key: str) -> int:
    """Of one object."""
    number: int = count(store.get(key).bytes())
    return number


def words_of_some(keys: list[str]) -> list[int]:
    """Of each of some objects."""
    todo, numbers = iter(keys), []

    async def lane() -> None:
        for key in todo:
            numbers.append(count(await (await store.get_async(key)).bytes_async()))

    async def lanes() -> None:
        await asyncio.gather(*(lane() for _ in range(int(in_flight))))

    asyncio.run(lanes())
    return numbers


def main() -> None:
    """Sums up."""
    connect()
    keys = [found["path"] for page in store.list(prefix, chunk_size=1000) for found in page]
    # Not forked: the library's threads would not be in the children.
    with multiprocessing.get_context("spawn").Pool(int(processes), connect) as pool:
        if in_flight == "1":
            numbers = list(pool.imap_unordered(words, keys, 16))
        else:
            slices = [keys[at : at + SLICE] for at in range(0, len(keys), SLICE)]
            numbers = [number for some in pool.imap_unordered(words_of_some, slices) for number in some]
    print(json.dumps({"total": sum(numbers), "objects": len(numbers)}), flush=True)
    os._exit(0)  # obstore aborts now and then while the interpreter is taken down; this is in its favour


if __name__ == "__main__":
    main()
