"""Odd keys, and which of them a store can hold at all."""

from __future__ import annotations

import os

from urllib3.exceptions import HTTPError

from s3engine.errors import InvalidRequest
from s3engine.testing.conformance.core import Case, T

__all__ = ["ODD_KEYS", "addressable", "good_keys", "xml_safe"]

ODD_KEYS = (
    "plain", "a b", " a", "a ", "a  b", "a+b", "+", "a%b", "%", "a%20b", "a%2Fb", "%41", "a%zz", "a//b", "a///b", "/a",
    "//a", "/", "//", "a/", "a//", ".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "...", "é", "e\u0301",
    "日本語/キー", "😀", "𐍈/🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a\nb", "a\r\nb", "a\rb", "\t", "a\tb", "a?b=c&d=e", "a#b", "a;b", "a:b@c,d",
    "~user", "a~b", "*'()!", "[x]{y}|^`", "a\\b", '"quoted"', "<xml>&amp;", "a=b&c", "\x7f", "-", "_",
    "/".join(["s"] * 256), "\u202e\u200b", "a\x85b", "x" * 200 + "/" + "y" * 200,
)  # fmt: skip
"""Names below a prefix; a prefix may have up to 124 bytes, since a key ends at 1024."""


def xml_safe(name: str) -> bool:
    """Whether a key may stand in an XML 1.0 document (DeleteObjects)."""
    return all(char in "\t\n" or (char >= " " and char not in "\ufffe\uffff") for char in name)


def good_keys(case: Case) -> tuple[list[str], list[str]]:
    """Those of ODD_KEYS that the store keeps exactly, as the witness sees it, and those that it does not."""
    good: list[str] = []
    unfit: list[str] = []
    for number, name in enumerate(ODD_KEYS):
        (good if _kept(case, case.key(f"w{number}/"), name) else unfit).append(name)
    return good, unfit


def _kept(case: Case, prefix: str, name: str) -> bool:
    witness, bucket, key, body = case.witness, case.bucket, prefix + name, name.encode()
    try:
        witness.put(bucket, key, body)
        try:
            kept = witness.get(bucket, key) == body and witness.list_keys(bucket, prefix) == [key]
        finally:
            witness.delete(bucket, key)
        return kept and witness.list_keys(bucket, prefix) == []
    # Refused; or a page that is no XML, since the key stands in it; or closed in the middle of the body.
    except (AssertionError, SyntaxError, HTTPError):
        return False


def addressable(case: Case, key: str) -> bool:
    """Whether the transport takes a key; only one that says so of itself may refuse."""
    if case.api.capabilities.exact_keys:
        return True
    try:
        case.api.put_object(case.bucket, key, os.urandom(8), (), timeouts=T)
    except InvalidRequest:
        return False
    case.witness.delete(case.bucket, key)
    return True
