"""Checks of listings on a real store."""

from __future__ import annotations

from collections import Counter

from s3engine.testing.conformance.core import Case, T, check, expect

__all__: list[str] = []


@check("list")
def list_all(case: Case) -> None:
    """A listing gives each object below the prefix once, with size, ETag and the store's time."""
    keys = [case.key(name) for name in ("a", "ab", "a b", "b/c/d", "é")]
    etags = {key: case.witness.put(case.bucket, key, key.encode()) for key in keys}
    case.witness.put(case.bucket, case.prefix.rstrip("/") + "-beside", b"x")
    try:
        objects = case.api.list_objects_v2(case.bucket, case.prefix, timeouts=T).objects
    finally:
        case.witness.delete(case.bucket, case.prefix.rstrip("/") + "-beside")
    seen = sorted(case.witness.list_keys(case.bucket, case.prefix))
    expect(sorted(info.key for info in objects) == seen, f"keys {[info.key for info in objects]}, the store has {seen}")
    for info in objects:
        told = (info.size_bytes, info.etag)
        expect(told == (len(info.key.encode()), etags[info.key]), f"size and ETag of {info.key!r} are {told}")
        stamp = info.last_modified
        expect(len(stamp) >= 19 and stamp[4] == "-" and stamp[10] == "T", f"last_modified is {stamp!r}")


@check("list-pages")
def list_pages(case: Case) -> None:
    """Pages of at most ``max_keys`` follow one another by their token until all keys came once."""
    keys = sorted(case.key(f"{number % 3}/{number:02}") for number in range(25))
    for key in keys:
        case.witness.put(case.bucket, key, b"")
    found: Counter[str] = Counter()
    token, pages = "", 0
    while pages == 0 or token:
        page = case.api.list_objects_v2(
            case.bucket, case.prefix, continuation_token=token, max_keys=7, timeouts=T
        )
        expect(len(page.objects) <= 7, f"a page has {len(page.objects)} keys, 7 were asked for")
        found.update(info.key for info in page.objects)
        token, pages = page.next_token, pages + 1
        expect(pages <= 25, "the pages do not end")
    expect(sorted(found) == keys, f"{len(found)} of {len(keys)} keys came")
    expect(max(found.values()) == 1, f"{[key for key, count in found.items() if count > 1]} came twice")
    expect(pages >= 4, f"25 keys came in {pages} pages of 7")


@check("list-repeats")
def list_repeats(case: Case) -> None:
    """The same page can be asked for again and is the same: a lost answer costs nothing."""
    for number in range(9):
        case.witness.put(case.bucket, case.key(str(number)), b"")

    def page(token: str) -> tuple[list[str], str]:
        got = case.api.list_objects_v2(case.bucket, case.prefix, continuation_token=token, max_keys=4, timeouts=T)
        return [info.key for info in got.objects], got.next_token

    first, token = page("")
    once, _ = page(token)
    twice, _ = page(token)
    expect(once == twice, f"the second page was {once}, then {twice}")
    expect(not set(first) & set(once), f"{sorted(set(first) & set(once))} are on both pages")


@check("list-prefix")
def list_prefix(case: Case) -> None:
    """A prefix is the beginning of a text, not a folder: ``ab`` finds ``ab``, ``abc`` and ``ab/c``."""
    for name in ("a", "ab", "abc", "ab-d", "b/ab", "xab"):
        case.witness.put(case.bucket, case.key(name), b"x")
    wanted = {"ab", "abc", "ab-d"}
    page = case.api.list_objects_v2(case.bucket, case.key("ab"), timeouts=T)
    found = {info.key.removeprefix(case.prefix) for info in page.objects}
    expect(found == wanted, f"below the prefix 'ab' are {sorted(found)}")
    nothing = case.api.list_objects_v2(case.bucket, case.key("none"), timeouts=T)
    expect((nothing.objects, nothing.prefixes, nothing.next_token) == ([], [], ""), f"below 'none' is {nothing}")


@check("list-delimiter")
def list_delimiter(case: Case) -> None:
    """With a delimiter keys are folded up to it, each prefix once; keys without it are listed."""
    for name in ("a/1", "a/2", "b b/3/4", "c", "é/5"):
        case.witness.put(case.bucket, case.key(name), b"x")
    page = case.api.list_objects_v2(case.bucket, case.prefix, delimiter="/", timeouts=T)
    prefixes = sorted(one.removeprefix(case.prefix) for one in page.prefixes)
    keys = [info.key.removeprefix(case.prefix) for info in page.objects]
    expect(prefixes == ["a/", "b b/", "é/"], f"prefixes are {prefixes}")
    expect(keys == ["c"], f"keys are {keys}")


@check("list-start-after")
def list_start_after(case: Case) -> None:
    """``start_after`` leaves out all keys up to and with that one."""
    for number in range(6):
        case.witness.put(case.bucket, case.key(str(number)), b"x")
    page = case.api.list_objects_v2(case.bucket, case.prefix, start_after=case.key("2"), timeouts=T)
    found = [info.key.removeprefix(case.prefix) for info in page.objects]
    expect(found == ["3", "4", "5"], f"after '2' come {found}")
