"""Signing: equal to botocore's signer on generated requests, and to the vectors that AWS publishes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, quote, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import example, given
from hypothesis import strategies as st

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError, InvalidRequest
from s3engine_transports.raw import RawTransport
from s3engine_transports.raw.sigv4 import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    Signed,
    canonical_query,
    encode_key,
    presign,
    sha256_hex,
    sign,
    signing_key,
)

# The example account of the documentation:
# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html#example-signature-calculations
EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLE_HOST = "examplebucket.s3.amazonaws.com"
EXAMPLE_DATE = "20130524T000000Z"

NOW = datetime(2026, 11, 21, 12, 34, 56, tzinfo=timezone.utc)
DATE = NOW.strftime("%Y%m%dT%H%M%SZ")
REGION = "eu-central-1"

ODD_KEYS = [
    "a b", "a+b", "a%b", "a%20b", "a//b", "/a", "//a", "a/", "a//", "/", ".", "..", "./a", "a/../b", "a/./b", "ü/é",
    "日本語", "😀", "a\nb", "a\r\nb", "\t", "a?b=c&d", "a#b", "a;b:c@d,e", "~", "*'()!$[]{}|^`<>\"\\",
    "x" * 1024, "ä" * 512,
]  # fmt: skip

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
keys = st.one_of(st.sampled_from(ODD_KEYS), text)
visible = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
meta_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).map("x-amz-meta-".__add__)
extra_headers = st.dictionaries(meta_names, visible, max_size=5)
queries = st.lists(st.tuples(text, st.text(st.characters(codec="utf-8"), max_size=20)), max_size=5)
tokens = st.one_of(st.just(""), st.text("ABCabc012+/=", min_size=1, max_size=60))
secrets = st.text("ABCabc012+/", min_size=1, max_size=40)
hosts = st.sampled_from(["bucket.s3.eu-central-1.amazonaws.com", "127.0.0.1:9000", "[::1]:9000", "store.example:8443"])


def _botocore(
    method: str, url: str, headers: dict[str, str], credentials: Credentials, *, signed: bool = True, body: bytes = b""
) -> tuple[Signed, dict[str, str]]:
    """What botocore makes of the same request at the same time."""
    signer = botocore.auth.S3SigV4Auth(_theirs(credentials), "s3", REGION)
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    if not signed:
        request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    with _botocores_clock():
        signer.add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()}
    del request.headers["Authorization"]
    canonical = signer.canonical_request(request)
    return Signed(canonical, signer.string_to_sign(request, canonical), sent["authorization"]), sent


def _botocores_clock() -> AbstractContextManager[Any]:
    """Stop botocore's clock at NOW, in the way that its version reads it."""
    naive = NOW.replace(tzinfo=None)
    if hasattr(botocore.auth, "get_current_datetime"):
        return mock.patch.object(botocore.auth, "get_current_datetime", return_value=naive)
    clock = SimpleNamespace(datetime=SimpleNamespace(utcnow=lambda: naive))
    return mock.patch.object(botocore.auth, "datetime", clock)


def _theirs(credentials: Credentials) -> BotocoreCredentials:
    return BotocoreCredentials(credentials.access_key, credentials.secret_key, credentials.token or None)


@given(
    st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"]), hosts, st.sampled_from(["/", "/bucket/", "/b.u-c_ket/"]),
    keys, queries, extra_headers, tokens, secrets, st.binary(max_size=50),
)  # fmt: skip
@example("PUT", "127.0.0.1:9000", "/", "a", [], {"x-amz-meta-a": "  a   b  c "}, "", "s", b"x")
def test_pure_functions_agree_with_botocore(
    method: str, host: str, base: str, key: str, query: list[tuple[str, str]], extra: dict[str, str], token: str,
    secret: str, body: bytes,
) -> None:  # fmt: skip
    """Canonical request, string to sign and Authorization are botocore's, whatever key, query, headers and token."""
    credentials = Credentials("AKIDEXAMPLE", secret, token)
    path, encoded = base + encode_key(key), canonical_query(query)
    url = f"http://{host}{path}" + (f"?{encoded}" if encoded else "")
    theirs, sent = _botocore(method, url, dict(extra), credentials, body=body)
    headers = [("host", host), ("x-amz-date", DATE), ("x-amz-content-sha256", sha256_hex(body)), *extra.items()]
    if token:
        headers.append(("x-amz-security-token", token))
    assert sign(method, path, encoded, headers, sha256_hex(body), DATE, credentials, REGION) == theirs
    assert sent["x-amz-content-sha256"] == sha256_hex(body)


@given(
    keys, st.sampled_from(["path", "virtual"]), st.sampled_from(["http", "https"]), extra_headers, tokens,
    st.binary(max_size=50),
)  # fmt: skip
def test_requests_of_the_transport_are_signed_like_botocores(
    key: str, style: str, scheme: str, extra: dict[str, str], token: str, body: bytes
) -> None:
    """The head that goes out holds botocore's headers and signature: both addressing styles, HTTP and HTTPS."""
    credentials = Credentials("AKIDEXAMPLE", "secret", token)
    settings = TransportSettings(
        endpoint_url=f"{scheme}://s3.localhost:9000", region=REGION, credentials=credentials, addressing_style=style
    )
    transport = RawTransport(settings, wall_clock=NOW.timestamp)
    exchange = transport.exchanges.put_object("buck-et", key, body, tuple(extra.items()))
    request_line, *lines = exchange.head.decode().removesuffix("\r\n\r\n").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    method, target, version = request_line.split(" ")
    host = "buck-et.s3.localhost:9000" if style == "virtual" else "s3.localhost:9000"
    assert (method, version, headers["host"]) == ("PUT", "HTTP/1.1", host)
    assert target == ("/" if style == "virtual" else "/buck-et/") + quote(key, safe="/~")
    signed = scheme == "http" or not body
    _, sent = _botocore("PUT", f"{scheme}://{host}{target}", dict(extra), credentials, body=body, signed=signed)
    for name in ("authorization", "x-amz-date", "x-amz-content-sha256"):
        assert headers[name] == sent[name]
    assert headers.get("x-amz-security-token", "") == token
    assert headers["content-length"] == str(len(body))
    transport.close()


@given(st.sampled_from(["GET", "PUT"]), hosts, keys, queries, tokens, st.integers(1, 604_800))
def test_presigned_form_agrees_with_botocore(
    method: str, host: str, key: str, query: list[tuple[str, str]], token: str, expires_s: int
) -> None:
    """The query of a presigned request has botocore's names, values and signature."""
    credentials = Credentials("AKIDEXAMPLE", "secret", token)
    pairs = sorted(dict(query).items())  # botocore's signer takes each name once
    path = "/bucket/" + encode_key(key)
    unsigned = f"https://{host}{path}" + (f"?{canonical_query(pairs)}" if pairs else "")
    theirs = AWSRequest(method=method, url=unsigned)
    with _botocores_clock():
        botocore.auth.S3SigV4QueryAuth(_theirs(credentials), "s3", REGION, expires_s).add_auth(theirs)
    ours = presign(method, path, pairs, host, DATE, expires_s, credentials, REGION)
    expected = urlsplit(str(theirs.url)).query
    assert sorted(parse_qsl(ours, keep_blank_values=True)) == sorted(parse_qsl(expected, keep_blank_values=True))


def test_presigned_url_of_the_transport() -> None:
    """presigned_url gives the whole URL, signed for the addressed host."""
    settings = TransportSettings(region="us-east-1", credentials=EXAMPLE, addressing_style="virtual")
    transport = RawTransport(settings, wall_clock=lambda: 1369353600.0)
    url = transport.presigned_url("GET", "examplebucket", "test file.txt", 86400)
    assert url.startswith("https://examplebucket.s3.us-east-1.amazonaws.com/test%20file.txt?X-Amz-Algorithm=AWS4-")
    with pytest.raises(ConfigError, match="credentials"):
        RawTransport(TransportSettings()).presigned_url("GET", "b", "k")


def _signature(signed: Signed) -> str:
    return signed.authorization.rpartition("Signature=")[2]


def test_published_vector_get_object_with_range() -> None:
    """AWS's example GET Object: all three texts."""
    headers = [
        ("x-amz-date", EXAMPLE_DATE), ("range", "bytes=0-9"), ("host", EXAMPLE_HOST),
        ("x-amz-content-sha256", EMPTY_SHA256),
    ]  # fmt: skip
    signed = sign("GET", "/test.txt", "", headers, EMPTY_SHA256, EXAMPLE_DATE, EXAMPLE, "us-east-1")
    assert signed.canonical_request == (
        "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
        "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
        "x-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert signed.string_to_sign == (
        "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
        "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"
    )
    assert signed.authorization == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_published_vector_put_object() -> None:
    """AWS's example PUT Object: a key with $, a body, a storage class."""
    payload = sha256_hex(b"Welcome to Amazon S3.")
    assert payload == "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    headers = [
        ("host", EXAMPLE_HOST), ("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-date", EXAMPLE_DATE),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"), ("x-amz-content-sha256", payload),
    ]  # fmt: skip
    path = "/" + encode_key("test$file.text")
    signed = sign("PUT", path, "", headers, payload, EXAMPLE_DATE, EXAMPLE, "us-east-1")
    assert path == "/test%24file.text"
    assert _signature(signed) == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"


@pytest.mark.parametrize(
    ("pairs", "signature"),
    [
        ([("lifecycle", "")], "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ([("prefix", "J"), ("max-keys", "2")], "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_published_vectors_of_buckets(pairs: list[tuple[str, str]], signature: str) -> None:
    """AWS's examples GET Bucket Lifecycle and GET Bucket (List Objects)."""
    headers = [("host", EXAMPLE_HOST), ("x-amz-date", EXAMPLE_DATE), ("x-amz-content-sha256", EMPTY_SHA256)]
    query = canonical_query(pairs)
    signed = sign("GET", "/", query, headers, EMPTY_SHA256, EXAMPLE_DATE, EXAMPLE, "us-east-1")
    assert _signature(signed) == signature


def test_published_vector_presigned() -> None:
    """AWS's example of a presigned GET."""
    query = presign("GET", "/test.txt", (), EXAMPLE_HOST, EXAMPLE_DATE, 86400, EXAMPLE, "us-east-1")
    assert query == (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.parametrize("expires_s", [0, -1, 604_801])
def test_presigned_bounds(expires_s: int) -> None:
    """A presigned request lives one second to a week; other values are refused."""
    with pytest.raises(ValueError, match="604800"):
        presign("GET", "/k", (), "h", DATE, expires_s, EXAMPLE, REGION)


@pytest.mark.parametrize(
    ("mode", "scheme", "expected"),
    [
        ("auto", "http", sha256_hex(b"body")), ("auto", "https", UNSIGNED_PAYLOAD),
        ("always", "https", sha256_hex(b"body")),
        ("never", "http", UNSIGNED_PAYLOAD), ("always", "http", sha256_hex(b"body")),
        ("never", "https", UNSIGNED_PAYLOAD),
    ],
)  # fmt: skip
def test_payload_signing_modes(mode: str, scheme: str, expected: str) -> None:
    """The body is signed over HTTP and not over HTTPS, unless the configuration says otherwise."""
    settings = TransportSettings(endpoint_url=f"{scheme}://127.0.0.1:1", credentials=EXAMPLE, payload_signing=mode)
    transport = RawTransport(settings)
    head = transport.exchanges.put_object("bucket", "k", b"body", ()).head.decode()
    assert f"\r\nx-amz-content-sha256: {expected}\r\n" in head


def test_anonymous_requests_carry_no_signature() -> None:
    """Without credentials nothing of a signature is sent."""
    head = RawTransport(TransportSettings()).exchanges.put_object("bucket", "k", b"x", ()).head.lower()
    assert b"authorization" not in head
    assert b"x-amz-" not in head


@pytest.mark.parametrize(
    ("region", "bucket", "style", "host", "path"),
    [
        ("eu-west-1", "my-bucket", "auto", "my-bucket.s3.eu-west-1.amazonaws.com", "/k"),
        ("eu-west-1", "my.bucket", "auto", "s3.eu-west-1.amazonaws.com", "/my.bucket/k"),
        ("eu-west-1", "My_Bucket", "auto", "s3.eu-west-1.amazonaws.com", "/My_Bucket/k"),
        ("eu-west-1", "my-bucket", "path", "s3.eu-west-1.amazonaws.com", "/my-bucket/k"),
        ("cn-north-1", "my-bucket", "auto", "my-bucket.s3.cn-north-1.amazonaws.com.cn", "/k"),
    ],
)
def test_addresses_on_amazon(region: str, bucket: str, style: str, host: str, path: str) -> None:
    """Without an endpoint requests go to Amazon, to the bucket's own host where its name suits DNS and TLS."""
    transport = RawTransport(TransportSettings(region=region, addressing_style=style))
    exchange = transport.exchanges.head_object(bucket, "k")
    assert exchange.head.startswith(f"HEAD {path} HTTP/1.1\r\nhost: {host}\r\n".encode())


def test_region_of_a_bucket_can_be_changed() -> None:
    """After set_region the bucket's requests go to, and are signed for, that region; others stay."""
    transport = RawTransport(TransportSettings(credentials=EXAMPLE))
    transport.exchanges.head_object("bucket", "k")
    transport.set_region("bucket", "eu-north-1")
    moved = transport.exchanges.head_object("bucket", "k").head
    assert b"host: bucket.s3.eu-north-1.amazonaws.com\r\n" in moved
    assert b"/eu-north-1/s3/aws4_request" in moved
    assert b"/us-east-1/s3/aws4_request" in transport.exchanges.head_object("other", "k").head


def test_endpoint_with_a_path() -> None:
    """A path in the endpoint precedes bucket and key, and is signed."""
    transport = RawTransport(TransportSettings(endpoint_url="http://127.0.0.1:9/base/", credentials=EXAMPLE))
    assert transport.exchanges.head_object("bucket", "k").head.startswith(b"HEAD /base/bucket/k HTTP/1.1\r\n")
    assert transport.exchanges.head_bucket("bucket").head.startswith(b"HEAD /base/bucket HTTP/1.1\r\n")


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:99999", "http://h:x"])
def test_bad_endpoints_are_named(url: str) -> None:
    """An endpoint that is no http(s) URL raises ConfigError with the URL."""
    with pytest.raises(ConfigError, match=url):
        RawTransport(TransportSettings(endpoint_url=url))


def test_an_empty_key_never_reaches_a_bucket() -> None:
    """Without its key DeleteObject would be DeleteBucket: it is refused before anything is sent."""
    exchanges = RawTransport(TransportSettings()).exchanges
    with pytest.raises(InvalidRequest, match="key is empty"):
        exchanges.delete_object("bucket", "")
    with pytest.raises(InvalidRequest, match="key is empty"):
        exchanges.put_object("bucket", "", b"", ())


def test_a_key_that_is_no_unicode_is_refused_by_name() -> None:
    """A lone surrogate (a file name in another encoding) raises InvalidRequest, not UnicodeEncodeError."""
    exchanges = RawTransport(TransportSettings()).exchanges
    with pytest.raises(InvalidRequest, match=r"udcff.*not Unicode"):
        exchanges.put_object("bucket", "a\udcff", b"", ())
    with pytest.raises(InvalidRequest, match=r"udcff.*not Unicode"):
        exchanges.copy_object("bucket", "a\udcff", "bucket", "k", ())
    with pytest.raises(InvalidRequest, match=r"udcff"):
        exchanges.list_objects_v2("bucket", "a\udcff")


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx-evil: 1"])
def test_header_injection_is_refused(value: str) -> None:
    """A header value with a line break never reaches the wire."""
    with pytest.raises(ConfigError, match="x-amz-meta-a"):
        RawTransport(TransportSettings()).exchanges.put_object("bucket", "k", b"", (("x-amz-meta-a", value),))


def test_signing_keys_are_kept() -> None:
    """One key a day and region is derived, once."""
    assert signing_key("s", "20260101", "r") is signing_key("s", "20260101", "r")
    assert signing_key("s", "20260101", "r") != signing_key("s", "20260102", "r")
