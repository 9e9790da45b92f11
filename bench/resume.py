"""Kills an upload and a download of one large object at half, resumes both, and counts what the resumed runs moved.

    python -m bench.resume --size 2GiB

Each is a command ``s3engine cp --journal`` against SeaweedFS, through a relay that counts bytes in both directions.
When half of the size went through it, the command and all its workers get SIGKILL; the same command then goes on. The
resumed run must move less than 55 % of the bytes, and the SHA-256 of what arrived (in the store: by an independent
client) must be that of the source. Ends with 1 otherwise. Takes four times the size on disk. What is in flight at the
kill is sent again, so a size of less than some hundred parts needs another limit (``--allowed``): 2 GiB is 256 parts of
8 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from bench.harness import run_program
from s3engine.embedded import EmbeddedServer, free_ports
from tests.helpers import S3Probe, eventually

ROOT = Path(__file__).resolve().parents[1]
BUCKET, KEY = "resume", "large"
MIB = 1024 * 1024
_UNITS = {"KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}


class Relay:
    """Relays 127.0.0.1 to a port and counts: ``up`` bytes to the server, ``down`` bytes from it; ``open`` relays."""

    def __init__(self, upstream: int) -> None:
        self.up = self.down = self.open = self.port = 0
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._quit = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._quit.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._quit.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            there, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
            await asyncio.gather(self._pass(reader, to_server, up=True), self._pass(there, writer, up=False))
        finally:
            self.open -= 1

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(256 * 1024):
                if up:
                    self.up += len(data)
                else:
                    self.down += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()


def size_of(text: str) -> int:
    """Bytes of "2GiB", "512MiB" or "1048576". Raises argparse.ArgumentTypeError."""
    found = re.fullmatch(r"(\d+)(KiB|MiB|GiB)?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; say 2GiB, 512MiB or a number of bytes")
    return int(found[1]) * _UNITS.get(found[2] or "", 1)


def sha256_of(path: Path) -> str:
    """In hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(MIB):
            digest.update(data)
    return digest.hexdigest()


def stored_sha256(server: EmbeddedServer, size_bytes: int) -> str:
    """Of the object, fetched in ranges by an independent client."""
    digest = hashlib.sha256()
    with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
        for first in range(0, size_bytes, 64 * MIB):
            last = min(first + 64 * MIB, size_bytes) - 1
            answer = probe.request("GET", f"/{BUCKET}/{KEY}", headers={"range": f"bytes={first}-{last}"})
            digest.update(answer.body)
    return digest.hexdigest()


def show(
    what: str, command: list[str], environment: dict[str, str], relay: Relay, size_bytes: int, allowed: float
) -> list[str]:
    """Kill one command at half and resume it; what does not hold."""

    def moved() -> int:
        return relay.up if what == "upload" else relay.down

    began, began_s = moved(), time.monotonic()
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        while moved() - began < size_bytes // 2 and process.poll() is None:
            time.sleep(0.001)  # often, as a gigabyte may pass in a second and the kill is to come at half
        if process.poll() is not None:
            return [f"{what}: it ended with {process.returncode} before half was moved"]
        os.killpg(process.pid, signal.SIGKILL)
    eventually(lambda: not relay.open)  # what was in the sockets of the killed has run out, and is counted
    first, first_s = moved() - began, time.monotonic() - began_s
    began, began_s = moved(), time.monotonic()
    code = subprocess.run(command, env=environment, check=False).returncode
    second = moved() - began
    share = second / size_bytes
    print(
        f"{what}: killed after {first} bytes ({first / size_bytes:.1%}, {first_s:.1f} s); the resumed run moved "
        f"{second} bytes ({share:.1%}, {time.monotonic() - began_s:.1f} s) and ended with {code}", flush=True,
    )  # fmt: skip
    problems = [f"{what}: the resumed run ended with {code}"] if code else []
    if share >= allowed:
        problems.append(f"{what}: the resumed run moves less than {allowed:.0%} of the bytes")
    return problems


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print what was seen."""
    parser = argparse.ArgumentParser(description="Kill an upload and a download at half, and resume them.")
    parser.add_argument("--size", type=size_of, default=size_of("2GiB"), help="of the object (default: 2GiB)")
    parser.add_argument("--allowed", type=float, default=0.55, metavar="SHARE", help="of the bytes (default: 0.55)")
    parser.add_argument("--folder", help="where the files are made (default: the temporary folder)")
    given = parser.parse_args(argv)
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="s3engine-resume-", dir=given.folder) as name:
        folder = Path(name)
        source, target = folder / "large", folder / "out" / KEY
        made = random.Random(4)
        with open(source, "wb") as file:
            for left in range(given.size, 0, -MIB):
                file.write(made.randbytes(min(MIB, left)))
        with (
            EmbeddedServer(str(folder / "server"), port=free_ports(1)[0]) as server, Relay(server.port) as relay
        ):  # fmt: skip
            with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
                probe.create_bucket(BUCKET)
            environment = {
                **os.environ, **server.environment(), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{relay.port}",
                "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")]),
            }  # fmt: skip
            cp = [sys.executable, "-m", "s3engine", "cp", "--quiet"]
            up = [*cp, str(source), f"s3://{BUCKET}/{KEY}", "--journal", str(folder / "up.journal")]
            down = [*cp, f"s3://{BUCKET}/{KEY}", f"{target.parent}/", "--journal", str(folder / "down.journal")]
            problems += show("upload", up, environment, relay, given.size, given.allowed)
            expected = sha256_of(source)
            if stored_sha256(server, given.size) != expected:
                problems.append("upload: SHA-256 is equal")
            problems += show("download", down, environment, relay, given.size, given.allowed)
            if not target.exists() or sha256_of(target) != expected:
                problems.append("download: SHA-256 is equal")
            others = sorted(set(os.listdir(target.parent)) - {KEY})
            if others:
                problems.append(f"download: nothing else is left in its folder: {others}")
            print(f"SHA-256 {expected}{'' if problems else ' of source, object and download'}")
    for problem in problems:
        print("DOES NOT HOLD:", problem)
    return 1 if problems else 0


if __name__ == "__main__":
    run_program(main)
