"""s3:// addresses are taken apart exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.errors import ConfigError
from s3engine.uri import S3Uri, check_bucket


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{1,60}[A-Za-z0-9]\Z"), st.text())
def test_round_trip(bucket: str, key: str) -> None:
    """Any key comes out as it went in; nothing is decoded or folded."""
    uri = S3Uri.parse(f"s3://{bucket}/{key}")
    assert uri == (bucket, key)
    assert S3Uri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket", ("bucket", "")), ("s3://bucket/", ("bucket", "")), ("s3://bucket//a", ("bucket", "/a")),
        ("s3://bucket/a/../b", ("bucket", "a/../b")), ("s3://bucket/a%20b+c?d#e", ("bucket", "a%20b+c?d#e")),
    ],
)  # fmt: skip
def test_examples(text: str, expected: tuple[str, str]) -> None:
    """A bucket alone is the whole of it; slashes, dots and signs belong to the key."""
    assert S3Uri.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "bucket/key", "s3:/bucket/k", "S3://bucket/k", "s3://", "s3:///key", "s3://a/k", "s3://-ab/k", "s3://a b c/k"],
)
def test_malformed(text: str) -> None:
    """What is no S3 address raises ConfigError that shows it and the right form."""
    with pytest.raises(ConfigError, match="s3://") as caught:
        S3Uri.parse(text)
    assert repr(text) in str(caught.value) or repr(text[5:].partition("/")[0]) in str(caught.value)


@pytest.mark.parametrize("bucket", ["", "ab", "a\nb", "bucket\n", "ü" * 5, "a/b", None])
def test_bad_bucket_names(bucket: str) -> None:
    """Names no store takes are refused before anything is sent."""
    with pytest.raises(ConfigError, match="bucket name"):
        check_bucket(bucket)
