"""A listing that fails for good on page 7 of 20, and what is left in the store: ``python -m tests.broken_listing``.

For each command: its exit code, what its reports say, and whether an independent client finds the same key by key. The
store is slow to do what the command wants until the listing has failed, and few requests are in flight: so of what was
listed some must not be begun, and is reported so. What needs the whole listing must have done nothing at all. With
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
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from s3engine import BytesSource, Engine
from s3engine.embedded import EmbeddedServer
from tests.faults import FaultProxy
from tests.half_listed import MAX_ATTEMPTS, HalfListed
from tests.helpers import S3Probe

PAGES, BROKEN = 20, 7
ROOT = Path(__file__).resolve().parents[1]
SLOW_S = 10.0
"""So long would a move of all that is listed take, if the listing did not fail before."""
IN_FLIGHT = 4


class Ran(NamedTuple):
    """What a command did."""

    title: str
    code: int
    told: dict[str, str | None]
    """The error of each reported key."""
    last: str
    """The last line on stderr."""


def disagreements(ran: Ran, gone: set[str], listed: set[str], elsewhere: set[str]) -> list[str]:
    """What is wrong, in words. ``gone``: keys that the store has no more; ``elsewhere``: that are at the target.

    ``listed``: what the pages before the broken one named; none: the command needs the whole listing, and must do
    nothing without it.
    """
    done = {key for key, error in ran.told.items() if error is None}
    begun = done | elsewhere
    found = {
        f"exit code {ran.code}": ran.code != 1,
        "reports are not of what was listed": set(ran.told) != listed,
        "what is reported done is not what is gone": done != gone,
        "something failed with another error than Cancelled": not set(ran.told.values()) <= {None, "Cancelled"},
        "all that was listed is begun: the listing's error stopped nothing": bool(listed) and begun >= listed,
        "something is at the target that was not listed": not elsewhere <= listed,
    }
    return [text for text, wrong in found.items() if wrong]


class Bench:
    """A store, and commands that are run on it behind a proxy."""

    def __init__(self, server: EmbeddedServer, probe: S3Probe, objects: int, only: str = "") -> None:
        self.server = server
        self.probe = probe
        self.keys = {f"p/{n:06}" for n in range(objects)}
        self.page = objects // PAGES
        self.only = only
        self.filled: list[str] = []
        self.ran = 0
        self.wrong = 0

    def has(self, command: str) -> bool:
        """Whether it is among those that are wanted."""
        return command.startswith(self.only)

    def fill(self, bucket: str) -> None:
        """A bucket with all the keys."""
        self.probe.create_bucket(bucket)
        self.filled.append(bucket)
        with Engine(endpoint_url=self.server.endpoint_url) as engine:
            done = engine.upload(bucket, (BytesSource(key.encode(), key) for key in sorted(self.keys))).wait()
        assert done.objects == len(self.keys), done

    def run(self, title: str, verb: str, *arguments: str, hold_s: float = 5.0, in_flight: int = IN_FLIGHT) -> Ran:
        """Run it behind a proxy that has the listing fail."""
        environment = os.environ | {
            "S3ENGINE_MAX_ATTEMPTS": str(MAX_ATTEMPTS), "PYTHONPATH": f"{ROOT}:{ROOT / 'transports'}",
            "TESTS_PAGE_KEYS": str(self.page),
        }  # fmt: skip
        with FaultProxy("127.0.0.1", self.server.port, HalfListed(BROKEN, hold_s=hold_s)) as proxy:
            pages = ["--transport", "tests.small_pages:SmallPages"] if self.page < 1000 else []
            done = subprocess.run(
                [sys.executable, "-m", "s3engine", verb, *arguments, "--json", "--endpoint-url", proxy.endpoint_url,
                 "--workers", "1", "-n", str(in_flight), *pages],
                env=environment, capture_output=True, text=True, check=False, timeout=600, cwd=ROOT,
            )  # fmt: skip
        told = {line["key"]: line["error"] for line in map(json.loads, done.stdout.splitlines())}
        return Ran(title, done.returncode, told, done.stderr.strip().rpartition("\n")[2])

    def show(self, ran: Ran, gone: set[str], listed: Iterable[str] = (), elsewhere: Iterable[str] = ()) -> None:
        """A paragraph, and what is wrong in it."""
        elsewhere = set(elsewhere)
        done = sum(error is None for error in ran.told.values())
        wrong = disagreements(ran, gone, set(listed), elsewhere)
        self.wrong += bool(wrong)
        self.ran += 1
        errors = dict(Counter(error for error in ran.told.values() if error))
        copied = f"; at the target {len(elsewhere)}" if elsewhere else ""
        print(f"{ran.title}\n  exit {ran.code}; reports {len(ran.told)}: {done} done, {errors or 'no errors'}")
        print(f"  gone from the store {len(gone)}{copied}; key by key as it must be: {'NO' if wrong else 'yes'}")
        print(*(f"  WRONG: {text}" for text in wrong), f"  {ran.last}", sep="\n")

    def left(self, bucket: str) -> set[str]:
        """What an independent client lists."""
        return set(self.probe.list_keys(bucket, "p/"))


def main(arguments: list[str]) -> int:
    """Run all; 1 when something does not agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--objects", type=int, default=20_000, help="a multiple of 20, at least 400 (20000)")
    parser.add_argument("--only", default="", help="only commands that begin with this")
    options = parser.parse_args(arguments)
    objects = options.objects
    if objects < 400 or objects % PAGES:  # a worker is given up to 70 objects ahead: more must be listed
        parser.error("--objects must be a multiple of 20, and at least 400")
    with (
        EmbeddedServer() as server, tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, server.environment()),
        S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe,
    ):  # fmt: skip
        bench = Bench(server, probe, objects, options.only)
        bench.fill("removed")
        for bucket in ("moved", "downloaded") if "mv".startswith(options.only[:2]) else ():
            bench.fill(bucket)
        probe.create_bucket("target")
        needs_all(bench)
        stops(bench, Path(folder) / "out")
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(probe.delete_all, bench.filled))
    print("all agree" if bench.ran and not bench.wrong else f"{bench.wrong} of {bench.ran} DO NOT AGREE")
    return 0 if bench.ran and not bench.wrong else 1


def needs_all(bench: Bench) -> None:
    """Commands that do nothing without the whole listing."""
    for title, *arguments in (
        ("rm -r --max-delete 50%", "rm", "-r", "s3://removed/p/", "--max-delete", "50%"),
        ("cp --if-size-differ", "cp", "s3://removed/p/", "s3://target/q/", "--if-size-differ"),
        ("cp --if-size-differ onto the broken listing", "cp", "tests", "s3://removed/p/", "--if-size-differ"),
    ):
        if not bench.has(title):
            continue
        ran = bench.run(title, *arguments)
        changed = bench.keys ^ bench.left("removed") | set(bench.probe.list_keys("target"))
        bench.show(ran, changed)


def stops(bench: Bench, folder: Path) -> None:
    """Commands that do what is listed as it comes, and stop when the listing fails."""
    listed = sorted(bench.keys)[: (BROKEN - 1) * bench.page]
    if bench.has("rm -r"):
        # Deletes go out 1000 keys at a time: with a tenth left out these are not just the pages, and some keys wait.
        ran = bench.run("rm -r", "rm", "-r", "s3://removed/p/", "--exclude", "*7", in_flight=1)
        bench.show(ran, bench.keys - bench.left("removed"), [key for key in listed if not key.endswith("7")])
    slow_s = SLOW_S * IN_FLIGHT / len(listed)
    if bench.has("mv to another bucket"):
        ran = bench.run("mv to another bucket", "mv", "s3://moved/p/", "s3://target/p/", hold_s=slow_s)
        bench.show(ran, bench.keys - bench.left("moved"), listed, bench.probe.list_keys("target"))
    if bench.has("mv to a folder"):
        ran = bench.run("mv to a folder", "mv", "s3://downloaded/p/", str(folder), hold_s=slow_s)
        there = [f"p/{path.name}" for path in folder.iterdir()]
        bench.show(ran, bench.keys - bench.left("downloaded"), listed, there)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
