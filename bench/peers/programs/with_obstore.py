"""One job with obstore: with_obstore.py JOB URL BUCKET PREFIX PATH IN_FLIGHT [HOW].

Jobs: upload, download, list, delete, put, get. As its users write it, and as fast as was found: asyncio, so many
tasks that share one iterator (a semaphore over a task per object was no faster), listings in chunks of a page.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

job, endpoint_url, bucket, prefix, path, number, *rest = sys.argv[1:]
in_flight, how = int(number), rest[0] if rest else ""
RANGE_BYTES = 8 * 1024 * 1024


def store_of(name: str) -> S3Store:
    """A store for one bucket, with as many idle connections as requests; over TLS bodies are not signed."""
    return S3Store(
        name, endpoint=endpoint_url, region="us-east-1", virtual_hosted_style_request=False,
        unsigned_payload=endpoint_url.startswith("https:"),
        client_options={"allow_http": True, "timeout": "300s"},
    )  # fmt: skip


def files() -> Iterator[tuple[str, str]]:
    """Path and key of every file, folders of one level."""
    for entry in os.scandir(path):
        if entry.is_dir():
            for file in os.scandir(entry.path):
                yield file.path, f"{prefix}{entry.name}/{file.name}"
        else:
            yield entry.path, prefix + entry.name


async def lanes(todo: Iterator[Any], work: Callable[[Any], Awaitable[Any]]) -> None:
    """So many tasks, one piece of work after another."""

    async def lane() -> None:
        for item in todo:
            await work(item)

    await asyncio.gather(*(lane() for _ in range(in_flight)))


async def upload(store: S3Store) -> None:
    """Bodies are read by Python, with "whole" never sent in parts; or, with "path", by obstore."""

    async def put(item: tuple[str, str]) -> None:
        if how == "path":
            await store.put_async(item[1], Path(item[0]))
            return
        with open(item[0], "rb") as file:
            body = file.read()
        await store.put_async(item[1], body, use_multipart=False if how == "whole" else None)

    await lanes(files(), put)


async def listed(store: S3Store) -> AsyncIterator[str]:
    """Keys, as pages come."""
    async for page in store.list(prefix, chunk_size=1000):
        for meta in page:
            yield meta["path"]


async def download(store: S3Store) -> None:
    """Workers take keys from the listing while it goes on; files are written by Python."""
    queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=20_000)
    folders: set[str] = set()

    async def worker() -> None:
        while (key := await queue.get()) is not None:
            body = await (await store.get_async(key)).bytes_async()
            target = os.path.join(path, key[len(prefix) :])
            folder = os.path.dirname(target)
            if folder not in folders:
                os.makedirs(folder, exist_ok=True)
                folders.add(folder)
            with open(target, "wb") as file:
                file.write(body)

    workers = [asyncio.create_task(worker()) for _ in range(in_flight)]
    async for key in listed(store):
        await queue.put(key)
    for _ in workers:
        await queue.put(None)
    await asyncio.gather(*workers)


async def delete(store: S3Store) -> None:
    """Each page of the listing is deleted while the next comes."""
    gate = asyncio.Semaphore(in_flight)

    async def some(keys: list[str]) -> None:
        async with gate:
            await store.delete_async(keys)

    tasks = []
    async for page in store.list(prefix, chunk_size=1000):
        tasks.append(asyncio.create_task(some([meta["path"] for meta in page])))
    await asyncio.gather(*tasks)


async def get(store: S3Store) -> None:
    """One object in ranges, several at a time, or with "stream" as one answer."""
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    if how == "stream":
        at = 0
        async for chunk in (await store.get_async(prefix)).stream(min_chunk_size=1024 * 1024):
            at += os.pwrite(target, chunk, at)
        return
    size = (await store.head_async(prefix))["size"]

    async def part(start: int) -> None:
        data = await store.get_range_async(prefix, start=start, end=min(start + RANGE_BYTES, size))
        os.pwrite(target, data, start)

    await lanes(iter(range(0, size, RANGE_BYTES)), part)


def main() -> None:
    """What was asked for."""
    store = store_of(bucket)
    if job == "list":
        if how == "arrow":
            pages = store.list(prefix, chunk_size=1000, return_arrow=True)
            print(sum(len(page["path"].to_pylist()) for page in pages))  # keys as Python has them
        else:
            print(sum(1 for _ in itertools.chain.from_iterable(store.list(prefix, chunk_size=1000))))
    elif job == "put":
        part_bytes = int(how or 8) * 1024 * 1024
        obstore.put(store, prefix, Path(path), chunk_size=part_bytes, max_concurrency=in_flight)
    else:
        jobs = {"upload": upload, "download": download, "delete": delete, "get": get}
        asyncio.run(jobs[job](store))


main()
sys.stdout.flush()
# obstore 0.12 aborts now and then while the interpreter is taken down, when all is done already. Leaving without that
# is in its favour.
os._exit(0)
