"""The answer to a copy is read by one pattern where it is what stores write, and means what the parser makes of it."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.errors import RequestError
from s3engine_transports.clock import StoreClock
from s3engine_transports.common import Answer
from s3engine_transports.raw import answers

_WHOLE = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<CopyObjectResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag>"
    b"</CopyObjectResult>"
)
_OTHERS = (
    b'<CopyPartResult><ETag>"abc-2"</ETag></CopyPartResult>',
    b'  \n<?xml version="1.0"?> <CopyPartResult xmlns="x"><ETag>abc</ETag>\n<LastModified>2026</LastModified>'
    b"</CopyPartResult>",
    b"<CopyObjectResult><ETag>&#34;abc&#34;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></CopyObjectResult>",
    b"<Error><Code>InternalError</Code><ETag>abc</ETag></Error>",
)


class _Read(NamedTuple):
    etag: str
    error: str


def _read(body: bytes) -> _Read:
    try:
        return _Read(answers.copied(_answer(body), StoreClock()).etag, "")
    except RequestError as error:
        return _Read("", f"{type(error).__name__}: {error}")


def _answer(body: bytes) -> Answer:
    return Answer("CopyObject", "b", "k", status=200, headers={}, content=body)


@pytest.mark.parametrize(
    ("body", "etag"),
    [(_WHOLE, "0cc175b9c0f1b6a831c399e269772661"), (_OTHERS[0], "abc-2"), (_OTHERS[1], "abc"), (_OTHERS[2], "abc")],
)
def test_etags_of_copies(body: bytes, etag: str) -> None:
    """The ETag comes without quotes, however they are written, and wherever LastModified stands."""
    assert _read(body) == (etag, "")


@given(
    st.sampled_from((_WHOLE, *_OTHERS)), st.integers(0, 300), st.integers(0, 4),
    st.binary(max_size=2) | st.sampled_from((b"<Error/>", b"</ETag>", b"\v", b'"', b"&quot;", b"&amp;", b"\xff")),
)  # fmt: skip
def test_pattern_and_parser_agree(body: bytes, at: int, cut: int, put: bytes) -> None:
    """Whatever an answer is changed into, it gives the same ETag, or the same error, as it does by the parser alone."""
    changed = body[:at] + put + body[at + cut :]
    found = _read(changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "_usual_copy", lambda content: None)
        assert found == _read(changed)
