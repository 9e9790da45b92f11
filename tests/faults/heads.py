"""Heads of answers, changed."""

from __future__ import annotations

import re

from tests.faults.kinds import DuplicateHeaders, Fault, FlipHeadBit, WrongEtag, WrongLength
from tests.faults.wire import flipped, header_of

_ETAG = re.compile(rb"(?i)(\r\netag: *\"?)([0-9a-f]+)")
_LENGTH = re.compile(rb"(?i)(\r\ncontent-length: *)([0-9]+)")


def changed_head(answer: bytes, fault: Fault | None) -> bytes:
    """The head that the client gets in place of ``answer``."""
    match fault:
        case WrongEtag():
            # Every digit another one, so that no length changes.
            return _ETAG.sub(lambda found: found[1] + found[2].lower().translate(_OTHER_DIGITS), answer)
        case WrongLength(delta_bytes) if int(header_of(answer, b"content-length") or 0) + delta_bytes >= 0:
            return _LENGTH.sub(lambda found: found[1] + b"%d" % (int(found[2]) + delta_bytes), answer)
        case FlipHeadBit(at, direction="down"):
            return flipped(answer, at % len(answer))
        case DuplicateHeaders(headers):
            added = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
            return answer[:-2] + added + b"\r\n"
    return answer


_OTHER_DIGITS = bytes.maketrans(b"0123456789abcdef", b"123456789abcdef0")
