"""An nginx on loopback that answers like S3 at once, so that what is measured beside it is the client.

PUT of anything is discarded and answered with an ETag; GET below ``/objects/`` serves the objects the sink was given,
out of memory; listing the bucket ``listing`` gives one object, listing ``page`` gives 1000; DeleteObjects in
``deletes`` finds everything deleted, and a PUT into ``large`` is answered when its body has come whole. A second port
does the first three, but late. One nginx
process, a configuration written for the occasion, free ports, a temporary folder: all of it is gone afterwards.

nginx keeps an access log in memory and writes it on demand, so counting costs it little, and the same for every
client. By hand: ``python -m bench.sink`` runs one until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import itertools
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from bench.sink_config import MAX_FILES, OBJECTS_BUCKET, PAGE, nginx_config

__all__ = ["Request", "Sink", "SinkUnavailable", "memory_folder", "nginx_version"]

_INSTALL = "install it with: apt install nginx-extras (Debian, Ubuntu)"
_MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
_START_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

class SinkUnavailable(Exception):
    """nginx or its echo module is not there, or it does not start; the message says what to install."""


class Request(NamedTuple):
    """One line of the sink's log. ``size_bytes`` is -1 without Content-Length, ``sha256`` is "-" where not sent."""

    method: str
    status: int
    size_bytes: int
    sha256: str
    path: str


def memory_folder(needed_bytes: int) -> str | None:
    """``/dev/shm`` when it has room for four times ``needed_bytes``, else None (the usual temporary folder)."""
    with contextlib.suppress(OSError):
        if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 4 * needed_bytes:
            return "/dev/shm"
    return None


def _nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SinkUnavailable(f"nginx is not installed; {_INSTALL}")
    return found


def _echo_module(nginx: str) -> str:
    """The line that loads the echo module; "" when it is compiled in."""
    for folder in _MODULE_FOLDERS:
        path = os.path.join(folder, "ngx_http_echo_module.so")
        if os.path.exists(path):
            return f"load_module {path};"
    if "echo-nginx-module" in subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False).stderr:
        return ""
    raise SinkUnavailable(f"nginx has no echo module, which makes the late answers; {_INSTALL}")


def nginx_version() -> str:
    """For the record of a run."""
    shown = subprocess.run([_nginx(), "-v"], capture_output=True, text=True, check=False).stderr
    return shown.strip().rpartition("/")[2]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _before_exec() -> None:
    # As many files as it may have; and to end with the process that started it, even one that is killed.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(MAX_FILES + 100, hard) if hard >= 0 else MAX_FILES + 100, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Sink:
    """A context manager around one nginx. ``objects``: key -> body, served from the bucket ``objects``.

    Entering raises SinkUnavailable. Not safe for several threads.
    """

    def __init__(self, objects: Mapping[str, bytes] | None = None, *, delay_ms: int = 20) -> None:
        self.delay_ms = delay_ms
        self.endpoint_url = ""
        self.late_endpoint_url = ""
        self._objects = dict(objects or {})
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._marks = itertools.count(1)
        self._log_offset = 0
        self._port = 0

    def __enter__(self) -> Sink:
        nginx = _nginx()
        load_module = _echo_module(nginx)
        needed_bytes = 64 * 1024 * 1024 + sum(map(len, self._objects.values()))
        self._folder = Path(tempfile.mkdtemp(prefix="s3engine-sink-", dir=memory_folder(needed_bytes)))
        try:
            self._write_objects()
            for left in reversed(range(5)):
                if self._start(nginx, load_module, last=not left):
                    break
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_objects(self) -> None:
        root = self._folder / "static" / OBJECTS_BUCKET
        root.mkdir(parents=True)
        for key, body in self._objects.items():
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        (self._folder / "static" / "page.xml").write_text(PAGE)

    def _start(self, nginx: str, load_module: str, *, last: bool) -> bool:
        """False when another process took a port in between."""
        port, late_port = _free_ports(2)
        config = nginx_config(load_module, port, late_port, self.delay_ms)
        (self._folder / "nginx.conf").write_text(config)
        said = self._folder / "said.txt"
        with open(said, "wb") as output:
            process = subprocess.Popen(
                [nginx, "-p", str(self._folder), "-c", "nginx.conf"], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, preexec_fn=_before_exec,  # noqa: PLW1509 -- no thread runs beside it
            )  # fmt: skip
        self._process = process
        end = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                self._port = port
                self.endpoint_url = f"http://127.0.0.1:{port}"
                self.late_endpoint_url = f"http://127.0.0.1:{late_port}"
                return True
            time.sleep(0.01)
        text = said.read_text(errors="replace")
        if "Address already in use" in text and not last:
            process.kill()
            process.wait()
            return False
        raise SinkUnavailable(f"nginx did not start ({_INSTALL}); it said: {text.strip() or 'nothing'}")

    def cpu_s(self) -> float:
        """CPU seconds nginx has used so far; 0.0 where /proc does not tell."""
        assert self._process is not None
        with contextlib.suppress(OSError, ValueError):
            # Nanoseconds on the CPU come first. https://docs.kernel.org/scheduler/sched-stats.html
            text = Path(f"/proc/{self._process.pid}/schedstat").read_text()
            return int(text.split()[0]) / 1e9
        return 0.0

    def requests(self) -> list[Request]:
        """The requests since the last call, answered ones only, in the order of their ends."""
        assert self._process is not None
        mark = f"/-/{next(self._marks)}"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", mark)
            connection.getresponse().read()
        finally:
            connection.close()
        self._process.send_signal(signal.SIGUSR1)  # reopens the log, and writes what is buffered
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            with open(self._folder / "access.log", encoding="ascii", errors="replace") as log:
                log.seek(self._log_offset)
                text = log.read()
            if text.endswith(f" {mark}\n"):
                self._log_offset += len(text)
                return [_parse(line) for line in text.splitlines()[:-1]]
            time.sleep(0.005)
        raise SinkUnavailable("nginx did not write its log")


def _parse(line: str) -> Request:
    method, status, size, sha256, path = line.split(" ", 4)
    return Request(method, int(status), int(size) if size.isdigit() else -1, sha256, path)


def main() -> None:
    """Run a sink until Ctrl-C."""
    try:
        with Sink({"one": b"x" * 1024}) as sink:
            print(f"at once: {sink.endpoint_url}")
            print(f"{sink.delay_ms} ms late: {sink.late_endpoint_url}")
            print(f"GET: /{OBJECTS_BUCKET}/one; Ctrl-C stops it", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    except SinkUnavailable as error:
        raise SystemExit(f"bench: {error}") from None


if __name__ == "__main__":
    main()
