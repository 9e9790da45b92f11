"""``demo`` and ``serve``: the embedded server (SeaweedFS, from the extra ``demo``)."""

from __future__ import annotations

import filecmp
import os
import shlex
import tempfile
import time
from typing import TYPE_CHECKING, Any

import click

from s3engine.cli.interrupts import interrupts
from s3engine.cli.options import Output, settings_from
from s3engine.cli.show import Show
from s3engine.cli.text import complain, write
from s3engine.errors import S3EngineError, SourceError
from s3engine.plain import number_of

if TYPE_CHECKING:
    from s3engine.batch import Batch
    from s3engine.config import Config
    from s3engine.embedded import EmbeddedServer
    from s3engine.engine import Engine
    from s3engine.sources import FileSource
    from s3engine.transport import ObjectInfo

__all__ = ["demo_command", "serve_command"]

BUCKET = "test-bucket"
_LOOK_S = 0.5

# Whatever of the user's own accounts and endpoints could reach the engine instead of the server's.
_OTHERS = (
    "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)  # fmt: skip


@click.command("demo", short_help="Show everything once, on a private server.")
@click.argument("path", required=False)
@click.option("--transport", metavar="NAME", help="raw, boto3, minio, obstore, or module:Class (raw).")
@click.option("--workers", type=int, metavar="N", help="Worker processes, 1 to 256 (one per usable core).")
@click.option("-n", "--concurrency", type=int, metavar="N", help="Requests in flight at most, 1 to 1024 (512).")
def demo_command(path: str | None, **values: Any) -> int:
    """Show everything once, on a private server that is gone afterwards.

    Uploads PATH (a folder or a file; the source of s3engine itself unless given), prints the performance table, lists,
    copies, moves, downloads, compares every byte, deletes. Exit code 0 says that all of it was right.
    """
    from s3engine.embedded import EmbeddedServer

    sources = _sources(path)
    if not sources:
        raise SourceError(f"{path!r} holds no file; name a folder with some")
    with EmbeddedServer() as server, tempfile.TemporaryDirectory(prefix="s3engine-demo-") as scratch:
        write(f"server: SeaweedFS at {server.endpoint_url}, in a temporary folder\n")
        from s3engine.engine import Engine

        with Engine(_config(server, values)) as engine:
            tour = _Tour(engine, sources, scratch)
            right = tour.all()
    write("server: stopped\n")
    write("demo: everything compared equal\n" if right else "demo: FAILED\n")
    return 0 if right else 1


def _sources(path: str | None) -> list[FileSource]:
    """What is there now; the list is kept, so that it can be compared against."""
    from s3engine.cli.local import upload_sources

    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) if path is None else path
    only = "" if os.path.isdir(source) else os.path.basename(source)
    found = list(upload_sources(source, "demo/", only, None))
    if path is None:  # byte code may be written while we run
        found = [file for file in found if "/__pycache__/" not in file.path]
    return found


def _config(server: EmbeddedServer, values: dict[str, Any]) -> Config:
    from s3engine.config import Config

    for name in _OTHERS:
        os.environ.pop(name, None)
    os.environ.update(server.environment())
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    settings = settings_from(values)
    for name in ("endpoint_url", "region", "profile", "anonymous", "addressing_style", "ca_bundle", "verify_tls"):
        settings.pop(name, None)
    return Config.from_mapping(settings, "settings")


class _Tour:
    """The steps of the demo, one line each."""

    def __init__(self, engine: Engine, sources: list[FileSource], scratch: str) -> None:
        self._engine = engine
        self._sources = sources
        self._scratch = scratch

    def all(self) -> bool:
        """Take all steps; False as soon as one of them is wrong."""
        engine = self._engine
        engine.make_bucket(BUCKET)
        write(f"make bucket: s3://{BUCKET}\n")
        return (
            self._upload()
            and self._count("demo/")
            and self._done("copy", engine.list(BUCKET, "demo/").copy(key=_into("copy/")), "demo/ -> copy/")
            and self._count("copy/")
            and self._done("move", engine.list(BUCKET, "copy/").move(key=_into("moved/")), "copy/ -> moved/")
            and self._count("moved/")
            and self._count("copy/", 0)
            and self._download("moved/")
            and self._done("delete", engine.list(BUCKET).delete(), f"s3://{BUCKET}/", len(self._sources) * 2)
            and self._empty()
        )

    def _upload(self) -> bool:
        from s3engine.report import perf_header, perf_row

        show = Show(Output(False, False), "upload", perf_row, lambda report: f"upload {report.target}", table=True)
        batch = self._engine.upload(BUCKET, self._sources)
        write(f"upload: {number_of(len(self._sources), 'file')} -> s3://{BUCKET}/demo/\n{perf_header()}\n")
        return show.follow(batch) == 0

    def _count(self, prefix: str, expected: int | None = None) -> bool:
        wanted = len(self._sources) if expected is None else expected
        found = self._engine.list(BUCKET, prefix).count()
        write(f"list: {number_of(found)} below {prefix}\n")
        return self._equal(found, wanted, f"objects below {prefix}")

    def _done(self, verb: str, batch: Batch, what: str, expected: int | None = None) -> bool:
        summary = batch.wait()
        write(f"{verb}: {what}: {summary}\n")
        wanted = len(self._sources) if expected is None else expected
        return self._equal(summary.objects, wanted, f"objects of {verb}")

    def _download(self, prefix: str) -> bool:
        batch = self._engine.list(BUCKET, prefix).download(self._scratch)
        if not self._done("download", batch, f"{prefix} -> a temporary folder"):
            return False
        size_bytes = 0
        for file in self._sources:
            got = os.path.join(self._scratch, file.key.removeprefix("demo/"))
            if not os.path.isfile(got) or not filecmp.cmp(file.path, got, shallow=False):
                complain(f"demo: {file.path!r} did not come back as it was")
                return False
            size_bytes += os.path.getsize(got)
        write(f"compare: {number_of(len(self._sources), 'file')}, {number_of(size_bytes, 'byte')}: all equal\n")
        return True

    def _empty(self) -> bool:
        if not self._count("", 0):
            return False
        self._engine.remove_bucket(BUCKET)
        write(f"remove bucket: s3://{BUCKET}\n")
        return True

    def _equal(self, found: int, wanted: int, what: str) -> bool:
        if found != wanted:
            complain(f"demo: {found} {what}, expected {wanted}")
        return found == wanted


def _into(prefix: str) -> Any:
    def key(info: ObjectInfo) -> str:
        return prefix + info.key.split("/", 1)[1]

    return key


@click.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="0 takes a free one.")
@click.option("--folder", metavar="PATH", help="Where to keep the objects; a temporary folder, removed, unless given.")
def serve_command(port: int, folder: str | None) -> int:
    """Run a private S3 server on this machine until Ctrl-C.

    Prints the variables that make s3engine (and every AWS client) use it, ready to be pasted into a shell, and makes a
    bucket called test-bucket.
    """
    from s3engine.embedded import EmbeddedServer

    with EmbeddedServer(folder, port) as server:
        from s3engine.engine import Engine

        with Engine(_config(server, {})) as engine:
            try:
                engine.head_bucket(BUCKET)
            except S3EngineError:
                engine.make_bucket(BUCKET)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in server.environment().items()]
        write("\n".join([*lines, f"# s3://{BUCKET} is ready; Ctrl-C ends the server"]) + "\n")
        try:
            while _runs(server.process_group):
                time.sleep(_LOOK_S)
        except KeyboardInterrupt:
            interrupts.number = 0  # this is how it is meant to end
            return 0
    complain("the server ended by itself")
    return 1


def _runs(pid: int) -> bool:
    """Whether a child still runs; it is not reaped."""
    if not hasattr(os, "waitid"):
        return True
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

