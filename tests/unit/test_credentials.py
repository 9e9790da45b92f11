"""Who signs: where credentials come from, in which order, and that they are never shown."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from s3engine.credentials import AwsSettings, Credentials, CredentialSource, load_settings
from s3engine.errors import ConfigError, NoCredentials


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own: no AWS variable, no file, no metadata service."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def _profiles(home: Path) -> None:
    (home / "credentials").write_text(
        "[default]\naws_access_key_id = D\naws_secret_access_key = d\n"
        "[testing]\naws_access_key_id = 123456789\naws_secret_access_key = 987654321\naws_session_token = tok\n"
    )


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the environment are enough, and fixed."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")
    source = CredentialSource()
    assert source.current() == Credentials("AK", "SK")
    assert source.fixed
    monkeypatch.setenv("AWS_SESSION_TOKEN", "T")
    assert source.current() == Credentials("AK", "SK", "T")


def test_environment_without_botocore() -> None:
    """Keys in the environment are found without the cost of importing botocore."""
    import subprocess

    code = (
        "import sys\nfrom s3engine.credentials import CredentialSource\n"
        "found = CredentialSource(environ={'AWS_ACCESS_KEY_ID': 'a', 'AWS_SECRET_ACCESS_KEY': 'b'}).current()\n"
        "print(found.access_key, [name for name in sys.modules if name.startswith('boto')])\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "a []\n"


def test_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile of the shared file, by name or by AWS_PROFILE; without a name the default one."""
    _profiles(home)
    testing = Credentials("123456789", "987654321", "tok")
    assert CredentialSource(profile="testing").current() == testing
    assert CredentialSource().current() == Credentials("D", "d")
    monkeypatch.setenv("AWS_PROFILE", "testing")
    assert CredentialSource().current() == testing


def test_order_of_profile_and_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that is named goes before the environment, the environment before AWS_PROFILE: botocore's rule."""
    _profiles(home)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")
    monkeypatch.setenv("AWS_PROFILE", "testing")
    assert CredentialSource().current() == Credentials("AK", "SK")
    assert CredentialSource(profile="testing").current() == Credentials("123456789", "987654321", "tok")


def test_anonymous(home: Path) -> None:
    """Who goes without credentials gets none, though there are some."""
    _profiles(home)
    source = CredentialSource(anonymous=True)
    assert source.current() is None
    assert source.fixed


def test_nothing_found() -> None:
    """Without any credentials the error names the ways to give them."""
    with pytest.raises(NoCredentials, match=r"AWS_ACCESS_KEY_ID.*profile.*--no-sign-request"):
        CredentialSource().current()


def test_unknown_profile(home: Path) -> None:
    """A profile that does not exist is named."""
    _profiles(home)
    with pytest.raises(ConfigError, match="nobody"):
        CredentialSource(profile="nobody").current()


def test_broken_files(home: Path) -> None:
    """A configuration file that cannot be parsed, and half a pair of keys, are one clear error each."""
    (home / "config").write_text("no section = 1\n")
    with pytest.raises(ConfigError, match="config"):
        CredentialSource().current()
    (home / "config").write_text("[profile half]\naws_access_key_id = A\n")
    with pytest.raises(NoCredentials, match="aws_secret_access_key"):
        CredentialSource(profile="half").current()


def _process(home: Path, program: str) -> CredentialSource:
    script = home / "give.py"
    script.write_text(program)
    (home / "config").write_text(f"[profile p]\ncredential_process = {sys.executable} {script}\n")
    return CredentialSource(profile="p")


def test_refresh(home: Path) -> None:
    """Temporary credentials that run out soon are fetched again; those that last are kept."""
    counter = home / "count"
    counter.write_text("0")
    answer = json.dumps({"Version": 1, "AccessKeyId": "AK", "SecretAccessKey": "SK", "SessionToken": "T"})
    source = _process(
        home,
        "import datetime, json\n"
        f"path = {str(counter)!r}\n"
        "n = int(open(path).read()) + 1\nopen(path, 'w').write(str(n))\n"
        "now = datetime.datetime.now(datetime.timezone.utc)\n"
        "end = now + datetime.timedelta(seconds=300 if n == 1 else 7200)\n"
        f"answer = json.loads({answer!r})\n"
        "print(json.dumps(answer | {'SessionToken': f'T{n}', 'Expiration': end.isoformat()}))\n",
    )
    assert not source.fixed
    # The first answer has 5 minutes left: less than botocore's bound, so it is asked for again at once.
    assert source.current() == Credentials("AK", "SK", "T2")
    assert source.current() == Credentials("AK", "SK", "T2")
    assert counter.read_text() == "2"


@pytest.mark.parametrize("program", ["print('no json')", "raise SystemExit('broken')", "print('{\"Version\": 9}')"])
def test_a_process_that_gives_none(home: Path, program: str) -> None:
    """A credential_process that fails or talks nonsense is one NoCredentials, not a traceback."""
    with pytest.raises(NoCredentials):
        _process(home, program).current()


def test_a_role_that_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STS that refuses the role is one NoCredentials that says so, not a traceback."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        (home / "credentials").write_text("[base]\naws_access_key_id = A\naws_secret_access_key = S\n")
        (home / "config").write_text("[profile p]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
        with pytest.raises(NoCredentials, match="AccessDenied"):
            CredentialSource(profile="p").current()
        server.shutdown()


def test_a_process_that_is_not_there(home: Path) -> None:
    """A credential_process that cannot be started is NoCredentials too."""
    (home / "config").write_text("[profile p]\ncredential_process = /nonexistent/program\n")
    with pytest.raises(NoCredentials, match="nonexistent"):
        CredentialSource(profile="p").current()


def test_out_of_date_credentials(home: Path) -> None:
    """Fresh credentials that are out of date already are NoCredentials."""
    answer = {"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "S", "Expiration": "2020-01-01T00:00:00Z"}
    with pytest.raises(NoCredentials, match="expired"):
        _process(home, f"print({json.dumps(answer)!r})").current()


def test_secrets_are_never_shown(home: Path) -> None:
    """No secret is in repr or str of credentials, nor in any error made along the way, pickled or not."""
    credentials = Credentials("AKIDEXAMPLE", "top-secret", "my-token")
    assert repr(credentials) == str(credentials) == f"{credentials}"
    assert "secret, " not in repr(credentials)
    (home / "credentials").write_text("[x]\naws_secret_access_key = top-secret\n")
    with pytest.raises(ConfigError) as caught:
        CredentialSource(profile="y").current()
    for text in (repr(credentials), str(caught.value), repr(caught.value), repr(pickle.dumps(caught.value))):
        assert "top-secret" not in text
        assert "my-token" not in text


@pytest.mark.parametrize("value", ["top-secret\n", "top-secret\r\nx: y", "\udc80top-secret"])
@pytest.mark.parametrize("field", ["access_key", "secret_key", "token"])
def test_values_that_no_header_can_carry(field: str, value: str) -> None:
    """A line break or a surrogate in a key or token raises ConfigError that names it and does not show it."""
    with pytest.raises(ConfigError, match=r"the (access key|secret key|session token) must not") as caught:
        Credentials(**{"access_key": "a", "secret_key": "b", field: value})
    assert "top-secret" not in str(caught.value)


def test_settings_from_variables() -> None:
    """Region, endpoint and CA bundle from variables; the S3 one before the general one."""
    environ = {"AWS_DEFAULT_REGION": "r1", "AWS_ENDPOINT_URL": "http://a", "AWS_CA_BUNDLE": "/ca"}
    assert load_settings(CredentialSource(), environ=environ) == AwsSettings("r1", "http://a", "/ca", "")
    environ |= {"AWS_REGION": "r2", "AWS_ENDPOINT_URL_S3": "http://b"}
    assert load_settings(CredentialSource(), environ=environ) == AwsSettings("r2", "http://b", "/ca", "")
    environ |= {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    assert load_settings(CredentialSource(), environ=environ).endpoint_url == ""


def test_settings_from_a_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile gives what variables do not: region, CA, addressing, and the endpoint of its services section."""
    (home / "config").write_text(
        "[profile p]\nregion = eu-west-1\nca_bundle = /ca\nendpoint_url = http://all\nservices = mine\n"
        "s3 =\n  addressing_style = path\n"
        "[services mine]\ns3 =\n  endpoint_url = http://s3\n"
        "[profile q]\nendpoint_url = http://all\n"
    )
    found = load_settings(CredentialSource(profile="p"), profile="p")
    assert found == AwsSettings("eu-west-1", "http://s3", "/ca", "path")
    assert load_settings(CredentialSource(profile="q"), profile="q").endpoint_url == "http://all"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://variable")
    monkeypatch.setenv("AWS_REGION", "r")
    assert load_settings(CredentialSource(profile="p"), profile="p") == AwsSettings(
        "r", "http://variable", "/ca", "path"
    )
