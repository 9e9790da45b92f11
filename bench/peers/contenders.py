"""Who takes part in a job, and by which command line: s3engine, and each peer in the forms that were found fastest."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.harness import find_s5cmd

__all__ = ["NOBODY", "OURS", "Contender", "Job", "contenders", "ours", "starters", "with_options"]

OURS = "s3engine"
NOBODY = "python -c pass"
"""What asks for nothing."""
_OBSTORE_LATE = ((256, ""), (512, ""), (256, "path"), (512, "path"))
_OBSTORE_SMALL = ((32, ""), (64, ""), (256, ""), (64, "path"), (256, "path"))
_OBSTORE_FILES = ((4, "whole"), (8, "whole"), (8, "path"))
_PROGRAMS = Path(__file__).with_name("programs")


class Job(NamedTuple):
    """What is to be done."""

    verb: str
    """upload (a folder), download (a prefix), list, delete, copy (a prefix), put, get (one object)."""
    url: str
    bucket: str
    key: str
    """The prefix, or the key of one object."""
    path: str = ""
    """The folder or file; of a copy ``BUCKET/PREFIX``. Of a download ``{out}``, which every run replaces by its own."""
    large: bool = False
    """Objects are of 16 MiB and more."""
    ca_file: str = ""
    """The certificate to trust; "" without TLS."""
    late: bool = False
    """Answers come late: few requests in flight need not be tried."""
    keys_file: str = ""
    """The keys below the prefix, a line each, for peers that cannot list."""


class Contender(NamedTuple):
    """A way to do a job."""

    name: str
    peer: str
    """Whose variant it is: only the best of a peer counts."""
    command: Sequence[str]
    environment: Mapping[str, str] = {}
    silent: bool = True
    """What it prints is of no use: it goes to /dev/null."""
    codes: Sequence[int] = (0,)
    """With which it ends when all is well."""


def _program(name: str, job: Job, *more: str) -> list[str]:
    script = str(_PROGRAMS / f"with_{name}.py")
    return [sys.executable, script, job.verb, job.url, job.bucket, job.key, job.path, *more]


def with_options(job: Job, label: str, *options: str) -> Contender:
    """s3engine's command line, for what a safety costs; ``label`` says what is unlike the default."""
    uri = f"s3://{job.bucket}/{job.key}"
    words = {
        "upload": ["cp", "-r", job.path, uri, "--quiet"], "put": ["cp", job.path, uri, "--quiet"],
        "download": ["cp", "-r", uri, job.path, "--quiet"], "get": ["cp", uri, job.path, "--quiet"],
        "list": ["ls", "-r", uri], "delete": ["rm", "-r", uri, "--quiet"],
        "copy": ["cp", "-r", uri, f"s3://{job.path}", "--quiet"],
    }[job.verb]  # fmt: skip
    command = [sys.executable, "-m", "s3engine", *words, "--endpoint-url", job.url, *options]
    trust = ["--ca-bundle", job.ca_file] if job.ca_file else []
    return Contender(label, label, [*command, *trust])


def ours(job: Job) -> list[Contender]:
    """The command line and the library, with their defaults."""
    trust = [f"ca_bundle={job.ca_file}"] if job.ca_file else []
    return [
        with_options(job, OURS),
        Contender(f"{OURS} library", f"{OURS} library", _program("s3engine", job, *trust), silent=False),
    ]


def _s5cmd(job: Job) -> list[Contender]:
    uri = f"s3://{job.bucket}/{job.key}"
    words = {
        "upload": ["cp", f"{job.path}/", uri], "put": ["cp", job.path, uri],
        "download": ["cp", f"{uri}*", f"{job.path}/"], "get": ["cp", uri, job.path],
        "list": ["ls", f"{uri}*"], "delete": ["rm", f"{uri}*"], "copy": ["cp", f"{uri}*", f"s3://{job.path}"],
    }[job.verb]  # fmt: skip
    trust = {"AWS_CA_BUNDLE": job.ca_file} if job.ca_file else {}
    first = [find_s5cmd(), "--endpoint-url", job.url, "--log", "error"]
    if job.large:
        return [
            Contender(
                f"s5cmd@{workers} -c {parts} -p {mib}", "s5cmd",
                [*first, "--numworkers", str(workers), words[0], "-c", str(parts), "-p", str(mib), *words[1:]], trust,
            )
            for workers, parts, mib in ((256, 5, 50), (256, 16, 8), (8, 4, 16))
        ]  # fmt: skip
    if job.verb in ("list", "delete"):  # nothing of it goes by the number of workers
        return [Contender("s5cmd", "s5cmd", [*(first if job.verb == "delete" else first[:3]), *words], trust)]
    return [
        Contender(f"s5cmd@{number}", "s5cmd", [*first, "--numworkers", str(number), *words], trust)
        for number in ((256, 512) if job.late else (32, 256, 512))
    ]


def _obstore(job: Job) -> list[Contender]:
    trust = {"SSL_CERT_FILE": job.ca_file} if job.ca_file else {}
    forms: Sequence[tuple[int, str]] = {
        "upload": _OBSTORE_FILES if job.large else _OBSTORE_LATE if job.late else _OBSTORE_SMALL,
        "download": ((4, ""), (16, "")) if job.large else ((32, ""), (64, ""), (256, "")),
        "put": ((12, "8"), (12, "16"), (4, "32")), "get": ((4, ""), (12, ""), (1, "stream")),
        "list": ((1, ""), (1, "arrow")), "delete": ((4, ""), (20, "")),
    }.get(job.verb, ())  # fmt: skip
    return [
        Contender(
            f"obstore@{number}{' ' if how else ''}{how}", "obstore", _program("obstore", job, str(number), how), trust,
            silent=job.verb != "list",
        )
        for number, how in forms
    ]  # fmt: skip


def _fast_s3(job: Job) -> list[Contender]:
    if job.verb not in ("upload", "download") or job.large or job.ca_file:
        return []
    return [
        Contender(f"fast-s3@{number}", "fast-s3", _program("fast_s3", job, str(number), job.keys_file))
        for number in ((256, 512) if job.late else (64, 256))
    ]


def _rclone(job: Job) -> list[Contender]:
    if job.verb not in ("upload", "download"):
        return []
    access = {
        "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_SINK_TYPE": "s3", "RCLONE_CONFIG_SINK_PROVIDER": "Other",
        "RCLONE_CONFIG_SINK_ENV_AUTH": "true", "RCLONE_CONFIG_SINK_ENDPOINT": job.url,
        "RCLONE_CONFIG_SINK_REGION": "us-east-1", "RCLONE_CONFIG_SINK_FORCE_PATH_STYLE": "true",
    }  # fmt: skip
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if program is None:
        return []
    remote = f"sink:{job.bucket}/{job.key}"
    ends = [job.path, remote] if job.verb == "upload" else [remote, job.path]
    # Nothing is looked up before or after, no times are kept, and the sink's ETags are no MD5s to compare with.
    options = [
        "copy", *ends, "--fast-list", "--s3-list-version", "2", "--no-traverse", "--no-check-dest",
        "--s3-no-check-bucket", "--s3-no-head", "--s3-no-head-object", "--ignore-checksum", "--s3-disable-checksum",
        "--no-update-modtime", "--buffer-size", "0", "--log-level", "ERROR", "--use-server-modtime",
    ]  # fmt: skip
    if job.ca_file:
        options += ["--ca-cert", job.ca_file]
    if job.large:
        options += ["--s3-chunk-size", "16M", "--s3-upload-cutoff", "64M", "--s3-upload-concurrency", "4"]
    return [
        Contender(f"rclone@{number}", "rclone", [program, *options, "--transfers", str(number)], access)
        for number in ((4, 16) if job.large else (256, 512) if job.late else (64, 256))
    ]


def _threads(name: str, job: Job, *forms: tuple[str, ...]) -> list[Contender]:
    """boto3 and minio-py: for large objects only, where the interpreter is not all of their time."""
    if not job.large:
        return []
    trust = {"AWS_CA_BUNDLE": job.ca_file} if job.ca_file else {}
    return [
        Contender(f"{name}@{' '.join(form)}", name, _program(name, job, *form), trust)
        for form in forms
    ]  # fmt: skip


def _boto3(job: Job) -> list[Contender]:
    # Files of 16 MiB as one PUT each; of AWS's C runtime, which is faster by far, in parts too.
    forms: list[tuple[str, ...]] = [("4", "16", "whole") if job.verb == "upload" else ("10", "8")]
    if _installed("awscrt"):
        forms.append(("8", "8", "crt"))
    return _threads("boto3", job, *forms)


def _minio(job: Job) -> list[Contender]:
    return _threads("minio", job, ("4", "16"), ("10", "8"))


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def starters(job: Job, place: object = None) -> list[Contender]:
    """Who lists an empty prefix; ours as ``python -m s3engine`` and as the script that pip makes."""
    uri = f"s3://{job.bucket}/{job.key}"
    found = [Contender(OURS, OURS, [sys.executable, "-m", "s3engine", "ls", uri, "--endpoint-url", job.url])]
    beside = str(Path(sys.executable).parent)
    script, aws = shutil.which("s3engine", path=beside), shutil.which("aws", path=beside)
    if script:
        found.append(Contender(f"{OURS} script", f"{OURS} script", [script, "ls", uri, "--endpoint-url", job.url]))
    # Both end with 1 where there is nothing to list.
    found.append(Contender("s5cmd", "s5cmd", [find_s5cmd(), "--endpoint-url", job.url, "ls", uri], codes=(0, 1)))
    if _installed("awscli"):
        command = [aws] if aws else [sys.executable, "-m", "awscli"]
        found.append(Contender(
            "aws", "aws", [*command, "s3", "ls", uri, "--endpoint-url", job.url], codes=(0, 1)
        ))  # fmt: skip
    found.append(Contender(NOBODY, NOBODY, [sys.executable, "-c", "pass"]))
    return found


def contenders(job: Job, peers: Sequence[str]) -> list[Contender]:
    """Ours, and each variant of the ``peers`` that can do it."""
    found = ours(job)
    for peer in peers:
        found += {
            "s5cmd": _s5cmd, "obstore": _obstore, "fast-s3": _fast_s3, "rclone": _rclone,
            "boto3": _boto3, "minio-py": _minio,
        }[peer](job)  # fmt: skip
    return found
