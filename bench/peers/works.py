"""The works of the table: what is to be done, who takes part, what is to be reached, and when a run was right."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from bench.peers.contenders import Contender, Job, starters, with_options
from bench.peers.place import Place, Seen, names, same_bytes, same_files
from bench.sink import Request
from bench.sink_config import EMPTY_BUCKET

__all__ = ["WORKS", "Goal", "Work"]


class Goal(NamedTuple):
    """A ratio to a peer: ours is at most ``limit`` times theirs."""

    figure: str
    """wall or cpu."""
    limit: float
    """0: there is none, and the ratio is shown."""
    against: str = ""
    """A peer, or "" for the best of them."""


class Work(NamedTuple):
    """A row (or a few) of the table."""

    name: str
    title: str
    """With the fields of ``Sizes`` in braces."""
    peers: Sequence[str]
    goals: Sequence[Goal]
    job: Callable[[Place], Job]
    check: Callable[[Place, Seen, Job], str]
    """What is wrong with a run; "" when nothing is."""
    costs: Callable[[Job, Place], Sequence[Contender]] = lambda job, place: ()
    """Ours with a safety more or less."""
    large: bool = False
    """It needs the large files."""
    who: Callable[[Job], Sequence[Contender]] | None = None
    """Who takes part, where it is not who does the job's verb."""
    repeat: int = 1
    """Runs to a round: of what is over soon."""


def _puts(requests: Sequence[Request]) -> list[Request]:
    """Whole objects that were put, not parts."""
    return [one for one in requests if one.method == "PUT" and "partNumber=" not in one.path and one.status == 200]


def _same(stored: dict[str, int], wanted: dict[str, int]) -> str:
    if stored == wanted:
        return ""
    right = sum(wanted.get(key) == size for key, size in stored.items())
    return f"{right} of {len(wanted)} objects right, {len(stored) - right} others"


def _check_upload(place: Place, seen: Seen, job: Job) -> str:
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


def _check_download(place: Place, seen: Seen, job: Job) -> str:
    return same_files(seen.out, place.small_sums)


def _check_list(place: Place, seen: Seen, job: Job) -> str:
    asked = [one for one in seen.requests if one.method == "GET" and one.status == 200]
    n_pages = -(-place.sizes.listed // 1000)
    if seen.stored is None and len(asked) < n_pages:
        return f"{len(asked)} pages of {n_pages}"
    if not seen.printed.strip():
        return ""  # timed without its output; the first run had it
    lines = seen.printed.strip().splitlines()
    told = re.search(r'"objects": (\d+)', lines[-1]) or re.fullmatch(r"(\d+)", lines[-1])
    count = int(told.group(1)) if told else len({line.rpartition("/")[2] for line in lines})
    return "" if count == place.sizes.listed else f"{count} keys of {place.sizes.listed}"


def _check_delete(place: Place, seen: Seen, job: Job) -> str:
    if seen.stored is not None:
        return _same(seen.stored, {})
    wanted = {f"p/f{number // 1000:03}/{number:06}.bin" for number in range(place.sizes.listed)}
    alone = [one for one in seen.requests if one.method == "DELETE" and one.status == 204]
    deleted = [*seen.deleted, *(unquote(one.path)[len(f"/{job.bucket}/") :].partition("?")[0] for one in alone)]
    if set(deleted) != wanted or len(deleted) != len(wanted):
        return f"{len(deleted)} keys deleted of {len(wanted)}"
    return ""


def _check_copy(place: Place, seen: Seen, job: Job) -> str:
    keys = [f"f{number // 1000:03}/{number:06}.bin" for number in range(place.sizes.small)]
    if seen.stored is not None:
        return _same(seen.stored, {job.path.partition("/")[2] + key: 1024 for key in keys})
    start = f"/{job.path}"
    came = [unquote(one.path.partition("?")[0]) for one in _puts(seen.requests)]
    wanted = {start + key for key in keys}
    return "" if len(came) == len(wanted) and set(came) == wanted else f"{len(came)} copies of {len(wanted)}"


def _check_large_up(place: Place, seen: Seen, job: Job) -> str:
    """By number, size and place of what was put: parts 1 to n of each object, or it whole, then its completion."""
    wanted = {job.key: place.large}
    if job.verb == "upload":
        wanted = {job.key + name: place.many / name for name in names(place)}
    if seen.stored is not None:
        return _same(seen.stored, {key: path.stat().st_size for key, path in wanted.items()})
    for key, path in wanted.items():
        path_of = f"/{job.bucket}/{key}"
        mine = [one for one in seen.requests if one.path.partition("?")[0] == path_of and one.status == 200]
        bodies = [one for one in mine if one.method == "PUT" and one.received_bytes > 16384]
        size = path.stat().st_size
        numbers = sorted(int(found[1]) for one in bodies if (found := re.search(r"partNumber=(\d+)", one.path)))
        came = sum(one.received_bytes for one in bodies)
        # Heads come to a kilobyte or two; framing of chunks of 64 KiB and more to less than a percent.
        if not size <= came <= size + size // 100 + 4096 * len(bodies):
            return f"{key}: {came} bytes of {size}"
        if numbers != list(range(1, len(bodies) + 1)) and (numbers or len(bodies) > 1):
            return f"{key}: parts {numbers[:3]}..."
        done = [one for one in mine if one.method == "POST" and re.search("uploadId=", one.path)]
        if len(done) != (1 if numbers else 0):
            return f"{key}: {len(done)} completions"
    return ""


def _check_large_down(place: Place, seen: Seen, job: Job) -> str:
    if job.verb == "get":
        return same_bytes(seen.out / "one.bin", place.large)
    found = sorted(path.name for path in seen.out.iterdir())
    if found != names(place):
        return f"{len(found)} files"
    return next(filter(None, (same_bytes(seen.out / name, place.many / name) for name in found)), "")


def _check_start(place: Place, seen: Seen, job: Job) -> str:
    return "" if len(seen.requests) <= 2 else f"{len(seen.requests)} requests"


def _upload(place: Place) -> Job:
    return Job("upload", place.sink.endpoint_url, "bench", "p/", str(place.small))


def _upload_late(place: Place) -> Job:
    return Job("upload", place.sink.late_endpoint_url, "bench", "p/", str(place.small), late=True)


def _many(verb: str, tls: bool) -> Callable[[Place], Job]:
    def job(place: Place) -> Job:
        sink = place.sink
        url, ca_file = (sink.tls_endpoint_url, sink.ca_file) if tls else (sink.endpoint_url, "")
        bucket, path = ("large", str(place.many)) if verb == "upload" else ("blobs", "{out}")
        return Job(verb, url, bucket, "p/", path, large=True, ca_file=ca_file)

    return job


_SMALL = ("obstore", "s5cmd", "fast-s3", "rclone")
_LARGE = ("minio-py", "obstore", "s5cmd", "boto3")
_MANY = (*_LARGE, "rclone")
_NEAR, _HALF = Goal("wall", 0.8), Goal("wall", 0.5)

WORKS: Sequence[Work] = (
    Work(
        "upload-small", "upload {small} files of 1 KiB", _SMALL, (_HALF, Goal("cpu", 0.6)), _upload, _check_upload,
        lambda job, place: (
            with_options(job, "with a journal", "--journal", "{out}/journal"),
            with_options(job, "without checksums", "--checksum", "none"),
        ),
    ),
    Work(
        "upload-late", "the same, every answer 20 ms late", _SMALL, (Goal("wall", 0.6),), _upload_late, _check_upload,
    ),
    Work(
        "download-small", "download {small} objects of 1 KiB to files", _SMALL, (_HALF,),
        lambda place: Job(
            "download", place.sink.endpoint_url, "objects", "p/", "{out}", keys_file=str(place.keys_file)
        ),
        _check_download,
        lambda job, place: (
            with_options(job, "with a journal", "--journal", "{out}.journal/journal"),
            with_options(job, "without comparing MD5s", "--no-verify"),
        ),
    ),
    Work(
        "list", "list {listed} keys", ("obstore", "s5cmd"), (Goal("wall", 1.0, "obstore"), Goal("wall", 0.4, "s5cmd")),
        lambda place: Job("list", place.sink.endpoint_url, "listed", "p/"), _check_list,
    ),
    Work(
        "delete", "delete {listed} keys listed by prefix", ("obstore", "s5cmd"),
        (Goal("wall", 1.0, "obstore"), Goal("wall", 0.4, "s5cmd")),
        lambda place: Job("delete", place.sink.endpoint_url, "listed", "p/"), _check_delete,
        lambda job, place: (
            with_options(job, "with a journal", "--journal", "{out}/journal"),
            with_options(job, "whatever was written since", "--unconditional"),
        ),
    ),
    Work(
        "large-up", "upload one file of {large_mib} MiB", _LARGE, (_NEAR, Goal("cpu", 0.8)),
        lambda place: Job("put", place.sink.endpoint_url, "large", "one.bin", str(place.large), large=True),
        _check_large_up, lambda job, place: (with_options(job, "without checksums", "--checksum", "none"),), large=True,
    ),
    Work(
        "large-down", "download one file of {large_mib} MiB", _LARGE, (_NEAR, Goal("cpu", 0.8)),
        lambda place: Job("get", place.sink.endpoint_url, "blobs", "one.bin", "{out}/one.bin", large=True),
        _check_large_down, lambda job, place: (with_options(job, "without comparing CRCs", "--no-verify"),), large=True,
    ),
    Work(
        "many-up", "upload {many} files of {many_mib} MiB", _MANY, (_NEAR,), _many("upload", False), _check_large_up,
        large=True,
    ),
    Work(
        "many-down", "download {many} files of {many_mib} MiB", _MANY, (_NEAR,), _many("download", False),
        _check_large_down, large=True,
    ),
    Work(
        "tls-up", "upload {many} files of {many_mib} MiB over TLS", _MANY, (_NEAR,), _many("upload", True),
        _check_large_up, large=True,
    ),
    Work(
        "tls-down", "download {many} files of {many_mib} MiB over TLS", _MANY, (_NEAR,), _many("download", True),
        _check_large_down, large=True,
    ),
    Work(
        "copy", "copy {small} objects inside the store", ("s5cmd",), (_HALF,),
        lambda place: Job("copy", place.sink.endpoint_url, "sources", "p/", "copies/q/"), _check_copy,
        lambda job, place: (with_options(job, "with a journal", "--journal", "{out}/journal"),),
    ),
    Work(
        "start", "ls of an empty prefix", ("aws", "s5cmd"), (Goal("wall", 0.25, "aws"), Goal("wall", 0, "s5cmd")),
        lambda place: Job("list", place.sink.endpoint_url, EMPTY_BUCKET, "p/"), _check_start, who=starters, repeat=4,
    ),
)  # fmt: skip
