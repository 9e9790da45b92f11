"""Uploads many small objects while workers, the server and the parent are killed; minutes, by hand.

    python -m bench.soak --objects 20000 --kill-worker-every 1 --restart-server 2 --kill-parent 3 --journal

The command is ``s3engine cp FOLDER s3://BUCKET/PREFIX/``, against SeaweedFS behind a relay that counts the PUTs of each
key. Workers are killed at a steady pace, the server is restarted and the parent is killed at even steps of the work; a
parent that was killed is started again with the same command, which goes on from the journal. Then the store must hold
every object, byte for byte, by an independent client, and the journal must hold each object once, as done.

What was sent again is counted as the sum over all keys of (PUTs - 1), and each must have been in flight at a kill or
restart, by what the relay saw of that very PUT and by what the journal had on record at the death of a parent:
:mod:`bench.resent` says how. And no more may be in flight than ``-n`` allows: of PUTs that are open at a stroke, of
what is sent again for one worker, and of keys that were begun and are not on record when a parent is dead. The last is
the limit of docs/journal.md, for what is under way and what was answered and is not on record together. Ends with 1
otherwise. Without a journal workers tell of what is done now and then, not at once, and the limits are not judged.
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
from pathlib import Path

from bench.harness import run_program
from bench.putcount import PutCounter
from bench.resent import PARENT, SERVER, WORKER, Stroke, blame, on_record
from s3engine.embedded import EmbeddedServer, free_ports
from tests.helpers import S3Probe, eventually

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


class Job:
    """The command, started again and again, and those who kill it."""

    def __init__(self, given: argparse.Namespace, folder: Path, server: EmbeddedServer, relay: PutCounter) -> None:
        self.given, self.folder, self.server, self.relay = given, folder, server, relay
        self.strokes: list[Stroke] = []
        self.exits: list[int] = []
        """How each run of the command ended."""
        self.journal = folder / "job.journal"
        self.process: subprocess.Popen[bytes] | None = None
        self.over = threading.Event()
        self.command = [
            sys.executable, "-m", "s3engine", "cp", str(folder / "files"), f"s3://{BUCKET}/{PREFIX}",
            "-n", str(given.concurrency), "--workers", str(WORKERS), "--quiet",
            *(["--journal", str(self.journal)] if given.journal else []),
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
                    self.exits.append(self.process.wait())
                    if self.exits[-1] != -signal.SIGKILL:
                        return
                    self._look_at_the_dead()
                    self.relay.run += 1
            finally:
                self.over.set()
                for killer in killers:
                    killer.join()

    def count(self, kind: str) -> int:
        """How many strokes of a kind there were."""
        return sum(stroke.kind == kind for stroke in self.strokes)

    def _look_at_the_dead(self) -> None:
        """The parent was killed: its workers end, and then the journal has what it will ever have of this run."""
        eventually(lambda: not self.relay.connections, within_s=30)
        done = {f"/{BUCKET}/{key}" for key in on_record(self.journal)}
        stroke = next(stroke for stroke in reversed(self.strokes) if stroke.kind == PARENT)
        stroke.over_s = time.monotonic()
        stroke.unrecorded = {put.path for put in self.relay.sent if put.run == stroke.run} - done

    def _strike(self, kind: str) -> Stroke:
        stroke = Stroke(kind, self.relay.run, time.monotonic(), len(self.relay.open))
        self.strokes.append(stroke)
        return stroke

    def _kill_workers(self) -> None:
        every_s = self.given.kill_worker_every
        while every_s and not self.over.wait(every_s):
            process = self.process
            pids = workers_of(process.pid) if process is not None and process.poll() is None else []
            if pids:
                stroke = self._strike(WORKER)
                try:
                    os.kill(pids[self.count(WORKER) % len(pids)], signal.SIGKILL)
                except ProcessLookupError:  # it ended meanwhile
                    self.strokes.remove(stroke)

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
            self._strike(PARENT)
            process.kill()

    def _restart_server(self) -> None:
        stroke = self._strike(SERVER)
        stroke.over_s = float("inf")
        self.server.stop()
        self.server.start()
        stroke.over_s = time.monotonic()


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
        problems = judge(given, job, relay, bad, took_s)
        if problems:
            print((folder / "job.log").read_text(errors="replace")[-3000:])
    for problem in problems:
        print("DOES NOT HOLD:", problem)
    return 1 if problems else 0


def judge(given: argparse.Namespace, job: Job, relay: PutCounter, bad: list[str], took_s: float) -> list[str]:
    """Print the figures; returns what does not hold."""
    problems: list[str] = []
    print(
        f"{took_s:.1f} s; killed {job.count(WORKER)} workers and {job.count(PARENT)} parents, restarted the server "
        f"{job.count(SERVER)} times; runs of the command ended with {job.exits}"
    )
    problems += judge_sent_again(given, job, relay)
    print(f"in the store: {given.objects - len(bad)} right, {len(bad)} not")
    if given.journal:
        states, keys = in_journal(job.journal)
        print(f"in the journal: {states}, {keys} different keys")
        if states != {"done": given.objects} or keys != given.objects:
            problems.append("each object is once in the journal, as done")
    if job.exits[-1]:
        problems.append(f"the last run ended with {job.exits[-1]}")
    if (job.count(PARENT), job.count(SERVER)) != (given.kill_parent, given.restart_server):
        problems.append("all kills and restarts that were asked for took place")
    if bad:
        problems.append(f"the store is complete and byte-equal: {bad[:5]}")
    return problems


def judge_sent_again(given: argparse.Namespace, job: Job, relay: PutCounter) -> list[str]:
    """Print what was in flight at the strokes, and what was sent again after them; returns what does not hold."""
    sent = [put for put in relay.sent if put.path.startswith(f"/{BUCKET}/{PREFIX}")]
    keys = len({put.path for put in sent})
    stray = blame(sent, job.strokes)
    limit = given.concurrency
    shown = f" (limit of each: {limit}, -n)" if given.journal else ""
    print(
        f"{keys} keys in {len(sent)} PUTs, so {len(sent) - keys} were sent again: {len(stray)} that were not in flight "
        f"at any kill or restart, and"
    )
    problems: list[str] = []
    for kind in (WORKER, PARENT, SERVER):
        strokes = [stroke for stroke in job.strokes if stroke.kind == kind]
        if not strokes:
            continue
        again = [put for stroke in strokes for put in stroke.again]
        figures = {"PUTs open at it": max(stroke.open for stroke in strokes)}
        if kind == WORKER:
            figures["sent again for it"] = max(len(stroke.again) for stroke in strokes)
        if kind == PARENT:
            figures["begun and not on record"] = max(len(stroke.unrecorded) for stroke in strokes)
        print(
            f"  {kind}: {len(again)}, of them {sum(not put.status for put in again)} unanswered; the most for one: "
            + ", ".join(f"{count} {what}" for what, count in figures.items()) + shown
        )  # fmt: skip
        problems += [f"{kind}: {what}: {count}, limit {limit}" for what, count in figures.items() if count > limit]
    if not given.journal:
        problems.clear()
    if stray:
        problems.append(f"only what was in flight was sent again: {stray[:3]}")
    return problems


if __name__ == "__main__":
    run_program(main)
