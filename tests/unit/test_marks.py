"""A listing goes on behind a mark: the page of the mark is fetched again, and nothing is left out whatever changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from s3engine.errors import InvalidRequest, ServerFault
from s3engine.listing import ObjectListing
from s3engine.spool import complete
from s3engine.targets import ListedTargets
from s3engine.transport import Capabilities, ListPage, ObjectInfo


class Store:
    """Pages of three; a token says how many keys the pages before it had."""

    def __init__(self, count: int) -> None:
        self.keys = [f"p/{n:02} ü\t" for n in range(count)]
        self.gone: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.forgetful = False

    def call(self, op: Any, bucket: str, function: Callable[[Any, Any], Any]) -> Any:
        return function(self, None)

    def list_objects_v2(
        self, bucket: str, prefix: str, *, delimiter: str, continuation_token: str, start_after: str, timeouts: Any
    ) -> ListPage:
        self.asked.append((continuation_token, start_after))
        if self.forgetful and continuation_token.startswith("old"):
            raise InvalidRequest("The continuation token provided is incorrect", status=400)
        first = int(continuation_token.removeprefix("old token ")) if continuation_token else 0
        rest = [key for key in self.keys[first:] if key not in self.gone and key > start_after]
        page = rest[:3]
        name = "" if self.forgetful else "old "
        token = f"{name}token {self.keys.index(page[-1]) + 1}".removeprefix("token ") if len(rest) > 3 else ""
        return ListPage([ObjectInfo(key, 1) for key in page], [], token)

    def listing(self) -> ObjectListing:
        return ObjectListing(None, self.call, "b", "p/")  # type: ignore[arg-type]  # no action is taken


def rest_after(store: Store, count: int) -> tuple[list[str], str]:
    """The first ``count`` keys, and the mark of the last of them."""
    pairs = list(store.listing().marked())
    before, mark = [info.key for info, _ in pairs[:count]], pairs[count - 1][1]
    store.asked.clear()
    return before, mark


@pytest.mark.parametrize("count", range(1, 11))
def test_goes_on_behind_each_mark(count: int) -> None:
    """From every place the rest comes, all of it, and one page is fetched twice at most."""
    store = Store(10)
    before, mark = rest_after(store, count)
    behind = [info.key for info, _ in store.listing().marked(mark)]
    assert before + behind == store.keys
    assert len(store.asked) <= (10 - count) // 3 + 2


def test_marks_of_the_rest_are_as_good() -> None:
    """Marks that were given behind a mark lead on from there."""
    store = Store(10)
    _, mark = rest_after(store, 4)
    info, again = list(store.listing().marked(mark))[2]
    assert info.key == store.keys[6]
    assert [one.key for one, _ in store.listing().marked(again)] == store.keys[7:]


def test_page_comes_whole_where_the_object_is_gone() -> None:
    """Objects that were deleted since move the page's content: it is given again rather than cut in the wrong place."""
    store = Store(10)
    _, mark = rest_after(store, 5)
    store.gone = set(store.keys[:5])
    assert [info.key for info, _ in store.listing().marked(mark)] == store.keys[5:]


def test_store_that_forgot_the_token_is_asked_for_the_keys_behind() -> None:
    """A refused token is replaced by the key it led to; marks from there on work, too."""
    store = Store(10)
    _, mark = rest_after(store, 5)
    store.forgetful = True
    pairs = list(store.listing().marked(mark))
    assert [info.key for info, _ in pairs] == store.keys[5:]
    assert store.asked[:2] == [("old token 3", ""), ("", store.keys[4])]
    assert [info.key for info, _ in store.listing().marked(pairs[0][1])] == store.keys[6:]


def test_filter_counts_for_marks() -> None:
    """Objects that a filter leaves out come on neither side of a mark."""
    store = Store(10)
    listing = store.listing().filter(lambda info: int(info.key[2:4]) % 2 == 0)
    pairs = list(listing.marked())
    assert [info.key for info, _ in listing.marked(pairs[1][1])] == [info.key for info, _ in pairs[2:]]


@pytest.mark.parametrize("needs", [complete, ListedTargets])
def test_last_page_must_say_that_it_is_the_last(needs: Callable[[ObjectListing], Any]) -> None:
    """Where the store does not say so a listing still gives its objects, and what needs all of them is refused."""

    class Able:
        capabilities = Capabilities()

    class Silent(Store):
        def list_objects_v2(self, *args: Any, **options: Any) -> ListPage:
            page = super().list_objects_v2(*args, **options)
            return page._replace(says_end=bool(page.next_token))

    for store, proven in ((Store(7), True), (Silent(7), False)):
        listing = ObjectListing(Able(), store.call, "b", "p/")  # type: ignore[arg-type]  # no action is taken
        assert len(list(listing)) == 7
        with contextlib.nullcontext() if proven else pytest.raises(ServerFault, match="no IsTruncated"):
            made = needs(listing)
            (made[0] if isinstance(made, tuple) else made).close()


def test_chunks_are_what_iterating_gives() -> None:
    """Page by page the same objects come, filtered too; a filter that raises takes nothing from what came before it."""
    store = Store(10)
    blocks = list(store.listing().chunks())
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    assert [info for block in blocks for info in block] == list(store.listing())
    some = store.listing().filter(lambda info: info.key[3] != "3" and int(info.key[2:4]) not in (3, 4, 5))
    assert [info for block in some.chunks() for info in block] == list(some)
    assert all(some.chunks())

    def strict(info: ObjectInfo) -> bool:
        if info.key == store.keys[4]:
            raise ValueError("not this one")
        return True

    found: list[str] = []

    def take() -> None:
        for block in store.listing().filter(strict).chunks():
            found.extend(info.key for info in block)

    with pytest.raises(ValueError, match="not this one"):
        take()
    assert found == store.keys[:4]
