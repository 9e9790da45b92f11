"""An nginx on loopback that answers like S3 at once, so that what is measured beside it is the client.

PUT of anything is discarded and answered with an ETag; into ``large`` it is answered when its body has come whole.
Multipart uploads are answered everywhere, and checksums of bodies up to 8 KiB are compared, so that a client that asks
sees a store that looks at them. GET below ``/objects/`` and ``/blobs/`` serves what the sink was given; copies into
``copies`` are answered. Listing the bucket ``listing`` gives one object, ``page`` gives 1000, ``empty`` none; a bucket
of ``listed`` gives its keys page by page, static ones where a client lists from the beginning to the end. DeleteObjects
in ``deletes`` or a listed bucket finds everything deleted. A second port does the same but late, a third one over TLS.
One nginx process, a configuration written for the occasion, free ports, a temporary folder: all of it is gone
afterwards.

nginx keeps an access log in memory and writes it on demand, so counting costs it little, and the same for every
client. By hand: ``python -m bench.sink`` runs one until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import itertools
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from xml.sax.saxutils import unescape

from bench.sink_config import BLOBS_BUCKET, DELETES_BUCKET, EMPTY_BUCKET, MAX_FILES, OBJECTS_BUCKET, PAGE, nginx_config
from bench.sink_data import Listed, make_certificate, write_headers, write_pages

__all__ = ["Listed", "Request", "Sink", "SinkUnavailable", "memory_folder", "nginx_version", "parse"]

_INSTALL = "install it with: apt install nginx-extras (Debian, Ubuntu)"
_MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
# In this order; what tells in `nginx -V` that it is compiled in.
_MODULES = {
    "ndk_http_module": "ngx_devel_kit", "ngx_http_echo_module": "echo-nginx-module",
    "ngx_http_headers_more_filter_module": "headers-more", "ngx_http_lua_module": "lua-nginx-module",
}  # fmt: skip
# Buffers for bodies of large requests are kept by malloc rather than given back: else each costs fresh pages.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
_START_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

class SinkUnavailable(Exception):
    """nginx or its echo module is not there, or it does not start; the message says what to install."""


class Request(NamedTuple):
    """One line of the sink's log. ``size_bytes`` is -1 without Content-Length, ``sha256`` is "-" where not sent."""

    method: str
    status: int
    size_bytes: int
    """Of the body that was sent to the sink, by its Content-Length."""
    sha256: str
    answered_bytes: int
    """Of the body that the sink answered with."""
    connection: int
    """A number of the connection it came by."""
    tls: str
    """The version of TLS, "-" without."""
    received_bytes: int
    """Of the whole request as it came, its head included, inside TLS."""
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


def _modules(nginx: str) -> list[str]:
    """The lines that load the modules that are needed and not compiled in."""
    lines = []
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False).stderr
    for name, source in _MODULES.items():
        places = [os.path.join(folder, f"{name}.so") for folder in _MODULE_FOLDERS]
        found = next(filter(os.path.exists, places), None)
        if found:
            lines.append(f"load_module {found};")
        elif source not in built:
            raise SinkUnavailable(f"nginx lacks the module {source}; {_INSTALL}")
    return lines


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


def _max_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_FILES, hard) if hard >= 0 else MAX_FILES


def _before_exec() -> None:
    # As many files as it may have; and to end with the process that started it, even one that is killed.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_max_files(), hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Sink:
    """A context manager around one nginx.

    Args:
        objects: key -> body, served from the bucket ``objects``, which can be listed.
        delay_ms: How late the second port answers.
        listed: name -> what a bucket of that name holds when it is listed.
        blobs: key -> file, served from the bucket ``blobs``; those below ``p/`` are listed. They are linked to, and
            read once for their checksums.
        tls: Answer over TLS too; ``ca_file`` is the certificate of the authority. Needs openssl.

    Entering raises SinkUnavailable. Not safe for several threads.
    """

    def __init__(
        self, objects: Mapping[str, bytes] | None = None, *, delay_ms: int = 20,
        listed: Mapping[str, Sequence[Listed]] | None = None, blobs: Mapping[str, Path] | None = None,
        tls: bool = False,
    ) -> None:  # fmt: skip
        self.delay_ms = delay_ms
        self.endpoint_url = ""
        self.late_endpoint_url = ""
        self.tls_endpoint_url = ""
        self._objects = dict(objects or {})
        self._listed = dict(listed or {})
        self._blobs = dict(blobs or {})
        self._tls = tls
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._marks = itertools.count(1)
        self._log_offset = 0
        self._port = 0

    def __enter__(self) -> Sink:
        nginx = _nginx()
        load_modules = _modules(nginx)
        needed_bytes = 64 * 1024 * 1024 + sum(map(len, self._objects.values()))
        self._folder = Path(tempfile.mkdtemp(prefix="s3engine-sink-", dir=memory_folder(needed_bytes)))
        try:
            self._write_all()
            for left in reversed(range(5)):
                if self._start(nginx, load_modules, last=not left):
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

    def _write_all(self) -> None:
        static = self._folder / "static"
        for key, body in self._objects.items():
            path = static / OBJECTS_BUCKET / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        for key, file in self._blobs.items():
            path = static / BLOBS_BUCKET / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(file)
        static.mkdir(exist_ok=True)
        (static / "page.xml").write_text(PAGE)
        shutil.copyfile(Path(__file__).with_name("sink.lua"), self._folder / "sink.lua")
        served = write_headers(self._folder, self._objects, self._blobs)
        for bucket, contents in (self._listed | served | {EMPTY_BUCKET: (), DELETES_BUCKET: ()}).items():
            write_pages(self._folder / "pages" / bucket, bucket, contents)
        if self._tls:
            make_certificate(self._folder)

    def _start(self, nginx: str, load_modules: Sequence[str], *, last: bool) -> bool:
        """False when another process took a port in between."""
        port, late_port, tls_port = _free_ports(3)
        buckets = sorted(path.name for path in (self._folder / "pages").iterdir())
        config = nginx_config(
            load_modules, str(self._folder), (port, late_port, tls_port if self._tls else 0), self.delay_ms, buckets,
            _max_files(),
        )
        (self._folder / "nginx.conf").write_text(config)
        said = self._folder / "said.txt"
        with open(said, "wb") as output:
            process = subprocess.Popen(
                [nginx, "-p", str(self._folder), "-c", "nginx.conf"], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env={**os.environ, **_MALLOC}, preexec_fn=_before_exec,  # noqa: PLW1509 -- no thread runs beside it
            )  # fmt: skip
        self._process = process
        end = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                self._port = port
                self.endpoint_url = f"http://127.0.0.1:{port}"
                self.late_endpoint_url = f"http://127.0.0.1:{late_port}"
                self.tls_endpoint_url = f"https://127.0.0.1:{tls_port}" if self._tls else ""
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

    @property
    def ca_file(self) -> str:
        """The certificate of the authority that the sink's own is signed by."""
        return str(self._folder / "ca.pem")

    def deleted(self) -> list[str]:
        """The keys of all DeleteObjects requests since the last call, in their order."""
        path = self._folder / "deletes.xml"
        with contextlib.suppress(FileNotFoundError):
            keys = [unescape(key) for key in re.findall(r"<Key>([^<]*)</Key>", path.read_text(encoding="utf-8"))]
            path.unlink()
            return keys
        return []

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
            if f" {mark}\n" in text and text.endswith("\n"):  # what a client left unfinished may come behind it
                self._log_offset += len(text)
                return [parse(line) for line in text.splitlines() if not line.endswith(f" {mark}")]
            time.sleep(0.005)
        raise SinkUnavailable("nginx did not write its log")


def parse(line: str) -> Request:
    """A line of the log."""
    method, status, size, sha256, answered, connection, tls, received, path = line.split(" ", 8)
    return Request(
        method, int(status), int(size) if size.isdigit() else -1, sha256, int(answered), int(connection), tls,
        int(received), path,
    )


def main() -> None:
    """Run a sink until Ctrl-C."""
    try:
        keys = [f"p/f{number // 1000:03}/{number:06}.bin" for number in range(100_000)]
        with Sink({"one": b"x" * 1024}, listed={"listed": [Listed(key) for key in keys]}) as sink:
            print(f"at once: {sink.endpoint_url}")
            print(f"{sink.delay_ms} ms late: {sink.late_endpoint_url}")
            print(f"GET: /{OBJECTS_BUCKET}/one; LIST: 100 000 keys in listed; Ctrl-C stops it", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    except SinkUnavailable as error:
        raise SystemExit(f"bench: {error}") from None


if __name__ == "__main__":
    main()
