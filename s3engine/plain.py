"""Text of others (keys, messages of a store, names of files) as it may stand in a line for a person."""

from __future__ import annotations

import re

__all__ = ["brief", "number_of", "one_line"]

# What moves the cursor, breaks a line or gives orders to a terminal (C0, C1); what turns the text that follows around
# or cannot be seen at all (bidirectional controls, zero width, tags), so that a name looks like another; and what no
# encoding can say (a file name that is not UTF-8). The joiners U+200C and U+200D stay: whole scripts need them.
_unprintable = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def one_line(text: str) -> str:
    """``text`` with control, direction and invisible characters as escapes (``\\n``, ``\\x1b``, ``\\u202e``)."""
    return text if text.isprintable() else _unprintable.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if "\udc80" <= character <= "\udcff":  # a byte that os.fsdecode could not decode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def number_of(count: int, what: str = "object") -> str:
    """``1 object``, ``2 objects``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def brief(text: str, limit: int) -> str:
    """``text`` on one line, and of a longer one than ``limit`` characters the beginning and the end."""
    if len(text) > limit:
        # Cut before it is escaped: what is thrown away may be megabytes.
        end = limit // 4
        text = f"{text[: limit - end]} ... {text[-end:] if end else ''} ({len(text)} characters)"
    return one_line(text)
