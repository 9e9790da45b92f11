"""Uploads many small objects while workers, the server and the parent are killed; minutes, by hand.

    python -m bench.soak --objects 20000 --kill-worker-every 1 --restart-server 2 --kill-parent 3 --journal

The command is ``s3engine cp FOLDER s3://BUCKET/PREFIX/``, against SeaweedFS behind a relay that counts the PUTs of each
key. Workers are killed at a steady pace, the server is restarted and the parent is killed at even steps of the work; a
parent that was killed is started again with the same command, which goes on from the journal. Then the store must hold
every object, byte for byte, by an independent client; the journal must hold each object once, as done; and objects that
were sent more than once must be no more than those that were in flight at a kill or restart. Ends with 1 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.putcount import PutCounter
from s3engine.embedded import EmbeddedServer, free_ports
from tests.helpers import S3Probe

ROOT = Path(__file__).resolve().parents[1]
BUCKET, PREFIX = "soak", "p/"
WORKERS = 2
IN_JOURNAL = ("planned", "done", "failed")


def body_of(number: int) -> bytes:
    """100 to 1100 bytes, different for each object; no byte of them looks like a request."""
    return (hashlib.sha256(b"%d" % number).hexdigest() * 18)[: 100 + number % 1000].encode()


def key_of(number: int) -> str:
    """Below a hundred folders."""
    return f"{number % 100:02d}/{number:07d}"


@dataclass
class Strokes:
    """What was done to the job."""

    workers: int = 0
    parents: int = 0
    servers: int = 0
    exits: list[int] = field(default_factory=list)
    """How each run of the command ended."""


class Job:
    """The command, started again and again, and those who kill it."""

    def __init__(self, given: argparse.Namespace, folder: Path, server: EmbeddedServer, relay: PutCounter) -> None:
        self.given, self.folder, self.server, self.relay = given, folder, server, relay
        self.strokes = Strokes()
        self.process: subprocess.Popen[bytes] | None = None
        self.over = threading.Event()
        self.command = [
            sys.executable, "-m", "s3engine", "cp", str(folder / "files"), f"s3://{BUCKET}/{PREFIX}",
            "-n", str(given.concurrency), "--workers", str(WORKERS), "--quiet",
            *(["--journal", str(folder / "job.journal")] if given.journal else []),
        ]  # fmt: skip
        self.environment = {
            **os.environ, **server.environment(), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{relay.port}",
            "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")]),
        }  # fmt: skip

    def run(self) -> None:
        """Until the command ended by itself and well, or failed with nobody having killed it."""
        killers = [threading.Thread(target=self._kill_workers), threading.Thread(target=self._kill_at_steps)]
        with open(self.folder / "job.log", "ab") as log:
            for killer in killers:
                killer.start()
            try:
                while True:
                    self.process = subprocess.Popen(
                        self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True
                    )
                    self.strokes.exits.append(self.process.wait())
                    if self.strokes.exits[-1] != -signal.SIGKILL:
                        return
            finally:
                self.over.set()
                for killer in killers:
                    killer.join()

    def _kill_workers(self) -> None:
        every_s = self.given.kill_worker_every
        while every_s and not self.over.wait(every_s):
            process = self.process
            pids = workers_of(process.pid) if process is not None and process.poll() is None else []
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pids[self.strokes.workers % len(pids)], signal.SIGKILL)
                    self.strokes.workers += 1

    def _kill_at_steps(self) -> None:
        objects = self.given.objects
        parents, servers = self.given.kill_parent, self.given.restart_server
        steps = [(objects * (step + 1) // (parents + 1), self._kill_parent) for step in range(parents)]
        # Apart from the kills: a command that starts while nobody answers gives up, as it should.
        steps += [(objects * (step + 1) // (servers + 1), self._restart_server) for step in range(servers)]
        for count, stroke in sorted(steps, key=lambda step: step[0]):
            while len(self.relay.puts) < count:
                if self.over.wait(0.01):
                    return
            stroke()

    def _kill_parent(self) -> None:
        process = self.process
        if process is not None and process.poll() is None:
            process.kill()
            self.strokes.parents += 1

    def _restart_server(self) -> None:
        self.server.stop()
        self.server.start()
        self.strokes.servers += 1


def workers_of(parent: int) -> list[int]:
    """The worker processes below a process: those that have no children and are no helper of multiprocessing."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])

    def below(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == parent:
                return True
        return False

    with_children = set(parents.values())
    found = []
    for pid in parents:
        if pid not in with_children and below(pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                direct = parents[pid] == parent
                if command and b"resource_tracker" not in command and not (direct and b"forkserver" in command):
                    found.append(pid)
    return sorted(found)


def wrong_in_store(server: EmbeddedServer, objects: int) -> list[str]:
    """Objects that an independent client does not find as they should be, and those that nobody sent."""
    with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
        listed = probe.list_keys(BUCKET, PREFIX)
        strangers = sorted(set(listed) - {PREFIX + key_of(number) for number in range(objects)})
        with ThreadPoolExecutor(4) as threads:
            bodies = threads.map(lambda number: probe.get(BUCKET, PREFIX + key_of(number)), range(objects))
            bad = [key_of(number) for number, body in enumerate(bodies) if body != body_of(number)]
    return bad + [f"{key} (nobody sent it)" for key in strangers]


def in_journal(path: Path) -> tuple[dict[str, int], int]:
    """Objects by state, and how many different keys there are."""
    with contextlib.closing(sqlite3.connect(path)) as journal:
        states = {IN_JOURNAL[state]: count for state, count in journal.execute(
            "SELECT state, count(*) FROM objects GROUP BY state"
        )}  # fmt: skip
        return states, journal.execute("SELECT count(DISTINCT key) FROM objects").fetchone()[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print what was seen."""
    parser = argparse.ArgumentParser(description="Upload many objects while everything is killed.")
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("-n", "--concurrency", type=int, default=64, help="requests in flight (default: 64)")
    parser.add_argument("--kill-worker-every", type=float, default=1.0, metavar="S", help="0: never (default: 1)")
    parser.add_argument("--restart-server", type=int, default=2, metavar="N", help="so often (default: 2)")
    parser.add_argument("--kill-parent", type=int, default=3, metavar="N", help="needs --journal (default: 3)")
    parser.add_argument("--journal", action="store_true", help="upload with a journal, and resume from it")
    given = parser.parse_args(argv)
    if not given.journal and given.kill_parent:
        parser.error("--kill-parent needs --journal: without one nothing is resumed; or say --kill-parent 0")
    with tempfile.TemporaryDirectory(prefix="s3engine-soak-") as name:
        folder = Path(name)
        print(f"{given.objects} files", flush=True)
        for number in range(given.objects):
            path = folder / "files" / key_of(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body_of(number))
        with EmbeddedServer(str(folder / "server"), port=free_ports(1)[0]) as server, PutCounter(server.port) as relay:
            with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
                probe.create_bucket(BUCKET)
            job = Job(given, folder, server, relay)
            started_s = time.monotonic()
            job.run()
            took_s = time.monotonic() - started_s
            bad = wrong_in_store(server, given.objects)
        problems = judge(given, job, relay, bad, took_s, folder)
        if problems:
            print((folder / "job.log").read_text(errors="replace")[-3000:])
    for problem in problems:
        print("DOES NOT HOLD:", problem)
    return 1 if problems else 0


def judge(
    given: argparse.Namespace, job: Job, relay: PutCounter, bad: list[str], took_s: float, folder: Path
) -> list[str]:
    """Print the figures; returns what does not hold."""
    strokes, problems = job.strokes, list[str]()
    puts = {key: count for key, count in relay.puts.items() if key.startswith(f"/{BUCKET}/{PREFIX}")}
    again = sum(count > 1 for count in puts.values())
    share = -(-given.concurrency // WORKERS)
    # With a journal nothing that is done and not on record comes on top of what is in flight: see docs/journal.md.
    flying = strokes.workers * share + (strokes.servers + strokes.parents) * given.concurrency
    print(
        f"{took_s:.1f} s; killed {strokes.workers} workers and {strokes.parents} parents, restarted the server "
        f"{strokes.servers} times; runs of the command ended with {strokes.exits}\n"
        f"{len(puts)} keys in {sum(puts.values())} PUTs; {again} objects were sent more than once, at most "
        f"{flying} were in flight at a kill or restart\nin the store: {given.objects - len(bad)} right, {len(bad)} not"
    )
    if given.journal:
        states, keys = in_journal(folder / "job.journal")
        print(f"in the journal: {states}, {keys} different keys")
        if states != {"done": given.objects} or keys != given.objects:
            problems.append("each object is once in the journal, as done")
    if strokes.exits[-1]:
        problems.append(f"the last run ended with {strokes.exits[-1]}")
    if (strokes.parents, strokes.servers) != (given.kill_parent, given.restart_server):
        problems.append("all kills and restarts that were asked for took place")
    if bad:
        problems.append(f"the store is complete and byte-equal: {bad[:5]}")
    if again > flying:
        problems.append("only what was in flight was sent again")
    return problems


if __name__ == "__main__":
    sys.exit(main())
