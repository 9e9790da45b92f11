"""One bit turned over on its way, many times: ``python -m tests.flipped_bits [--tries N] [--rows TEXT] [SERVER ...]``.

Each try has one request whose body, or the body of whose answer, has a bit turned over at a random place: the bytes of
an object, the framing and the trailer around them, the XML of CompleteMultipartUpload and of its answer. The rows
"head" do it to heads of requests and answers. What became of it, by what the report says and by the bytes that an
independent client (or the disk) has in the end:

    caught        it was sent or fetched again, and is right
    refused       the object failed, with an error
    harmless      nothing was done about it, and the bytes are right
    length only   the bytes are wrong, and the report says that only their number was compared
    WRONG         the bytes are wrong and were taken for right

Exit code 1 when anything is WRONG, or a bit of a body was not caught by a store that can tell. The rows "head" are but
shown: only TLS keeps heads, since no signature covers an answer, and ministack compares none.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from s3engine import BytesSource, Engine, FileSource
from s3engine.embedded import EmbeddedServer
from s3engine.report import LENGTH_ONLY
from tests.faults import Fault, FaultProxy, FlipBit, FlipHeadBit
from tests.helpers import S3Probe
from tests.servers import Ministack, RcloneServer, ServerUnavailable

MIB = 1024 * 1024
BUCKET = "flipped-bits"
SMALL, WHOLE, LARGE = 3000, MIB, 5 * MIB + 10_000
OUTCOMES = ("caught", "refused", "harmless", "length only", "WRONG")


@dataclass(frozen=True)
class Row:
    """One kind of try. ``line`` finds the request in its head; ``span`` is where the bit may lie."""

    name: str
    size: int
    line: str
    span: int
    direction: Literal["up", "down"]
    settings: tuple[tuple[str, Any], ...] = ()
    head: bool = False
    upload: bool = True
    stored_in_parts: bool = False
    must_be_caught: bool = True

    @property
    def large(self) -> bool:
        """It goes in parts or ranges."""
        return self.size == LARGE

    def tries_of(self, tries: int) -> int:
        """All for the bytes of objects. A fifth for the XML around large ones: that is but shown, and costs as much."""
        return tries if self.must_be_caught or not self.large else max(tries // 5, 1)


RANGE = r"(?s)GET \S*/k\d+ .*\nrange:"
NEVER = (("payload_signing", "never"),)
ROWS = (
    Row("upload, small", SMALL, r"PUT \S*/k\d+ ", SMALL, "up"),
    Row("upload, small, body not signed", SMALL, r"PUT \S*/k\d+ ", SMALL, "up", NEVER),
    Row("upload, one request", WHOLE, r"PUT \S*/k\d+ ", WHOLE, "up"),
    Row("upload, parts", LARGE, r"PUT \S*/k\d+\?partNumber=1", 5 * MIB, "up"),
    Row("upload, last part with its framing", LARGE, r"PUT \S*/k\d+\?partNumber=2", 10_000, "up", NEVER),
    Row("upload, XML of Complete", LARGE, r"POST \S*/k\d+\?uploadId", 380, "up", must_be_caught=False),
    Row("upload, XML of Complete, no checksums", LARGE, r"POST \S*/k\d+\?uploadId", 380, "up",
        (("checksum", "none"),), must_be_caught=False),
    Row("upload, XML of its answer", LARGE, r"POST \S*/k\d+\?uploadId", 300, "down", must_be_caught=False),
    Row("upload, head of the request", SMALL, r"PUT \S*/k\d+ ", 1 << 30, "up", head=True, must_be_caught=False),
    Row("upload, head of the answer", SMALL, r"PUT \S*/k\d+ ", 1 << 30, "down", head=True, must_be_caught=False),
    Row("download, small", SMALL, r"GET \S*/k\d+ ", SMALL, "down", upload=False),
    Row("download, one request", WHOLE, r"GET \S*/k\d+ ", WHOLE, "down", upload=False),
    Row("download, ranges of a whole", LARGE, RANGE, 10_000, "down", upload=False),
    Row("download, ranges of parts", LARGE, RANGE, 10_000, "down", upload=False, stored_in_parts=True),
    Row("download, head of the request", SMALL, r"GET \S*/k\d+ ", 1 << 30, "up", upload=False, head=True,
        must_be_caught=False),
    Row("download, head of the answer", SMALL, r"GET \S*/k\d+ ", 1 << 30, "down", upload=False, head=True,
        must_be_caught=False),
)  # fmt: skip


class Flips:
    """A plan: of each key one request, the first that matches, has one bit turned over. Off until ``armed``."""

    def __init__(self, row: Row, dice: random.Random) -> None:
        self.row = row
        self.dice = dice
        self.armed = False
        self.seen: set[str] = set()

    def __call__(self, _connection_no: int, request_no: int, head: bytes) -> Fault | None:
        text = head.decode("latin-1")
        key = re.search(r"/(k\d+)[? ]", text)
        if not (self.armed and request_no and key) or key[1] in self.seen or not re.search(self.row.line, text):
            return None
        self.seen.add(key[1])
        at = self.dice.randrange(self.row.span)
        return FlipHeadBit(at, self.row.direction) if self.row.head else FlipBit(at, self.row.direction)


class Blind:
    """A store that allows nothing: no checksums, ETags that are no MD5s, no uploads in parts."""

    access_key = secret_key = "nobody"

    def __enter__(self) -> Blind:
        objects: dict[str, bytes] = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in {"ETag": '"version-1"', "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_PUT(self) -> None:
                objects[self.path] = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.answer(200)

            def do_GET(self) -> None:
                body = objects.get(self.path)
                if body is None:
                    self.answer(404)
                    return
                asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if asked is None:
                    self.answer(200, body)
                    return
                first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
                piece = body[first : last + 1]
                self.answer(206, piece, Content_Range=f"bytes {first}-{last}/{len(body)}")

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.answer(501)

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that hangs up is none."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.endpoint_url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


SERVERS: dict[str, Callable[[], Any]] = {
    "seaweedfs": EmbeddedServer, "ministack": Ministack, "rclone": RcloneServer, "blind": Blind,
}  # fmt: skip


def outcome(report: Any, *, right: bool) -> str:
    """Which of OUTCOMES."""
    if not report.ok:
        return "refused"
    if right:
        return "caught" if report.retries else "harmless"
    return "length only" if report.verified == LENGTH_ONLY else "WRONG"


@contextmanager
def engine(url: str, row: Row) -> Iterator[Engine]:
    """One worker, short waits."""
    settings: dict[str, Any] = {
        "workers": 1, "concurrency": 8, "endpoint_url": url, "retry_base_s": 0.001, "addressing_style": "path",
        "multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB, **dict(row.settings),
    }  # fmt: skip
    with Engine(**settings) as made:
        yield made


def run_row(row: Row, server: Any, tries: int, folder: Path, dice: random.Random) -> tuple[Counter[str], set[str]]:
    """The outcomes of one row at one server, and what the reports say the good ones are verified by."""
    body = dice.randbytes(row.size)
    source = folder / "source"
    source.write_bytes(body)
    keys = [f"k{number}" for number in range(tries)]
    flips = Flips(row, dice)
    found: Counter[str] = Counter()
    by: set[str] = set()
    with (
        S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe,
        FaultProxy("127.0.0.1", server.port, flips) as proxy, engine(proxy.endpoint_url, row) as made,
    ):  # fmt: skip
        if row.upload:
            made._runtime.upload_checks.find(BUCKET, "asked-before-the-faults")
            flips.armed = True
            in_memory = row.size == SMALL
            batch = made.upload(
                BUCKET, [BytesSource(body, key) if in_memory else FileSource(str(source), key) for key in keys]
            )
        else:
            if row.stored_in_parts:
                for report in made.upload(BUCKET, [FileSource(str(source), key) for key in keys]):
                    assert report.ok, report.error
            else:
                for key in keys:
                    probe.put(BUCKET, key, body)
            flips.armed = True
            batch = made.download(BUCKET, keys, folder / "target")
        for report in batch:
            flips.armed = flips.armed and len(flips.seen) < tries
            right = True
            if report.ok:
                by.add(report.verified)
                came = probe.get(BUCKET, report.key) if row.upload else (folder / "target" / report.key).read_bytes()
                right = came == body
            if report.key in flips.seen:
                found[outcome(report, right=right)] += 1
            else:
                assert right
        if not isinstance(server, Blind):
            probe.delete_below(BUCKET, "")
    return found, by


def run_server(name: str, rows: Iterable[Row], tries: int, seed: int) -> bool:
    """Rows of one server; True when nothing is wrong."""
    good = True
    with ExitStack() as stack:
        server = stack.enter_context(SERVERS[name]())
        stack.enter_context(patch.dict(
            os.environ, AWS_ACCESS_KEY_ID=server.access_key, AWS_SECRET_ACCESS_KEY=server.secret_key,
            AWS_REGION="us-east-1", AWS_CONFIG_FILE="/nowhere", AWS_SHARED_CREDENTIALS_FILE="/nowhere",
            XDG_CACHE_HOME=stack.enter_context(tempfile.TemporaryDirectory()),
        ))  # fmt: skip
        with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
            probe.create_bucket(BUCKET)
        for row in rows:
            if name == "blind" and row.large and (row.upload or row.stored_in_parts):
                continue
            count = row.tries_of(tries)
            with tempfile.TemporaryDirectory() as folder:
                found, by = run_row(row, server, count, Path(folder), random.Random(f"{seed} {name} {row.name}"))
            cells = "".join(f"{found[which]:>12}" for which in OUTCOMES)
            print(f"{name:<10} {row.name:<38}{cells}  {', '.join(sorted(by))}", flush=True)
            if row.must_be_caught:
                told = found["length only"] if name == "blind" else 0
                good = good and found["caught"] + found["refused"] + told == sum(found.values()) == count
            good = good and (row.head or not found["WRONG"])
    return good


def main(arguments: list[str]) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.flipped_bits", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("servers", nargs="*", choices=[*SERVERS, []], metavar="SERVER", help=", ".join(SERVERS))
    parser.add_argument("--tries", type=int, default=100, help="of each row; around large objects a fifth (100)")
    parser.add_argument("--rows", default="", help="only those whose name has this in it")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if options.rows in row.name]
    print(f"{'':<10} {'':<38}{''.join(f'{which:>12}' for which in OUTCOMES)}  verified by")
    good = bool(rows)
    for name in options.servers or SERVERS:
        try:
            good = run_server(name, rows, options.tries, options.seed) and good
        except ServerUnavailable as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            good = False
    print("every flipped bit of a body was caught or told" if good else "NOT every flipped bit was caught or told")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
