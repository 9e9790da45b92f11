"""Settings: every bad one is named, wherever it came from."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from s3engine.config import Config, TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError

BAD: list[tuple[str, Any]] = [
    ("workers", 0), ("workers", 257), ("workers", 1.5), ("workers", "2"), ("workers", True), ("concurrency", 0),
    ("concurrency", 1025), ("concurrency", None), ("max_parts_in_flight", 0),
    ("multipart_threshold_bytes", 5 * 1024**2 - 1),
    ("multipart_threshold_bytes", 5 * 1024**3 + 1), ("part_size_bytes", 1), ("copy_threshold_bytes", 1),
    ("copy_part_size_bytes", 6 * 1024**3), ("max_attempts", 0), ("max_attempts", 101), ("retry_base_s", -0.1),
    ("retry_base_s", float("nan")), ("retry_throttle_base_s", float("inf")), ("shutdown_grace_s", -1),
    ("max_buffered_reports", 0), ("addressing_style", "virtul"), ("addressing_style", None), ("payload_signing", "yes"),
    ("payload_signing", ""), ("lane", "fast"), ("start_method", "thread"), ("endpoint_url", "127.0.0.1:9000"),
    ("endpoint_url", 5), ("endpoint_url", "http://h:99999"), ("endpoint_url", "http://"),
    ("endpoint_url", "http://a b"), ("endpoint_url", "http://[::1"), ("region", "a b/../"),
    ("timeout_policy", 3), ("timeout_policy", int),
    ("region", None), ("profile", 1), ("ca_bundle", b"x"), ("transport", None),
    ("anonymous", "yes"), ("checksum", "crc16"),
    ("verify_tls", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values_are_named(name: str, value: Any) -> None:
    """A value out of bounds or of the wrong type raises ConfigError with the setting and the value, on one line."""
    with pytest.raises(ConfigError, match=name) as caught:
        Config(**{name: value})
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_are_valid() -> None:
    """A Config without arguments is good, frozen, and survives pickling."""
    config = Config()
    assert 1 <= config.workers <= 256
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(AttributeError):
        config.workers = 1  # type: ignore[misc]


def test_replace_checks_again() -> None:
    """A changed copy is checked like a new one."""
    config = Config(workers=2)
    assert config.replace(concurrency=7) == Config(workers=2, concurrency=7)
    with pytest.raises(ConfigError, match=r"argument: workers must be"):
        config.replace(workers=0)


def test_unknown_names_say_what_was_meant() -> None:
    """An unknown setting raises ConfigError with its name, its origin and names like it."""
    with pytest.raises(ConfigError, match=r"'concurency' in somewhere; did you mean concurrency\?"):
        Config.from_mapping({"concurency": 5}, "somewhere")
    with pytest.raises(ConfigError, match=r"'zzz'.*workers"):
        Config.from_mapping({"zzz": 5}, "somewhere")


def test_toml(tmp_path: Path) -> None:
    """A TOML file gives settings; keywords go before it."""
    path = tmp_path / "c.toml"
    path.write_text('concurrency = 7\nendpoint_url = "http://h:1"\nverify_tls = false\nretry_base_s = 1\n')
    config = Config.from_toml(str(path), workers=3, concurrency=9)
    assert config == Config(concurrency=9, endpoint_url="http://h:1", verify_tls=False, retry_base_s=1, workers=3)


@pytest.mark.parametrize(
    "text", [b"workers = ", b"workers = 0", b"wrkers = 1", b"[workers]\nx = 1", b'region = "\xff"']
)
def test_bad_toml(tmp_path: Path, text: bytes) -> None:
    """A file that is no TOML, not UTF-8, or has a bad setting raises ConfigError with its path."""
    path = tmp_path / "c.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=str(path)):
        Config.from_toml(str(path))


def test_missing_toml(tmp_path: Path) -> None:
    """A file that cannot be read is named with the reason."""
    with pytest.raises(ConfigError, match=r"none\.toml.*No such file"):
        Config.from_toml(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="directory"):
        Config.from_toml(str(tmp_path))


def test_environment() -> None:
    """S3ENGINE_ variables are converted to the setting's type; other variables are not looked at."""
    found = Config.from_environment(
        {"S3ENGINE_WORKERS": "3", "S3ENGINE_RETRY_BASE_S": "0.5", "S3ENGINE_VERIFY_TLS": "false",
         "S3ENGINE_ANONYMOUS": "1",
         "S3ENGINE_REGION": "r", "S3ENGINE_TIMEOUT_POLICY": "x", "S3ENGINE_TEST_CACHE": "x", "WORKERS": "9"}
    )  # fmt: skip
    assert found == {"workers": 3, "retry_base_s": 0.5, "verify_tls": False, "anonymous": True, "region": "r"}


@pytest.mark.parametrize(("name", "value"), [("WORKERS", "two"), ("RETRY_BASE_S", ""), ("VERIFY_TLS", "perhaps")])
def test_bad_environment(name: str, value: str) -> None:
    """A variable of the wrong type is named with its value."""
    with pytest.raises(ConfigError, match=f"S3ENGINE_{name}.*{value}"):
        Config.from_environment({f"S3ENGINE_{name}": value})


@pytest.mark.parametrize(
    "url",
    ["https://u:hunter2@h:1", "http://u:hun@ter2@h/x?t=hunter2", "http://h/?t=hunter2", "http://h#hunter2"],
)
def test_endpoint_with_a_secret(url: str) -> None:
    """A login or a query of an endpoint stands in no repr; settings are picklable as before."""
    config = Config(endpoint_url=url)
    shown = repr(config) + repr(TransportSettings(endpoint_url=url))
    assert "hunter2" not in shown
    assert "endpoint_url='http" in shown
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    "url",
    ["ftp://h/?t=hunter2", "u:hunter2@h", "http://u:hunter2?@h", "http://u:hunter2/://@h", "ftp://u://hunter2@h"],
)
def test_wrong_endpoint_with_a_secret(url: str) -> None:
    """Nor does it stand in the error for an endpoint that is none."""
    with pytest.raises(ConfigError, match="not shown") as caught:
        Config(endpoint_url=url)
    assert "hunter2" not in str(caught.value)


def test_no_secret_is_shown() -> None:
    """The settings of a transport can be printed and logged."""
    settings = TransportSettings(credentials=Credentials("AKIDEXAMPLE", "top-secret", "my-token"))
    for text in (repr(settings), str(settings)):
        assert "top-secret" not in text
        assert "my-token" not in text
