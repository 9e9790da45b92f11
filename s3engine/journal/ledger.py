"""Large objects under way, in the journal. See :class:`s3engine.jobs.ledger.Ledger`."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from typing import Any

from s3engine import checksums
from s3engine.errors import JournalError
from s3engine.jobs.ledger import KeptPart, Recalled
from s3engine.journal.records import sql_text, text_from
from s3engine.journal.store import damaged
from s3engine.journal.writer import Then, Writer

__all__ = ["JournalLedger"]

_BEGIN = (
    "INSERT INTO transfers (id, object, kind, key, name, source, part_bytes, note) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_STORED = "UPDATE objects SET stored = 1, size = ?, made = ? WHERE id = ?"
_PART = "INSERT OR REPLACE INTO parts (transfer, number, etag, checksum, size, verified) VALUES (?, ?, ?, ?, ?, ?)"
_PIECE_BYTES = 1024 * 1024
_COLUMNS = "id, kind, name, source, part_bytes, note"


class JournalLedger:
    """``row_of`` gives the row of an object under way by its seq, 0 when it has none.

    ``tokens`` name this run and those before it that were killed.
    """

    def __init__(self, writer: Writer, row_of: Callable[[int], int], last_row: int, tokens: tuple[str, ...]) -> None:
        self._tokens = tokens
        self._writer = writer
        self._row_of = row_of
        self._last_row = last_row  # of earlier runs
        self.unrecorded = 0
        """What the store has, and the journal not yet."""
        self._stored: dict[int, tuple[int, str]] = {}
        self._recalled: dict[int, Recalled] = {}
        with writer.lock:
            connection = writer.connection
            self._next: int = 1 + connection.execute("SELECT coalesce(max(id), 0) FROM transfers").fetchone()[0]
            self._any = self._next > 1
            # What is left of objects that are done, or were begun anew: only the newest transfer of an object counts.
            connection.execute(
                "UPDATE transfers SET dropped = 1 WHERE object IN (SELECT id FROM objects WHERE state = 1) "
                "OR id NOT IN (SELECT max(id) FROM transfers GROUP BY object)"
            )

    # ---- the reader's thread

    def stored_before(self, seq: int, size_bytes: int, etag: str) -> None:
        """An object that is given out now was stored by an earlier run; its source may be gone."""
        self._stored[seq] = (size_bytes, etag)

    def load(self, seq: int, row_id: int) -> None:
        """Have at hand what an earlier run left of an object that is given out now."""
        if not self._any:
            return
        rows = self._read(f"SELECT {_COLUMNS} FROM transfers WHERE object = ? AND dropped = 0", (row_id,))
        for transfer, kind, name, source, part_bytes, note in rows:
            parts = {
                number: KeptPart(etag, checksum, size, verified)
                for number, etag, checksum, size, verified in self._read(
                    "SELECT number, etag, checksum, size, verified FROM parts WHERE transfer = ?", (transfer,)
                )
            }
            path = text_from(name)
            if kind == "download":  # after a power cut a range may be on record and not on the disk
                parts = {index: part for index, part in parts.items() if _is_there(path, index * part_bytes, part)}
            self._recalled[seq] = Recalled(transfer, path, source, part_bytes, note, parts)

    # ---- the supervisor's thread

    def again(self, seq: int) -> bool:
        """As the protocol says."""
        return 0 < self._row_of(seq) <= self._last_row

    def temporaries(self, seq: int) -> list[str]:
        """As the protocol says. Each run has names of its own: a worker of a killed one may still be writing."""
        row = self._row_of(seq)
        if row > self._last_row:
            return [f"{self._tokens[0]}-{row}"]
        recalled = self._recalled.get(seq)
        kept = os.path.basename(recalled.name) if recalled is not None else ""
        now, *before = [f"{token}-{row}" for token in self._tokens]
        return [now, *(name for name in before if f"-{name}." not in kept)]

    def stored(self, seq: int, size_bytes: int, etag: str, then: Then) -> None:
        """As the protocol says."""
        self._stored.pop(seq, None)
        self.unrecorded += 1

        def recorded(failure: JournalError | None) -> None:
            self.unrecorded -= 1
            then(failure)

        self._writer.execute(_STORED, (size_bytes, etag, self._row_of(seq)), recorded)

    def was_stored(self, seq: int) -> tuple[int, str] | None:
        """As the protocol says; known once."""
        return self._stored.pop(seq, None)

    def recall(self, seq: int) -> Recalled | None:
        """As the protocol says."""
        return self._recalled.pop(seq, None) if self._any else None

    def begin(self, seq: int, kind: str, key: str, name: str, source: str, part_bytes: int, note: str) -> int:
        """As the protocol says."""
        transfer = self._next
        self._next = transfer + 1
        values = (transfer, self._row_of(seq), kind, sql_text(key), sql_text(name), source, part_bytes, note)
        self._writer.execute(_BEGIN, values)
        return transfer

    def part(self, transfer: int, index: int, part: KeptPart) -> None:
        """As the protocol says."""
        self.unrecorded += 1
        self._writer.execute(_PART, (transfer, index, *part), self._recorded)

    def _recorded(self, failure: JournalError | None) -> None:
        self.unrecorded -= 1  # or never will be: then no more is begun

    def drop(self, transfer: int) -> None:
        """As the protocol says."""
        self._writer.execute("UPDATE transfers SET dropped = 1 WHERE id = ?", (transfer,))

    def forget(self, transfer: int) -> None:
        """As the protocol says."""
        self._writer.execute("DELETE FROM parts WHERE transfer = ?", (transfer,))
        self._writer.execute("DELETE FROM transfers WHERE id = ?", (transfer,))

    def orphans(self) -> list[tuple[int, str, str]]:
        """Number, key and upload id of uploads that are still to be aborted; temporary files are removed at once."""
        if not self._any:
            return []
        found: list[tuple[int, str, str]] = []
        for transfer, kind, key, name in self._read("SELECT id, kind, key, name FROM transfers WHERE dropped = 1", ()):
            if kind == "upload":
                found.append((transfer, text_from(key), text_from(name)))
            else:
                with contextlib.suppress(OSError):
                    os.unlink(text_from(name))
                self.forget(transfer)
        return found

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with self._writer.lock:
            try:
                return [] if self._writer.closed else self._writer.connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise damaged(self._writer.path, error) from None


def _is_there(path: str, offset: int, part: KeptPart) -> bool:
    """Whether the bytes in the file are those that came. Runs where the input is read: nothing else waits for it."""
    algorithm = part.checksum.partition(":")[0]
    if not checksums.available(algorithm):
        return False
    digest = checksums.new(algorithm)
    left = part.size_bytes
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            while left and (data := file.read(min(left, _PIECE_BYTES))):
                digest.update(data)
                left -= len(data)
    except OSError:
        return False
    return not left and checksums.text(algorithm, digest.digest()) == part.checksum
