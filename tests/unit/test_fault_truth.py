"""The table of faults finds what is lost or wrong, whatever the engine says: each operation with lies of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from s3engine.errors import S3EngineError, ServerFault
from tests.faults.operations import BY_NAME, LARGE_BYTES, Cell, Delete, Operation
from tests.faults.truth import Truth
from tests.helpers import S3Probe

NAMES = ["o-000", "o-001", "victim-000"]
FAILED = ServerFault("no", status=500)


class Objects:
    """A store in memory, asked as an independent client asks."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], bytes] = {}

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Write."""
        self.held[bucket, key] = body

    def get(self, bucket: str, key: str) -> bytes | None:
        """Read; None: not there."""
        return self.held.get((bucket, key))

    def head(self, bucket: str, key: str) -> dict[str, str] | None:
        """Whether it is there."""
        return {} if (bucket, key) in self.held else None

    def delete(self, bucket: str, key: str) -> None:
        """Delete."""
        self.held.pop((bucket, key), None)


class Scene:
    """An operation before it runs; then what an engine did, which is what the tests make of it."""

    def __init__(self, operation: str, folder: Path) -> None:
        self.operation: Operation = BY_NAME[operation]
        self.store = Objects()
        folder.mkdir(exist_ok=True)
        self.cell = Cell(cast("S3Probe", self.store), "faults", "victims", "cell", folder, NAMES)
        self.operation.prepare(self.cell)

    def do(self, name: str) -> None:
        """Do it right."""
        cell, body = self.cell, self.operation.body(name)
        match self.operation.name:
            case "upload" | "multipart upload":
                self.put(name, body)
            case "download" | "ranged download":
                (cell.folder / name).write_bytes(body)
            case "copy":
                self.put(name, body, "b")
            case "move":
                self.put(name, body, "b")
                self.gone(name)
            case "delete":
                self.gone(name)

    def put(self, name: str, body: bytes, place: str = "a") -> None:
        """Have an object in the store."""
        self.store.put("faults", self.cell.key(name, place), body)

    def gone(self, name: str) -> None:
        """Have it no more."""
        for bucket in ("faults", "victims"):
            self.store.delete(bucket, self.cell.key(name))

    def found(self, **outcomes: S3EngineError | None) -> Truth:
        """What is found when all is said to be done, but for ``outcomes`` of o_000, o_001."""
        said = {name: outcomes.get(name.replace("-", "_")) for name in NAMES}
        return self.operation.verify(self.cell, said)


def scene(operation: str, folder: Path, *, but: str = "") -> Scene:
    """All is done right, but for one object that is not touched."""
    made = Scene(operation, folder)
    for name in NAMES:
        if name != but:
            made.do(name)
    return made


@pytest.mark.parametrize("operation", BY_NAME)
def test_all_is_well(operation: str, tmp_path: Path) -> None:
    """Nothing is found where everything was done, or failed without a trace."""
    assert scene(operation, tmp_path).found() == Truth()
    if operation != "list":
        assert scene(operation, tmp_path / "b", but="o-000").found(o_000=FAILED) == Truth()


@pytest.mark.parametrize("operation", ["upload", "multipart upload", "download", "ranged download", "copy", "move"])
def test_what_is_not_there_is_lost(operation: str, tmp_path: Path) -> None:
    """An object that is said to be done and is nowhere."""
    assert "o-000" in scene(operation, tmp_path, but="o-000").found().lost


SPOILED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("one bit", lambda body: body[:7] + bytes([body[7] ^ 1]) + body[8:]),
    ("a byte too few", lambda body: body[:-1]),
    ("a byte too many", lambda body: body + b"x"),
    ("nothing in it", lambda _: b""),
]


@pytest.mark.parametrize(("_what", "spoil"), SPOILED, ids=[what for what, _ in SPOILED])
@pytest.mark.parametrize("operation", ["upload", "multipart upload", "download", "ranged download", "copy", "move"])
def test_other_bytes_are_wrong(operation: str, _what: str, spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Whether the object is said to be done or to have failed: what is there must be whole."""
    made = scene(operation, tmp_path)
    body = spoil(made.operation.body("o-000"))
    if "download" in operation:
        (made.cell.folder / "o-000").write_bytes(body)
    else:
        made.put("o-000", body, "b" if operation in ("copy", "move") else "a")
    lost = ["source of o-000"] if operation == "move" else []
    assert made.found() == Truth(lost=lost, wrong=["o-000"])
    assert made.found(o_000=FAILED) == Truth(lost=lost, wrong=["o-000, which failed, and is there with other bytes"])


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_sources(operation: str, tmp_path: Path) -> None:
    """A source that is gone without its copy is lost, also when that failed; one that a move left is told."""
    made = scene(operation, tmp_path, but="o-000")
    made.gone("o-000")
    assert made.found(o_000=FAILED).lost == ["source of o-000"]
    made = scene(operation, tmp_path)
    made.put("o-001", made.operation.body("o-001"))
    assert made.found().wrong == (["o-001 is still where it was"] if operation == "move" else [])


def test_deletes(tmp_path: Path) -> None:
    """What is said to be deleted and is there; what nobody asked to delete and is not, or is not what it was."""
    assert scene("delete", tmp_path, but="o-000").found().wrong == ["o-000 is still there"]
    made = scene("delete", tmp_path)
    made.gone(Delete.BYSTANDERS[0])
    made.put(Delete.BYSTANDERS[1], b"other")
    first, second, *_ = Delete.BYSTANDERS
    assert made.found().lost == [
        f"{first} of faults, which was not to be deleted", f"{second} of faults, which was not to be deleted",
        f"{first} of victims, which was not to be deleted",
    ]  # fmt: skip


def test_lists(tmp_path: Path) -> None:
    """A name that was listed and is none."""
    made = scene("list", tmp_path)
    assert made.operation.verify(made.cell, {**dict.fromkeys(NAMES), "o-999": None}).wrong == ["o-999"]


def test_bodies_differ() -> None:
    """The bytes of two objects are not the same, so that one in place of another is found."""
    upload, large = BY_NAME["upload"], BY_NAME["multipart upload"]
    assert upload.body("o-000") != upload.body("o-001")
    assert large.body("o-000") != large.body("o-001")
    assert len(large.body("o-000")) == LARGE_BYTES
