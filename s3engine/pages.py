"""Pages of listings from a store that may never come to an end: noticed in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

from s3engine.errors import ServerFault

__all__ = ["PageWatch"]

_BARREN = 1000  # pages in a row that bring nothing new; an empty page or two is no fault
_GENERATION = 131_072  # keys that are remembered of pages that are not in order


class PageWatch:
    """Looks at each page of one listing, and raises ServerFault when the store only pretends that there is more.

    That is a token that was given before (cycles of any length are found after three rounds at most, by Brent's
    method), and ``barren`` pages in a row that bring nothing new. A page brings something new when a name on it comes
    after all names before it, or, since not every store sorts, is none of the last 131 072 at least that stood on pages
    out of order. Endless pages of ever new names cannot be told from a large bucket.
    """

    __slots__ = ("_barren", "_barren_limit", "_greatest", "_kept", "_older", "_power", "_recent", "_steps", "_where")

    def __init__(self, where: str, *, barren: int = _BARREN) -> None:
        self._where = where
        self._barren_limit = barren
        self._kept = ""
        self._power = 1
        self._steps = 0
        self._barren = 0
        self._greatest = ""
        self._recent: set[int] = set()
        self._older: set[int] = set()

    def page(self, token: str, names: Sequence[str]) -> None:
        """A page with these names came, and ``token`` leads to the next; call it for every page but the last."""
        if token == self._kept:
            raise ServerFault(f"{self._where}: the store gives the same pages again and again")
        self._steps += 1
        if self._steps == self._power:
            self._kept = token
            self._power *= 2
            self._steps = 0
        if self._is_new(names):
            self._barren = 0
            return
        self._barren += 1
        if self._barren >= self._barren_limit:
            raise ServerFault(
                f"{self._where}: {self._barren} pages in a row brought nothing new; the store's listing has no end"
            )

    def _is_new(self, names: Sequence[str]) -> bool:
        if not names:
            return False
        # In order the last is the greatest. Where it is not, this asks for less than the greatest, and each page that
        # is new by it still raises it: of names that are finite, finitely many pages are.
        greatest = names[-1]
        if greatest > self._greatest:
            self._greatest = greatest
            return True
        greatest = max(names)
        if greatest > self._greatest:
            self._greatest = greatest
            return True
        new = False
        for name in names:
            mark = hash(name)
            if mark not in self._recent and mark not in self._older:
                new = True
                self._recent.add(mark)
                if len(self._recent) >= _GENERATION:
                    self._older = self._recent
                    self._recent = set()
        return new
