"""A listing that fails for good on page 7 of 20, and what is left in the store: ``python -m tests.broken_listing``.

For each command: its exit code, what its reports say, and whether an independent client finds the same key by key. With
20 000 objects (the default) the pages have the size that S3 gives them; with fewer they are made smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from s3engine import BytesSource, Engine
from s3engine.embedded import EmbeddedServer
from tests.faults import Fault, FaultProxy, Plan, Respond
from tests.helpers import S3Probe

PAGES, BROKEN = 20, 7
ROOT = Path(__file__).resolve().parents[1]


def failing(number: int) -> Plan:
    """Page ``number`` of each listing below ``p/`` answers 500, however often it is asked for."""
    tokens: dict[bytes, int] = {}

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        words = head.split(b"\r\n", 1)[0].replace(b" ", b"&").split(b"&")
        if b"prefix=p%2F" not in words or not any(b"list-type=2" in word for word in words):
            return None
        token = next((word for word in words if b"continuation-token=" in word), b"")
        return Respond(500) if tokens.setdefault(token, len(tokens) + 1) >= number else None

    return plan


class Bench:
    """A store, and commands that are run on it behind a proxy."""

    def __init__(self, server: EmbeddedServer, probe: S3Probe, objects: int) -> None:
        self.server = server
        self.probe = probe
        self.keys = {f"p/{n:06}" for n in range(objects)}
        self.page = objects // PAGES
        self.wrong = 0

    def fill(self, bucket: str) -> None:
        """A bucket with all the keys."""
        self.probe.create_bucket(bucket)
        with Engine(endpoint_url=self.server.endpoint_url) as engine:
            done = engine.upload(bucket, (BytesSource(key.encode(), key) for key in sorted(self.keys))).wait()
        assert done.objects == len(self.keys), done

    def run(self, verb: str, *arguments: str) -> tuple[int, dict[str, str | None], str]:
        """Exit code, the error of each reported key, the last line on stderr."""
        environment = os.environ | {"S3ENGINE_MAX_ATTEMPTS": "3", "PYTHONPATH": f"{ROOT}:{ROOT / 'transports'}"}
        with FaultProxy("127.0.0.1", self.server.port, failing(BROKEN)) as proxy:
            pages = ["--transport", "tests.small_pages:SmallPages"] if self.page < 1000 else []
            done = subprocess.run(
                [sys.executable, "-m", "s3engine", verb, *arguments, "--json", "--endpoint-url", proxy.endpoint_url,
                 *pages],
                env=environment | {"TESTS_PAGE_KEYS": str(self.page)}, capture_output=True, text=True, check=False,
                timeout=600, cwd=ROOT,
            )  # fmt: skip
        told = {line["key"]: line["error"] for line in map(json.loads, done.stdout.splitlines())}
        return done.returncode, told, done.stderr.strip().rpartition("\n")[2]

    def show(self, title: str, code: int, told: dict[str, str | None], gone: set[str], last: str) -> None:
        """A paragraph, and what is wrong in it."""
        done = {key for key, error in told.items() if error is None}
        agree = done == gone and code == 1
        self.wrong += not agree
        errors = dict(Counter(error for error in told.values() if error))
        print(f"{title}\n  exit {code}; reports {len(told)}: {len(done)} done, {errors or 'no errors'}")
        print(f"  gone from the store {len(gone)}; key by key the same: {'yes' if agree else 'NO'}\n  {last}")

    def left(self, bucket: str) -> set[str]:
        """What an independent client lists."""
        return set(self.probe.list_keys(bucket, "p/"))


def main() -> int:
    """Run all; 1 when something does not agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--objects", type=int, default=20_000, help="a multiple of 20 (20000)")
    objects = parser.parse_args().objects
    with EmbeddedServer() as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(server.environment())
        with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
            bench = Bench(server, probe, objects)
            for bucket in ("removed", "moved", "downloaded"):
                bench.fill(bucket)
            probe.create_bucket("target")
            whole: tuple[tuple[str, tuple[str, ...]], ...] = (
                ("rm -r --max-delete 50%", ("rm", "-r", "s3://removed/p/", "--max-delete", "50%")),
                ("cp --if-size-differ", ("cp", "s3://removed/p/", "s3://target/q/", "--if-size-differ")),
                ("cp --if-size-differ onto the broken listing", ("cp", "tests", "s3://removed/p/", "--if-size-differ")),
            )
            for title, arguments in whole:
                code, told, last = bench.run(*arguments)
                changed = bench.keys ^ bench.left("removed") | set(probe.list_keys("target"))
                bench.show(title, code, told, changed, last)
            stopped: tuple[tuple[str, str, tuple[str, ...]], ...] = (
                ("rm -r", "removed", ("rm", "-r", "s3://removed/p/")),
                ("mv to another bucket", "moved", ("mv", "s3://moved/p/", "s3://target/p/")),
                ("mv to a folder", "downloaded", ("mv", "s3://downloaded/p/", f"{folder}/out")),
            )
            for title, bucket, arguments in stopped:
                code, told, last = bench.run(*arguments)
                bench.show(title, code, told, bench.keys - bench.left(bucket), last)
            with ThreadPoolExecutor(3) as threads:
                list(threads.map(probe.delete_all, ("removed", "moved", "downloaded")))
    print("all agree" if not bench.wrong else f"{bench.wrong} DO NOT AGREE")
    return 1 if bench.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
