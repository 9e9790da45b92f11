"""Where the works are done: the sink with everything in it, and the files to upload."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.harness import body, make_files
from bench.sink import Request, Sink, memory_folder
from bench.sink_data import Listed

__all__ = ["BEGIN_BYTES", "BLOCK_BYTES", "Place", "Seen", "Server", "Sizes", "make_large", "nginx_place"]

BLOCK_BYTES = 1024 * 1024
BEGIN_BYTES = 4096
"""Of each block: enough to say which it is."""


class Sizes(NamedTuple):
    """How much there is to do."""

    small: int = 10_000
    """Files and objects of 1 KiB."""
    listed: int = 100_000
    """Keys to list and to delete."""
    large_mib: int = 1024
    """Size of the one large file."""
    many: int = 64
    """Files of ``many_mib`` each."""
    many_mib: int = 16


class Seen(NamedTuple):
    """What is left of a run, to judge it by."""

    requests: list[Request]
    deleted: list[str]
    out: Path
    printed: str
    stored: dict[str, int] | None = None
    """Sizes by key of the bucket that was written to or deleted from, where the server has no log."""
    read: Callable[[str, int, int], bytes] = lambda key, start, size_bytes: b""
    """Of an object in that bucket so many bytes from there on, where the server has no log."""
    contender: str = ""
    """Whose run it is."""
    listened: bool = False
    """What it printed was kept."""


class Server(Protocol):
    """What the works ask of a server."""

    endpoint_url: str
    late_endpoint_url: str
    tls_endpoint_url: str

    @property
    def ca_file(self) -> str:
        """The certificate to trust."""

    def requests(self) -> list[Request]:
        """Those since the last call."""

    def deleted(self) -> list[str]:
        """The keys of DeleteObjects since the last call."""

    def cpu_s(self) -> float:
        """CPU seconds it used so far."""


class Place(NamedTuple):
    """A server with what the works need, and the folder for what they make."""

    sink: Server
    sizes: Sizes
    small: Path
    """The folder with the small files."""
    small_sums: dict[str, str]
    """SHA-256 by name relative to it."""
    many: Path
    """The folder with the files of 16 MiB; empty when they are not needed."""
    large: Path
    keys_file: Path
    scratch: Path


@contextlib.contextmanager
def nginx_place(sizes: Sizes, *, large: bool, tls: bool) -> Iterator[Place]:
    """The sink. ``large``: with the large files, which take 2 GiB of memory for as long as it runs.

    Raises SinkUnavailable.
    """
    prefix = "p/"
    where = memory_folder(3 * sizes.large_mib * BLOCK_BYTES if large else 1 << 28)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s3engine-peers-", dir=where)))
        folder, sums = stack.enter_context(make_files(sizes.small, min(100, sizes.small), 1024))
        objects = {prefix + name: Path(folder, name).read_bytes() for name in sums}
        blobs = {}
        if large:
            make_large(scratch / "large" / "one.bin", sizes.large_mib)
            blobs["one.bin"] = scratch / "large" / "one.bin"
            for number in range(sizes.many):
                path = scratch / "many" / f"{number:03}.bin"
                make_large(path, sizes.many_mib, seed=1 + number)
                blobs[f"p/{path.name}"] = path
        keys = [f"p/f{number // 1000:03}/{number:06}.bin" for number in range(sizes.listed)]
        listed = {"listed": [Listed(key) for key in keys], "sources": [Listed(key) for key in keys[: sizes.small]]}
        sink = stack.enter_context(Sink(objects, listed=listed, blobs=blobs, tls=tls))
        keys_file = scratch / "keys"
        keys_file.write_text("\n".join(objects))
        one, many = scratch / "large" / "one.bin", scratch / "many"
        yield Place(sink, sizes, Path(folder), sums, many, one, keys_file, scratch)


def make_large(path: Path, mib: int, seed: int = 0) -> None:
    """A file of ``mib`` MiB, each of them unlike any other, at the cost of one: a block whose first bytes count."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = bytearray(body("block", BLOCK_BYTES))
    with open(path, "wb") as file:
        for number in range(mib):
            block[:32] = hashlib.sha256(b"%d %d" % (seed, number)).digest()
            file.write(block)


def fresh(place: Place) -> Path:
    """An empty folder for what one run makes; the one before is removed."""
    out = place.scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return out


def same_files(out: Path, wanted: dict[str, str], sample: int = 200) -> str:
    """"" when ``out`` holds these files and no others, of 1 KiB, and those of a sample have their SHA-256."""
    found = {os.path.relpath(os.path.join(folder, name), out) for folder, _, names in os.walk(out) for name in names}
    if found != wanted.keys():
        return f"{len(found)} files, {len(found ^ wanted.keys())} of them missing or others"
    for name in sorted(wanted)[:: max(1, len(wanted) // sample)]:
        if hashlib.sha256((out / name).read_bytes()).hexdigest() != wanted[name]:
            return f"{name} differs"
    if any((out / name).stat().st_size != 1024 for name in wanted):
        return "sizes differ"
    return ""


def same_bytes(mine: Path, others: Path) -> str:
    """"" when two files are equal: by size, and the beginning of each of their MiB, which says where it belongs."""
    if mine.stat().st_size != others.stat().st_size:
        return f"{mine.name} has {mine.stat().st_size} bytes"
    with open(mine, "rb") as one, open(others, "rb") as two:
        for start in range(0, mine.stat().st_size, BLOCK_BYTES):
            one.seek(start)
            two.seek(start)
            # Whole, every sixteenth: parts end where MiB do, so what a part gets wrong shows in its first bytes.
            size = BLOCK_BYTES if start // BLOCK_BYTES % 16 == 0 else BEGIN_BYTES
            if one.read(size) != two.read(size):
                return f"{mine.name} differs at {start}"
    return ""


def names(place: Place) -> Sequence[str]:
    """Of the files of 16 MiB."""
    return [f"{number:03}.bin" for number in range(place.sizes.many)]
