"""When a run of a work was right: by the sink's log, by what is stored, by the files that were made."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from bench.peers.contenders import NOBODY, Job
from bench.peers.place import BEGIN_BYTES, BLOCK_BYTES, Place, Seen, names, same_bytes, same_files
from bench.sink import Request

__all__ = [
    "check_copy", "check_delete", "check_download", "check_large_down", "check_large_up", "check_list", "check_start",
    "check_upload",
]  # fmt: skip


def _puts(requests: Sequence[Request]) -> list[Request]:
    """Whole objects that were put, not parts."""
    return [one for one in requests if one.method == "PUT" and "partNumber=" not in one.path and one.status == 200]


def _same(stored: dict[str, int], wanted: dict[str, int]) -> str:
    if stored == wanted:
        return ""
    right = sum(wanted.get(key) == size for key, size in stored.items())
    return f"{right} of {len(wanted)} objects right, {len(stored) - right} others"


def check_upload(place: Place, seen: Seen, job: Job) -> str:
    if seen.stored is not None:
        return _same(seen.stored, {job.key + name: 1024 for name in place.small_sums})
    start = f"/{job.bucket}/{job.key}"
    puts = _puts(seen.requests)
    came = {unquote(one.path.partition("?")[0]) for one in puts if one.size_bytes == 1024}
    if came != {start + name for name in place.small_sums}:
        return f"{len(came)} keys of {len(place.small_sums)}"
    if len(puts) != len(place.small_sums):
        return f"{len(puts)} PUTs"
    signed = sum(place.small_sums[unquote(one.path.partition("?")[0])[len(start) :]] == one.sha256 for one in puts)
    return "" if signed in (0, len(puts)) else f"{signed} bodies signed"


def check_download(place: Place, seen: Seen, job: Job) -> str:
    return same_files(seen.out, place.small_sums)


def check_list(place: Place, seen: Seen, job: Job) -> str:
    asked = [one for one in seen.requests if one.method == "GET" and one.status == 200]
    n_pages = -(-place.sizes.listed // 1000)
    if seen.stored is None and len(asked) < n_pages:
        return f"{len(asked)} pages of {n_pages}"
    if not seen.listened:
        return ""  # timed without its output; the first run had it
    if not seen.printed.strip():
        return "it printed nothing"
    lines = seen.printed.strip().splitlines()
    told = re.search(r'"objects": (\d+)', lines[-1]) or re.fullmatch(r"(\d+)", lines[-1])
    count = int(told.group(1)) if told else len({line.rpartition("/")[2] for line in lines})
    return "" if count == place.sizes.listed else f"{count} keys of {place.sizes.listed}"


def check_delete(place: Place, seen: Seen, job: Job) -> str:
    if seen.stored is not None:
        return _same(seen.stored, {})
    wanted = {f"p/f{number // 1000:03}/{number:06}.bin" for number in range(place.sizes.listed)}
    alone = [one for one in seen.requests if one.method == "DELETE" and one.status == 204]
    deleted = [*seen.deleted, *(unquote(one.path)[len(f"/{job.bucket}/") :].partition("?")[0] for one in alone)]
    if set(deleted) != wanted or len(deleted) != len(wanted):
        return f"{len(deleted)} keys deleted of {len(wanted)}"
    return ""


def check_copy(place: Place, seen: Seen, job: Job) -> str:
    keys = [f"f{number // 1000:03}/{number:06}.bin" for number in range(place.sizes.small)]
    if seen.stored is not None:
        return _same(seen.stored, {job.path.partition("/")[2] + key: 1024 for key in keys})
    start = f"/{job.path}"
    came = [unquote(one.path.partition("?")[0]) for one in _puts(seen.requests)]
    wanted = {start + key for key in keys}
    return "" if len(came) == len(wanted) and set(came) == wanted else f"{len(came)} copies of {len(wanted)}"


def check_large_up(place: Place, seen: Seen, job: Job) -> str:
    """By number, size, place and signed SHA-256 of what was put: parts 1 to n of each object, or it whole."""
    wanted = {job.key: place.large}
    if job.verb == "upload":
        wanted = {job.key + name: place.many / name for name in names(place)}
    if seen.stored is not None:
        wrong = _same(seen.stored, {key: path.stat().st_size for key, path in wanted.items()})
        return wrong or next(filter(None, (_check_begins(seen, key, path) for key, path in wanted.items())), "")
    by_path: dict[str, list[Request]] = {}
    for one in seen.requests:
        if one.status == 200:
            by_path.setdefault(one.path.partition("?")[0], []).append(one)
    told = (_check_parts(key, path, by_path.get(f"/{job.bucket}/{key}", ())) for key, path in wanted.items())
    return next(filter(None, told), "")


def _check_parts(key: str, path: Path, mine: Sequence[Request]) -> str:
    """One object, by the requests about it that were answered 200."""
    bodies = sorted((one for one in mine if one.method == "PUT" and one.received_bytes > 16384), key=_part_number)
    numbers = [number for number in map(_part_number, bodies) if number]
    if numbers != list(range(1, len(bodies) + 1)) and (numbers or len(bodies) > 1):
        return f"{key}: parts {numbers[:3]}..."
    size = path.stat().st_size
    came = sum(one.received_bytes for one in bodies)
    # Heads come to a kilobyte or two; framing of chunks of 64 KiB and more to less than a percent.
    if not size <= came <= size + size // 100 + 4096 * len(bodies):
        return f"{key}: {came} bytes of {size}"
    done = [one for one in mine if one.method == "POST" and re.search("uploadId=", one.path)]
    if len(done) != (1 if numbers else 0):
        return f"{key}: {len(done)} completions"
    return _check_sums(key, path, bodies)


def _part_number(request: Request) -> int:
    found = re.search(r"partNumber=(\d+)", request.path)
    return int(found[1]) if found else 0


def _check_sums(key: str, path: Path, bodies: Sequence[Request]) -> str:
    """What was signed is what is in the file, in its place: bodies come in the order of their parts, as they are.

    Nothing can be told of bodies whose SHA-256 is not signed; those in a framing are longer than what they hold.
    """
    signed = [one for one in bodies if _is_sum(one.sha256)]
    if len(signed) not in (0, len(bodies)):
        return f"{key}: {len(signed)} bodies of {len(bodies)} signed"
    if not any(one.sha256.startswith("STREAMING") or one.size_bytes < 0 for one in bodies):
        came = sum(one.size_bytes for one in bodies)
        if came != path.stat().st_size:
            return f"{key}: {came} bytes of {path.stat().st_size}"
    start = 0
    for one in signed:
        if one.sha256 != _sum_of(str(path), start, one.size_bytes):
            return f"{key}: {one.size_bytes} bytes from {start} on are others"
        start += one.size_bytes
    return ""


_is_sum = re.compile("[0-9a-f]{64}").fullmatch


@functools.cache
def _sum_of(path: str, start: int, size_bytes: int) -> str:
    """SHA-256 of a range of a file. Kept: a GiB takes a second, and everybody's parts begin where others' do."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(start)
        while size_bytes > 0 and (some := file.read(min(size_bytes, BLOCK_BYTES))):
            found.update(some)
            size_bytes -= len(some)
    return found.hexdigest()


def _check_begins(seen: Seen, key: str, path: Path) -> str:
    """The beginning of each MiB of a stored object, which says where it belongs."""
    with open(path, "rb") as file:
        for start in range(0, path.stat().st_size, BLOCK_BYTES):
            file.seek(start)
            if seen.read(key, start, BEGIN_BYTES) != file.read(BEGIN_BYTES):
                return f"{key} differs at {start}"
    return ""


def check_large_down(place: Place, seen: Seen, job: Job) -> str:
    if job.verb == "get":
        return same_bytes(seen.out / "one.bin", place.large)
    found = sorted(path.name for path in seen.out.iterdir())
    if found != names(place):
        return f"{len(found)} files"
    return next(filter(None, (same_bytes(seen.out / name, place.many / name) for name in found)), "")


def check_start(place: Place, seen: Seen, job: Job) -> str:
    """It asked once or twice, and was answered; who does nothing asked nothing."""
    asked, answered = len(seen.requests), sum(one.status == 200 for one in seen.requests)
    if seen.contender == NOBODY:
        return f"{asked} requests" if asked else ""
    return "" if asked == answered and asked in (1, 2) else f"{asked} requests, {answered} answered 200"
