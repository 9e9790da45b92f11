"""Requests from a stencil are those that are made one by one, byte for byte."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from s3engine import errors
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.transport import Headers
from s3engine_transports.raw import RawTransport
from s3engine_transports.raw.requests import Requests
from tests.exchanges import NOW_S

Sent = tuple[Any, bytes, Any] | tuple[type[Exception], str]


class _Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def transport(clock: _Clock, **settings: Any) -> RawTransport:
    values: dict[str, Any] = {
        "endpoint_url": "http://store:9000/a%20b", "credentials": Credentials("AK/%s", "SK", "to%ken"), **settings
    }
    return RawTransport(TransportSettings(**values), wall_clock=clock)


def sent(one: RawTransport, make: Any, *, stencils: bool) -> Sent:
    """What a call would send, or how it fails."""
    kept = Requests.stencilled
    if not stencils:
        Requests.stencilled = lambda *_: None  # type: ignore[method-assign]
    try:
        exchange = make(one.exchanges)
    except errors.S3EngineError as error:
        return type(error), str(error)
    finally:
        Requests.stencilled = kept  # type: ignore[method-assign]
    return exchange.endpoint, exchange.head, exchange.body


SHA256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
names = st.sampled_from([
    "content-type", "x-amz-meta-a", "x-amz-meta-%s", "x-amz-storage-class", "zzz", "Bad name", "host",
])  # fmt: skip
values = st.one_of(st.sampled_from(["a/b", "a  b", " a ", "%s%%", "ü", "", "a\nb"]), st.text(max_size=5))
checksums = st.sampled_from([
    (), (("x-amz-checksum-sha256", SHA256),), (("x-amz-checksum-sha256", "none"),), (("content-md5", "a=="),),
    (("x-amz-checksum-crc32", "AAAAAA=="),), (("x-amz-checksum-crc32", "A A"),), (("content-md5", ""),),
])  # fmt: skip
keys = st.one_of(st.sampled_from(["a", "a/b.bin", "a b", "%s", "", "ü", "//", "a\ud800"]), st.text(max_size=8))
buckets = st.sampled_from(["bucket", "", ".", "..", "b.c"])
settings = st.fixed_dictionaries({
    "payload_signing": st.sampled_from(["auto", "always", "never"]),
    "endpoint_url": st.sampled_from(["http://store:9000/a%20b", "https://store", ""]),
    "credentials": st.sampled_from([None, Credentials("AK", "SK"), Credentials("AK/%s", "SK", "to%ken")]),
})  # fmt: skip


@given(
    settings, buckets, keys, st.lists(st.tuples(names, values), max_size=3).map(tuple), checksums,
    st.sampled_from([b"", b"x", b"y" * 1024]), st.sampled_from(["", '"e"', "e", "e f"]),
)  # fmt: skip
@example(
    {"endpoint_url": "http://store", "credentials": Credentials("A", "S"), "payload_signing": "auto"}, "b", "k",
    (("content-type", "a/b"),), (("x-amz-checksum-sha256", SHA256),), b"x", "e",
)  # fmt: skip
def test_the_same_request_either_way(
    given_settings: dict[str, Any], bucket: str, key: str, constant: Headers, checksum: Headers, body: bytes, etag: str
) -> None:
    """Whatever is asked for, and however often: the stencil's request, or the same refusal."""
    one = transport(_Clock(), **given_settings)
    calls = (
        lambda api: api.put_object(bucket, key, body, (*constant, *checksum)),
        lambda api: api.get_object(bucket, key, None, if_match=etag, headers=constant),
        lambda api: api.get_object(bucket, key, None, first=5, if_match=etag),
        lambda api: api.head_object(bucket, key, headers=constant),
        lambda api: api.delete_object(bucket, key, if_match=etag),
        lambda api: api.copy_object(bucket, key, bucket, key, constant, if_match=etag),
    )
    for call in calls:
        alone = sent(one, call, stencils=False)
        assert [sent(one, call, stencils=True) for _ in range(3)] == [alone] * 3


def put(api: Any) -> Any:
    """A common request."""
    return api.put_object("bucket", "a/b", b"x", (("content-type", "a/b"), ("content-md5", "a==")))


def test_common_requests_come_from_a_stencil() -> None:
    """From the third of a kind on at the latest; the test above compares something."""
    one = transport(_Clock())
    sent(one, put, stencils=True)
    sent(one, put, stencils=True)
    found = one._requests.stencilled(
        "PutObject", "PUT", "bucket", "a/b", (("content-type", "a/b"), ("content-md5", "a==")), b"x", 1
    )
    assert found is not None
    assert found[1] == sent(one, put, stencils=False)[1]


def test_time_credentials_and_region_take_effect_at_once() -> None:
    """A stencil holds for one second, one set of credentials, one clock and one route."""
    clock = _Clock()
    one = transport(clock, endpoint_url="")

    def changes() -> list[Any]:
        clock.now_s += 1
        yield_ = [sent(one, put, stencils=True), sent(one, put, stencils=False)]
        one.set_credentials(Credentials("OTHER", "S2"))
        yield_ += [sent(one, put, stencils=True), sent(one, put, stencils=False)]
        one.set_region("bucket", "eu-west-3")
        yield_ += [sent(one, put, stencils=True), sent(one, put, stencils=False)]
        one.set_clock_offset(3600.0)
        yield_ += [sent(one, put, stencils=True), sent(one, put, stencils=False)]
        one.set_credentials(None)
        return [*yield_, sent(one, put, stencils=True), sent(one, put, stencils=False)]

    for _ in range(3):
        sent(one, put, stencils=True)
    seen = changes()
    assert seen[::2] == seen[1::2]
    assert len({one[1] for one in seen}) == 5


def test_stencils_do_not_pile_up() -> None:
    """Headers of each object's own: so many kinds of requests that only some are kept, and none is cut in vain."""
    one = transport(_Clock())
    for number in range(500):
        one.exchanges.put_object("bucket", "a", b"x", (("x-amz-meta-n", str(number)),))
    assert len(one._requests._stencils) <= 64
    assert not any(one._requests._stencils.values())
