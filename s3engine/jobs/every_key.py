"""Which targets a move has given out: all of them, since of two sources with one target both would be deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3engine.distinct import SeenBefore

if TYPE_CHECKING:
    import sqlite3

__all__ = ["EveryKey"]

_RECENT = 65_536  # some 5 MB


class EveryKey:
    """Notices a key that comes twice, however many came in between. As exact as 64 bits of a hash are.

    The newest marks are in memory. The others stand in a temporary SQLite database that no name leads to, 15 bytes
    each; a filter of 32 MiB says of nearly every key that it is not there. Some 4 us a key. Raises sqlite3.Error when
    the disk is full.
    """

    __slots__ = ("_filter", "_most", "_older", "_recent")

    def __init__(self, recent: int = _RECENT) -> None:
        self._most = recent
        self._recent: set[int] = set()
        self._older: sqlite3.Connection | None = None
        self._filter: SeenBefore | None = None

    def seen(self, key: str) -> bool:
        """Whether ``key`` came before; remembers it."""
        mark = hash(key)
        recent = self._recent
        if mark in recent or (self._filter is not None and self._filter.has(mark) and self._is_older(mark)):
            return True
        recent.add(mark)
        if len(recent) >= self._most:
            self._put_away()
        return False

    def _is_older(self, mark: int) -> bool:
        assert self._older is not None
        return self._older.execute("SELECT 1 FROM marks WHERE mark = ?", (mark,)).fetchone() is not None

    def _put_away(self) -> None:
        import sqlite3  # lazy: most moves are smaller

        if self._older is None or self._filter is None:
            # One thread at a time: whoever begins the batch, then the supervisor's. The file goes with the connection.
            self._older = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._older.execute("PRAGMA journal_mode=OFF")
            self._older.execute("CREATE TABLE marks (mark INTEGER PRIMARY KEY)")
            self._filter = SeenBefore()
        marks = sorted(self._recent)
        self._older.execute("BEGIN")
        self._older.executemany("INSERT INTO marks VALUES (?)", ((mark,) for mark in marks))
        self._older.execute("COMMIT")
        for mark in marks:
            self._filter.add(mark)
        self._recent.clear()

    def close(self) -> None:
        """Give the disk back."""
        if self._older is not None:
            self._older.close()
            self._older = None

    def __del__(self) -> None:
        self.close()
