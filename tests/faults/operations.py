"""The operations of the table: what each starts from, how the engine does it, and what must then be true.

The truth is what an independent client finds at the server, past the proxy and past the engine. A batch is run for
healthy objects and for victims; the names of victims hold "victim", and so do the heads of requests that concern them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from s3engine import BytesSource, Engine, FileSource
from s3engine.batch import Batch
from s3engine.errors import S3EngineError
from tests.faults.truth import Truth
from tests.helpers import S3Probe

SMALL_BYTES = 3000
LARGE_BYTES = 5 * 1024 * 1024 + 70_000
Outcome = tuple[str, S3EngineError | None]
"""Name of an object, and what the engine says of it: done (None), or failed with an error."""


@functools.lru_cache(maxsize=8)  # the large ones of a cell, which others have as well
def _large_body(key: str, size_bytes: int) -> bytes:
    return hashlib.shake_256(key.encode()).digest(size_bytes)


def body_of(key: str, size_bytes: int) -> bytes:
    """Different for every key, the same in every process, and with no period that hides a shift."""
    if size_bytes >= LARGE_BYTES:
        return _large_body(key, size_bytes)
    return hashlib.shake_256(key.encode()).digest(size_bytes)


@dataclass
class Cell:
    """Where one operation takes place: below a prefix of two buckets, and in a folder of its own."""

    probe: S3Probe
    bucket: str
    victims_bucket: str
    """Victims of a delete, which are told from others by their bucket: their keys are in the body."""
    prefix: str
    folder: Path
    names: list[str]
    batches: list[Batch] = field(default_factory=list)
    """Those that run or ran, so that somebody else can cancel them."""
    after: ExitStack = field(default_factory=ExitStack)
    """What is to be undone when the truth is known."""
    findings: Truth = field(default_factory=Truth)
    """What was found wrong while it ran."""

    def key(self, name: str, place: str = "a") -> str:
        """The key of an object; copies are at another ``place``."""
        return f"{self.prefix}/{place}/{name}"

    def outcomes(self, *batches: Batch) -> Iterator[Outcome]:
        """The reports of batches that run at the same time."""
        self.batches.extend(batches)
        for batch in batches:
            for report in batch:
                yield report.key.rpartition("/")[2], report.error


class Operation:
    """One row of the table."""

    name = ""
    size_bytes = SMALL_BYTES

    def prepare(self, cell: Cell) -> None:
        """Put in place what it starts from."""
        self.store(cell)

    def run(self, engine: Engine, cell: Cell) -> Iterator[Outcome]:
        """Do it; gives what the engine says of each object, as it comes."""
        raise NotImplementedError

    def verify(self, cell: Cell, outcomes: dict[str, S3EngineError | None]) -> Truth:
        """Compare with the truth."""
        raise NotImplementedError

    def body(self, name: str) -> bytes:
        """What an object of this operation holds."""
        return body_of(name, self.size_bytes)

    def store(self, cell: Cell) -> None:
        """Put all objects, without the engine."""
        for name in cell.names:
            cell.probe.put(cell.bucket, cell.key(name), self.body(name))

    def keys(self, cell: Cell) -> Iterable[str]:
        """All keys."""
        return [cell.key(name) for name in cell.names]


class Upload(Operation):
    """Small objects out of memory, in one PUT each."""

    name = "upload"

    def prepare(self, cell: Cell) -> None:
        """Nothing: the store is empty."""

    def run(self, engine: Engine, cell: Cell) -> Iterator[Outcome]:
        """One batch."""
        yield from cell.outcomes(
            engine.upload(cell.bucket, [BytesSource(self.body(name), cell.key(name)) for name in cell.names])
        )

    def verify(self, cell: Cell, outcomes: dict[str, S3EngineError | None]) -> Truth:
        """Every object that is done is in the store, byte for byte; one that failed is not, or is whole."""
        truth = Truth()
        for name, error in outcomes.items():
            found = cell.probe.get(cell.bucket, cell.key(name))
            truth.compare(name, found, self.body(name), done=error is None)
        return truth


class MultipartUpload(Upload):
    """Files, in two parts each."""

    name = "multipart upload"
    size_bytes = LARGE_BYTES

    def prepare(self, cell: Cell) -> None:
        """The files."""
        cell.folder.mkdir(parents=True, exist_ok=True)
        for name in cell.names:
            (cell.folder / name).write_bytes(self.body(name))

    def run(self, engine: Engine, cell: Cell) -> Iterator[Outcome]:
        """One batch."""
        sources = [FileSource(str(cell.folder / name), cell.key(name)) for name in cell.names]
        yield from cell.outcomes(engine.upload(cell.bucket, sources))


class Download(Operation):
    """Small objects, in one GET each."""

    name = "download"

    def run(self, engine: Engine, cell: Cell) -> Iterator[Outcome]:
        """One batch; a file has the name of its object."""
        batch = engine.download(
            cell.bucket, self.keys(cell), cell.folder, path=lambda info: info.key.rpartition("/")[2]
        )
        yield from cell.outcomes(batch)

    def verify(self, cell: Cell, outcomes: dict[str, S3EngineError | None]) -> Truth:
        """Every object that is done is a file, byte for byte; no file has less or other bytes, whatever was said."""
        truth = Truth()
        for name, error in outcomes.items():
            path = cell.folder / name
            found = path.read_bytes() if path.exists() else None
            truth.compare(name, found, self.body(name), done=error is None)
        return truth


class RangedDownload(Download):
    """Large objects, in ranges."""

    name = "ranged download"
    size_bytes = LARGE_BYTES


class List(Operation):
    """Listings of several prefixes; an object is done when it was listed with its size."""

    name = "list"
    size_bytes = 100
    _GROUPS = 8

    def _place(self, name: str) -> str:
        return "victims" if "victim" in name else f"group{int(name.rpartition('-')[2]) % self._GROUPS}"

    def prepare(self, cell: Cell) -> None:
        """Objects below several prefixes."""
        for name in cell.names:
            cell.probe.put(cell.bucket, cell.key(name, self._place(name)), self.body(name))

    def run(self, engine: Engine, cell: Cell) -> Iterator[Outcome]:
        """List each prefix; when that fails, all below it have failed."""
        for place in sorted({self._place(name) for name in cell.names}):
            mine = [name for name in cell.names if self._place(name) == place]
            try:
                found = [(info.key, info.size_bytes) for info in engine.list(cell.bucket, cell.key("", place))]
            except S3EngineError as error:
                yield from ((name, error) for name in mine)
            else:
                for key, size_bytes in found:
                    name = key.rpartition("/")[2]
                    good = key == cell.key(name, place) and size_bytes == self.size_bytes
                    yield name if good else f"{key!r} of {size_bytes} bytes", None

    def verify(self, cell: Cell, outcomes: dict[str, S3EngineError | None]) -> Truth:
        """Nothing is listed that is not there: what is missing was counted with the reports."""
        return Truth(wrong=[name for name in outcomes if name not in cell.names])


class Copy(Operation):
    """Copies inside one bucket; the first object is large enough to go by UploadPartCopy."""

    name = "copy"
    move = False

    def body(self, name: str) -> bytes:
        """The first object is large."""
        return body_of(name, LARGE_BYTES if name.endswith("-000") else SMALL_BYTES)

    def run(self, engine: Engine, cell: Cell) -> Iterator[Outcome]:
        """One batch."""
        batch = engine.copy(
            cell.bucket, self.keys(cell), cell.bucket, move=self.move,
            key=lambda info: cell.key(info.key.rpartition("/")[2], "b"),
        )  # fmt: skip
        yield from cell.outcomes(batch)

    def verify(self, cell: Cell, outcomes: dict[str, S3EngineError | None]) -> Truth:
        """A copy that is done is there; a source is, unless it was moved, and then its copy has its bytes.

        A copy that failed is not there, or is whole.
        """
        truth = Truth()
        for name, error in outcomes.items():
            source = cell.probe.get(cell.bucket, cell.key(name))
            copy = cell.probe.get(cell.bucket, cell.key(name, "b"))
            truth.compare(name, copy, self.body(name), done=error is None)
            moved = self.move and copy == self.body(name)
            if source is None and not moved:
                truth.lost.append(f"source of {name}")
            if source is not None and self.move and error is None:
                truth.wrong.append(f"{name} is still where it was")
        return truth


class Move(Copy):
    """A copy, then the delete of the source."""

    name = "move"
    move = True


class Delete(Operation):
    """DeleteObjects in several requests."""

    name = "delete"
    size_bytes = 10
    REQUESTS = 5
    BYSTANDERS = ("o-00", "o-0000", "victim-00", "victim-0000")
    """In each bucket, and to be deleted by nobody: their keys begin like those of others, or are the beginning."""

    def _bucket(self, cell: Cell, name: str) -> str:
        return cell.victims_bucket if "victim" in name else cell.bucket

    def prepare(self, cell: Cell) -> None:
        """Put all objects, and bystanders."""
        for name in cell.names:
            cell.probe.put(self._bucket(cell, name), cell.key(name), self.body(name))
        for bucket, name in self._bystanders(cell):
            cell.probe.put(bucket, cell.key(name), self.body(name))

    def _bystanders(self, cell: Cell) -> list[tuple[str, str]]:
        return [(bucket, name) for bucket in (cell.bucket, cell.victims_bucket) for name in self.BYSTANDERS]

    def run(self, engine: Engine, cell: Cell) -> Iterator[Outcome]:
        """Several batches at once, one request each."""
        groups: dict[tuple[str, int], list[str]] = {}
        for number, name in enumerate(cell.names):
            groups.setdefault((self._bucket(cell, name), number % self.REQUESTS), []).append(cell.key(name))
        yield from cell.outcomes(*[engine.delete(bucket, keys) for (bucket, _), keys in groups.items()])

    def verify(self, cell: Cell, outcomes: dict[str, S3EngineError | None]) -> Truth:
        """What is done is gone; what nobody asked to delete is still there."""
        truth = Truth()
        for name, error in outcomes.items():
            if error is None and cell.probe.head(self._bucket(cell, name), cell.key(name)) is not None:
                truth.wrong.append(f"{name} is still there")
        for bucket, name in self._bystanders(cell):
            if cell.probe.get(bucket, cell.key(name)) != self.body(name):
                truth.lost.append(f"{name} of {bucket}, which was not to be deleted")
        return truth


OPERATIONS: tuple[Operation, ...] = (
    Upload(), MultipartUpload(), Download(), RangedDownload(), List(), Copy(), Move(), Delete(),
)  # fmt: skip
BY_NAME = {operation.name: operation for operation in OPERATIONS}
