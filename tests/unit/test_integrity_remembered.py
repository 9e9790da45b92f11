"""What was found out of endpoints lasts a week, and no file is ever a reason to fail."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from s3engine.integrity.abilities import AMAZON, Abilities, endpoint_name, is_loopback
from s3engine.integrity.remembered import Remembered, cache_path

FOUND = Abilities(verifies=("crc32",), trailers=True)


def test_next_run_knows(tmp_path: Path) -> None:
    """Another process finds what was put, until a week is over; a clock set back counts as nothing known."""
    path, now = tmp_path / "new" / "endpoints.json", 1000.0
    Remembered(lambda: str(path), lambda: now).put("a", FOUND)
    Remembered(lambda: str(path), lambda: now).put("b", AMAZON)
    for later_s, known in ((0.0, True), (6.9 * 86_400, True), (7.1 * 86_400, False), (-5.0, False)):
        other = Remembered(lambda: str(path), lambda later_s=later_s: now + later_s)  # type: ignore[misc]
        assert (other.get("a") == FOUND) is known
        assert (other.get("b") == AMAZON) is known
        assert other.get("c") is None
    assert [file.name for file in path.parent.iterdir()] == ["endpoints.json"]


def test_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    """File and folder are the owner's, whatever the umask; of an endpoint the file has the name, without a login."""
    path = tmp_path / "new" / "endpoints.json"
    before = os.umask(0)
    try:
        Remembered(lambda: str(path), lambda: 1000.0).put(endpoint_name("https://me:secret@host:1/p?token=t"), FOUND)
    finally:
        os.umask(before)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert json.loads(path.read_text())["endpoints"] == {"https://host:1/p": {"found_at_s": 1000.0, **FOUND.as_dict()}}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"endpoints": 5}', b'{"endpoints": {"a": 1}}',
        b'{"endpoints": {"a": {"found_at_s": 1000, "verifies": ["crc99"], "trailers": true, "full_object": true}}}',
        b'{"endpoints": {"a": {"found_at_s": "x", "verifies": [], "trailers": true, "full_object": true}}}',
        b'{"endpoints": {"a": {"found_at_s": 1000, "verifies": [], "trailers": 1, "full_object": true}}}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_garbage_is_nothing_known(tmp_path: Path, content: bytes) -> None:
    """A file of anything is read as empty, and written over."""
    path = tmp_path / "endpoints.json"
    path.write_bytes(content)
    remembered = Remembered(lambda: str(path), lambda: 1000.0)
    assert remembered.get("a") is None
    remembered.put("a", FOUND)
    assert json.loads(path.read_bytes())["endpoints"]["a"]["verifies"] == ["crc32"]


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """It is remembered in this process then."""
    (tmp_path / "file").write_bytes(b"")
    remembered = Remembered(lambda: str(tmp_path / "file" / "below" / "endpoints.json"))
    remembered.put("a", FOUND)
    assert remembered.get("a") == FOUND


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Below XDG_CACHE_HOME, else ~/.cache; a relative XDG_CACHE_HOME does not count."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path() == str(tmp_path / "s3engine" / "endpoints.json")
    monkeypatch.setenv("HOME", "/home/me")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_path() == "/home/me/.cache/s3engine/endpoints.json"


def test_one_foreign_entry_does_not_cost_the_others(tmp_path: Path) -> None:
    """Another version may write algorithms that this one does not know."""
    path = tmp_path / "endpoints.json"
    Remembered(lambda: str(path), lambda: 1000.0).put("a", FOUND)
    content = json.loads(path.read_bytes())
    content["endpoints"] = {"b": {**content["endpoints"]["a"], "verifies": ["crc99"]}, **content["endpoints"]}
    path.write_text(json.dumps(content))
    remembered = Remembered(lambda: str(path), lambda: 1000.0)
    assert (remembered.get("a"), remembered.get("b")) == (FOUND, None)


def test_what_is_not_for_the_file_stays_in_the_process(tmp_path: Path) -> None:
    """Also when something else is written to the file afterwards."""
    path = tmp_path / "endpoints.json"
    remembered = Remembered(lambda: str(path), lambda: 1000.0)
    remembered.put("here", FOUND, to_file=False)
    remembered.put("there", FOUND)
    other = Remembered(lambda: str(path), lambda: 1000.0)
    assert (remembered.get("here"), other.get("here"), other.get("there")) == (FOUND, None, FOUND)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:9000", True), ("http://127.0.0.2:1", True), ("http://[::1]:1", True),
        ("https://s3.localhost", True), ("https://storage.example.org", False), ("http://10.0.0.1:9000", False),
    ],
)  # fmt: skip
def test_loopback(url: str, local: bool) -> None:
    """What is found of a server on this machine is not for another day."""
    assert is_loopback(url) is local
