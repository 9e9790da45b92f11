"""Which checksum an upload carries follows from the wish, the store, the transport and the signature."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from s3engine.config import Config, TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import AccessDenied, ConfigError
from s3engine.integrity.abilities import AMAZON, Abilities, endpoint_name, is_amazon
from s3engine.integrity.choice import check_setting, choose
from s3engine.integrity.finding import UploadChecks
from s3engine.integrity.remembered import Remembered
from s3engine.transport import Capabilities

RAW = Capabilities(trailers=True)
PLAIN = Capabilities()
NO_CHECKSUMS = Capabilities(checksums=False, reasons=(("checksums", "it has none"),))
GOOD = Abilities(verifies=("md5", "crc32", "sha256"), trailers=True, full_object=True)
PARTIAL = Abilities(verifies=("md5", "crc32", "sha256"))
OLD = Abilities(verifies=("md5",))


@pytest.mark.parametrize(
    ("setting", "abilities", "able", "signed", "whole", "parts", "trailers", "full_object"),
    [
        ("auto", AMAZON, RAW, False, "crc32", "crc32", True, True),
        ("auto", AMAZON, PLAIN, False, "crc32", "crc32", False, True),
        ("auto", AMAZON, RAW, True, "sha256", "crc32", False, True),  # signed bodies have no trailer
        ("auto", GOOD, RAW, True, "sha256", "crc32", False, True),
        ("auto", PARTIAL, RAW, True, "sha256", "sha256", False, False),
        ("auto", PARTIAL, RAW, False, "crc32", "crc32", False, False),
        ("auto", OLD, RAW, True, "md5", "md5", False, False),
        ("auto", Abilities(), RAW, False, "md5", "md5", False, False),
        ("auto", Abilities(verifies=("crc32c",)), RAW, False, "crc32c", "crc32c", False, False),
        ("crc32", Abilities(), RAW, True, "crc32", "crc32", False, False),
        ("sha256", GOOD, RAW, False, "sha256", "sha256", True, False),  # nobody can combine SHA-256
        ("crc64nvme", Abilities(), RAW, False, "crc64nvme", "crc64nvme", False, True),  # it has no other form
        ("md5", GOOD, RAW, False, "md5", "md5", True, False),
        ("none", GOOD, RAW, True, "", "", False, False),
        ("auto", GOOD, NO_CHECKSUMS, True, "md5", "md5", False, False),
    ],
)
def test_choice(
    setting: str, abilities: Abilities, able: Capabilities, signed: bool, whole: str, parts: str, trailers: bool,
    full_object: bool,
) -> None:  # fmt: skip
    """The table: what is taken for whole objects and for parts, behind the body or before it."""
    found = choose(setting, abilities, able, signed=signed, available=lambda _: True)
    assert (found.whole, found.parts, found.trailers, found.full_object) == (whole, parts, trailers, full_object)
    assert found.signed is signed
    assert found.sent is (able.checksums or setting == "none")


def test_what_cannot_be_computed_is_not_chosen() -> None:
    """Without awscrt its algorithms are passed over."""
    abilities = Abilities(verifies=("crc64nvme", "sha256"))
    assert choose("auto", abilities, PLAIN, signed=False, available=lambda name: name == "sha256").whole == "sha256"


def test_wishes_that_cannot_be_fulfilled_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An algorithm without its package, or with a transport that sends none, raises ConfigError with the way out."""
    monkeypatch.setattr("s3engine.integrity.choice._available", lambda name: name == "md5")
    with pytest.raises(ConfigError, match=r"crc32c.*pip install 's3engine\[crt\]'"):
        check_setting("crc32c", PLAIN, "raw")
    with pytest.raises(ConfigError, match=r"'obstore' cannot send one: it has none.*auto"):
        check_setting("md5", NO_CHECKSUMS, "obstore")
    for setting in ("auto", "none"):
        check_setting(setting, NO_CHECKSUMS, "obstore")
    with pytest.raises(ConfigError, match="checksum must be one of auto, crc64nvme"):
        Config(checksum="crc16")


def test_amazon_is_known_by_its_name() -> None:
    """No endpoint, or one of amazonaws.com; not a host that only looks like it."""
    assert is_amazon("")
    assert is_amazon("https://s3.eu-central-1.amazonaws.com")
    assert not is_amazon("https://amazonaws.com.example.org")
    assert not is_amazon("https://example.org/amazonaws.com")
    assert endpoint_name("https://user:secret@example.org:9000/x") == "https://example.org:9000/x"


class Store:
    """Stands for the engine's calls; counts them and answers with an error."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, op: object, bucket: str, function: Callable[..., object]) -> object:
        self.calls += 1
        raise AccessDenied("no")


def checks(setting: str, endpoint_url: str, call: Store, signing: str = "auto") -> UploadChecks:
    settings = TransportSettings(
        endpoint_url=endpoint_url, credentials=Credentials("A", "S"), payload_signing=signing
    )
    return UploadChecks(setting, settings, "raw", RAW, call, remembered=Remembered(lambda: ""))


def test_a_store_that_cannot_be_asked_gets_content_md5() -> None:
    """AccessDenied to the probe: MD5, and the store is not asked again by this engine."""
    call = Store()
    asked = checks("auto", "http://h:9", call)
    assert asked.known() is None
    assert asked.find("b", "k").whole == "md5"
    assert asked.find("b", "k") == asked.known() == asked.cautious()
    assert call.calls == 1


@pytest.mark.parametrize(("setting", "url"), [("crc32", "http://h:9"), ("none", "http://h:9"), ("auto", "")])
def test_nobody_asks_without_need(setting: str, url: str) -> None:
    """A named algorithm, none, and Amazon: no request."""
    call = Store()
    assert checks(setting, url, call).find("b", "k") == checks(setting, url, call).known()
    assert not call.calls


def test_always_signed_means_signed() -> None:
    """With payload_signing="always" nothing goes in a form that leaves the body out of the signature."""
    found = checks("auto", "", Store(), signing="always").known()
    assert found is not None
    assert found.signed
    assert not found.trailers
