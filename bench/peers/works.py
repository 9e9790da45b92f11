"""The works of the table: what is to be done, who takes part, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.peers.checks import (
    check_copy,
    check_delete,
    check_download,
    check_large_down,
    check_large_up,
    check_list,
    check_start,
    check_upload,
)
from bench.peers.contenders import Contender, Job, starters, with_options
from bench.peers.place import Place, Seen
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
        "upload-small", "upload {small} files of 1 KiB", _SMALL, (_HALF, Goal("cpu", 0.6)), _upload, check_upload,
        lambda job, place: (
            with_options(job, "with a journal", "--journal", "{out}/journal"),
            with_options(job, "without checksums", "--checksum", "none"),
        ),
    ),
    Work(
        "upload-late", "the same, every answer 20 ms late", _SMALL, (Goal("wall", 0.6),), _upload_late, check_upload,
    ),
    Work(
        "download-small", "download {small} objects of 1 KiB to files", _SMALL, (_HALF,),
        lambda place: Job(
            "download", place.sink.endpoint_url, "objects", "p/", "{out}", keys_file=str(place.keys_file)
        ),
        check_download,
        lambda job, place: (
            with_options(job, "with a journal", "--journal", "{out}.journal/journal"),
            with_options(job, "without comparing MD5s", "--no-verify"),
        ),
    ),
    Work(
        "list", "list {listed} keys", ("obstore", "s5cmd"), (Goal("wall", 1.0, "obstore"), Goal("wall", 0.4, "s5cmd")),
        lambda place: Job("list", place.sink.endpoint_url, "listed", "p/"), check_list,
    ),
    Work(
        "delete", "delete {listed} keys listed by prefix", ("obstore", "s5cmd"),
        (Goal("wall", 1.0, "obstore"), Goal("wall", 0.4, "s5cmd")),
        lambda place: Job("delete", place.sink.endpoint_url, "listed", "p/"), check_delete,
        lambda job, place: (
            with_options(job, "with a journal", "--journal", "{out}/journal"),
            with_options(job, "whatever was written since", "--unconditional"),
        ),
    ),
    Work(
        "large-up", "upload one file of {large_mib} MiB", _LARGE, (_NEAR, Goal("cpu", 0.8)),
        lambda place: Job("put", place.sink.endpoint_url, "large", "one.bin", str(place.large), large=True),
        check_large_up, lambda job, place: (with_options(job, "without checksums", "--checksum", "none"),), large=True,
    ),
    Work(
        "large-down", "download one file of {large_mib} MiB", _LARGE, (_NEAR, Goal("cpu", 0.8)),
        lambda place: Job("get", place.sink.endpoint_url, "blobs", "one.bin", "{out}/one.bin", large=True),
        check_large_down, lambda job, place: (with_options(job, "without comparing CRCs", "--no-verify"),), large=True,
    ),
    Work(
        "many-up", "upload {many} files of {many_mib} MiB", _MANY, (_NEAR,), _many("upload", False), check_large_up,
        large=True,
    ),
    Work(
        "many-down", "download {many} files of {many_mib} MiB", _MANY, (_NEAR,), _many("download", False),
        check_large_down, large=True,
    ),
    Work(
        "tls-up", "upload {many} files of {many_mib} MiB over TLS", _MANY, (_NEAR,), _many("upload", True),
        check_large_up, large=True,
    ),
    Work(
        "tls-down", "download {many} files of {many_mib} MiB over TLS", _MANY, (_NEAR,), _many("download", True),
        check_large_down, large=True,
    ),
    Work(
        "copy", "copy {small} objects inside the store", ("s5cmd",), (_HALF,),
        lambda place: Job("copy", place.sink.endpoint_url, "sources", "p/", "copies/q/"), check_copy,
        lambda job, place: (with_options(job, "with a journal", "--journal", "{out}/journal"),),
    ),
    Work(
        "start", "ls of an empty prefix", ("aws", "s5cmd"), (Goal("wall", 0.25, "aws"), Goal("wall", 0, "s5cmd")),
        lambda place: Job("list", place.sink.endpoint_url, EMPTY_BUCKET, "p/"), check_start, who=starters, repeat=4,
    ),
)  # fmt: skip
