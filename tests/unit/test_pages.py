"""A listing that never ends is noticed, in bounded memory; one that ends is never taken for such."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable

import pytest

from s3engine.errors import ServerFault
from s3engine.pages import PageWatch

ROUNDS = 20_000


def _until_refused(pages: Iterable[tuple[str, list[str]]], watch: PageWatch) -> int | None:
    """Number of the page that ended the listing; None when none did."""
    for number, (token, names) in enumerate(pages, 1):
        try:
            watch.page(token, names)
        except ServerFault:
            return number
    return None


@pytest.mark.parametrize("length", [1, 2, 3, 7, 100])
def test_tokens_that_go_round(length: int) -> None:
    """A cycle of tokens is found within a few rounds, whatever its length and what stands on the pages."""
    names = iter(range(10**9))
    pages = ((f"t{number % length}", [f"{next(names):09}"]) for number in range(ROUNDS))
    refused = _until_refused(pages, PageWatch("listing s3://b/"))
    assert refused is not None
    assert refused <= 3 * length + 1


def test_new_tokens_with_empty_pages() -> None:
    """Ever new tokens with nothing on the pages: 1000 of them, and it is over."""
    assert _until_refused(((str(n), []) for n in range(ROUNDS)), PageWatch("listing s3://b/")) == 1000


def test_new_tokens_with_the_same_names() -> None:
    """Ever new tokens with the same names over and over, in any order: over after 1000 such pages."""
    names = [f"k{n}" for n in range(10)]
    rng = random.Random(1)
    pages = ((str(n), rng.sample(names, 5)) for n in range(ROUNDS))
    refused = _until_refused(pages, PageWatch("listing s3://b/"))
    assert refused is not None
    assert refused <= 1020


def test_a_few_empty_pages_are_no_fault() -> None:
    """Empty pages between others, 999 in a row, do not end a listing."""
    pages = ((f"t{number}", [f"k{number:06}"] if number % 1000 == 0 else []) for number in range(5000))
    assert _until_refused(pages, PageWatch("listing s3://b/")) is None


@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled"])
def test_listings_in_any_order_go_on(order: str) -> None:
    """A store that does not sort, or sorts by another rule, is listed to its end."""
    names = [f"{number:07}" for number in range(200_000)]
    if order == "reversed":
        names.reverse()
    elif order == "shuffled":
        random.Random(2).shuffle(names)
    pages = ((f"t{start}", names[start : start + 50]) for start in range(0, len(names), 50))
    assert _until_refused(pages, PageWatch("listing s3://b/")) is None


def test_memory_is_bounded() -> None:
    """However many names come out of order, two generations of them are remembered."""
    watch = PageWatch("listing s3://b/")
    for number in range(400, 0, -1):
        watch.page(f"t{number}", [f"{number:05}-{n}" for n in range(1000)])
    assert len(watch._recent) + len(watch._older) <= 2 * 131_072
    assert sys.getsizeof(watch._recent) < 16 * 1024 * 1024
