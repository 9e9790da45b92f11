"""Keys, listings and deletes of the obstore transport; what all transports promise is in the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("obstore", reason="the obstore transport needs the package obstore")

from s3engine.embedded import EmbeddedServer
from s3engine.errors import (
    ConnectionLost,
    InvalidRequest,
    NotS3,
    NotSupported,
    ServerFault,
    Throttled,
)
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.scripted import Say, Scripted, answer, error_answer, list_answer
from s3engine.transport import Transport
from s3engine_transports.via_obstore import ObstoreTransport
from s3engine_transports.via_obstore.paths import is_exact
from tests.faults import FaultProxy
from tests.helpers import S3Probe
from tests.integration.obstore_common import BUCKET, T, list_keys, no_proxies, open_obstore
from tests.integration.test_raw_ministack import ODD_KEYS
from tests.servers import Ministack

__all__ = ["no_proxies"]


@pytest.fixture
def api(seaweed: EmbeddedServer) -> Iterator[ObstoreTransport]:
    transport = open_obstore(seaweed.endpoint_url, seaweed)
    yield transport
    transport.close()


@pytest.fixture
def exact(ministack: Ministack) -> Iterator[tuple[ObstoreTransport, S3Probe]]:
    """The transport and a probe on the store that keeps all keys, with an empty bucket BUCKET."""
    transport = open_obstore(ministack.endpoint_url, ministack)
    with S3Probe(ministack.endpoint_url, ministack.access_key, ministack.secret_key) as probe:
        probe.create_bucket(BUCKET)
        yield transport, probe
        transport.close()
        probe.delete_all(BUCKET)


def test_keys_arrive_exactly_or_not_at_all(exact: tuple[ObstoreTransport, S3Probe], ministack: Ministack) -> None:
    """Each odd key is stored, read and listed as itself, or refused by every call before anything is sent."""
    _, probe = exact
    refused = []
    with FaultProxy("127.0.0.1", ministack.port) as proxy:
        transport: Transport = open_obstore(proxy.endpoint_url, ministack)
        for key in [*ODD_KEYS, "a\x80b", "a\x9fb", "\ufeff"]:
            before = proxy.log.requests
            try:
                transport.put_object(BUCKET, key, key.encode(), (), timeouts=T)
            except InvalidRequest:
                refused.append(key)
                for call, arguments in (
                    (transport.get_object, (BUCKET, key, MemorySink())), (transport.head_object, (BUCKET, key)),
                    (transport.delete_object, (BUCKET, key)), (transport.copy_object, (BUCKET, key, BUCKET, "to", ())),
                    (transport.copy_object, (BUCKET, "from", BUCKET, key, ())),
                ):  # fmt: skip
                    with pytest.raises(InvalidRequest):
                        call(*arguments, timeouts=T)
                assert proxy.log.requests == before
            else:
                assert probe.list_keys(BUCKET) == [key]
                sink = MemorySink()
                transport.get_object(BUCKET, key, sink, timeouts=T)
                assert sink.body() == key.encode()
                assert [info.key for info in transport.list_objects_v2(BUCKET, timeouts=T).objects] == [key]
                assert transport.delete_objects(BUCKET, [key], timeouts=T) == []
                assert probe.list_keys(BUCKET) == []
        transport.close()
    assert refused == [key for key in ODD_KEYS if not is_exact(key)]
    assert {"/a", "a/", "a//b", "/", ".", "..", "a/./b", "\t", "\x7f"} < set(refused)


@pytest.mark.parametrize("key", ["a//b", "//a", "a/.", "..", "a\nb", "/", "/x", "/-x"])
def test_a_listing_with_a_key_beyond_obstore_raises(exact: tuple[ObstoreTransport, S3Probe], key: str) -> None:
    """A listed key that cannot be represented is an error, with and without others around it; it is never left out."""
    api, probe = exact
    for others in ([], ["-", "0", "x", "z/y"]):
        for one in [key, *others]:
            probe.put(BUCKET, one, b"x")
        if key == "/":  # the one that can be told for sure
            assert sorted(list_keys(api, BUCKET)) == sorted([key, *others])
        else:
            with pytest.raises(InvalidRequest, match="obstore"):
                list_keys(api, BUCKET)
    api.head_bucket(BUCKET, timeouts=T)


def test_markers_of_folders(exact: tuple[ObstoreTransport, S3Probe]) -> None:
    """Keys that end in "/" are listed as they are, by prefix and delimiter too; two that look alike are refused."""
    api, probe = exact
    keys = ["0/", "a", "a/b", "empty/", "folder/", "folder/x", "folder/y/", "folder/y/z", "zero"]
    for key in keys:
        probe.put(BUCKET, key, b"" if key.endswith("/") or key == "zero" else b"x")
    assert list_keys(api, BUCKET) == keys
    assert list_keys(api, BUCKET, max_keys=1) == keys
    assert list_keys(api, BUCKET, "folder/") == keys[4:8]
    assert list_keys(api, BUCKET, "fol") == keys[4:8]
    assert list_keys(api, BUCKET, "folder/", delimiter="/") == ["folder/", "folder/x", "folder/y/"]
    assert sorted(list_keys(api, BUCKET, delimiter="/", max_keys=2)) == ["0/", "a", "a/", "empty/", "folder/", "zero"]
    assert list_keys(api, BUCKET, start_after="folder/") == keys[5:]
    probe.put(BUCKET, "folder", b"x")
    with pytest.raises(InvalidRequest, match=r"both 'folder' and 'folder/'"):
        list_keys(api, BUCKET)


def test_pages_where_a_key_is_also_a_folder(api: ObstoreTransport, bucket: str, probe: S3Probe) -> None:
    """Pages of any size hold every key once, though SeaweedFS cannot go on behind a key that is also a folder."""
    keys = ["p/0", "p/1", "p/1/z", "p/1-x", "p/2", "p/2/a/b", "q", "q/r", "q/r/s", "q/r/s/t", "é"]
    for key in keys:
        probe.put(bucket, key, b"x")
    whole = probe.list_keys(bucket)
    for size in (1, 2, 3, 7):
        assert list_keys(api, bucket, max_keys=size) == whole
    assert sorted(list_keys(api, bucket, "p/1", max_keys=2)) == ["p/1", "p/1-x", "p/1/z"]
    with pytest.raises(InvalidRequest, match="continuation token"):
        api.list_objects_v2(bucket, continuation_token="obstore-1.7", timeouts=T)
    with pytest.raises(NotSupported, match="delimiter"):
        api.list_objects_v2(bucket, delimiter="-", timeouts=T)


def test_a_page_that_failed_comes_on_the_next_try() -> None:
    """A listing that breaks in the middle goes on behind a key that is no folder, and gives nothing twice."""
    keys = [f"k{number:04}" for number in range(998)] + ["k9", "k9/a"]
    body = list_answer(*keys).data.partition(b"\r\n\r\n")[2]
    body = body.replace(b"<IsTruncated>false", b"<NextContinuationToken>t</NextContinuationToken><IsTruncated>true")
    first = answer(200, body, ("Content-Type", "application/xml"))
    again = list_answer("k9", "k9/a", "k9/b", "z")
    none = list_answer()
    # Three questions: whether the first key begins with "/", whether there are k9/ and k9/a/.
    script = (first, none, none, none, error_answer(503, "SlowDown"), Say(then="reset"), again)
    with Scripted(*script) as server:
        api = open_obstore(server.endpoint_url)
        page = api.list_objects_v2("bucket", "k", timeouts=T)
        for kind in (Throttled, ConnectionLost):
            with pytest.raises(kind):
                api.list_objects_v2("bucket", "k", continuation_token=page.next_token, timeouts=T)
        rest = api.list_objects_v2("bucket", "k", continuation_token=page.next_token, timeouts=T)
        assert [info.key for info in [*page.objects, *rest.objects]] == [*keys, "k9/b"]
        assert rest.next_token == ""
        targets = [one.target for one in server.requests]
        assert ["start-after=k0997" in target for target in targets] == [False] * 5 + [True] * 2
        api.close()


def test_an_answer_that_is_no_listing() -> None:
    """What obstore takes for an empty listing is one only if the store says so: no error, no page of a web server."""
    page = answer(200, b"<html><body>Welcome</body></html>", ("Content-Type", "text/html"))
    for step, kind in ((page, NotS3), (error_answer(200, "InternalError"), ServerFault)):
        with Scripted(step) as server:
            api = open_obstore(server.endpoint_url)
            with pytest.raises(kind):
                api.list_objects_v2("bucket", "p/", timeouts=T)
            with pytest.raises(kind):
                api.list_objects_v2("bucket", delimiter="/", timeouts=T)
            with pytest.raises(kind):
                api.head_bucket("bucket", timeouts=T)
            api.close()
    with Scripted(error_answer(200, "InternalError"), list_answer("p/k")) as server:
        api = open_obstore(server.endpoint_url)
        with pytest.raises(ServerFault, match="has some"):
            api.list_objects_v2("bucket", "p/", timeouts=T)
        api.close()


def test_a_listing_cut_short_behind_a_full_page() -> None:
    """A full page that says more follows, but not where, ends no listing when there are keys behind it."""
    body = list_answer(*(f"k{number:04}" for number in range(1000))).data.partition(b"\r\n\r\n")[2]
    page = answer(200, body.replace(b"false", b"true"), ("Content-Type", "application/xml"))
    with Scripted(page, list_answer("k1000")) as server:
        api = open_obstore(server.endpoint_url)
        with pytest.raises(ServerFault, match="keys behind it"):
            list_keys(api, "bucket", "k")
        assert "start-after=k0999" in server.requests[-1].target
        api.close()


def test_markers_with_bodies(exact: tuple[ObstoreTransport, S3Probe]) -> None:
    """A key "a/" with a body never comes as the other key "a": both are refused, and it is known by its place."""
    api, probe = exact
    for key in ("a", "a.x", "a/"):
        probe.put(BUCKET, key, b"x")
    with pytest.raises(InvalidRequest, match="both"):
        list_keys(api, BUCKET)
    assert api.delete_objects(BUCKET, ["a"], timeouts=T) == []
    assert list_keys(api, BUCKET) == list_keys(api, BUCKET, start_after="a") == ["a.x", "a/"]


def test_names_that_cannot_be_sent() -> None:
    """Prefixes that are no Unicode and names that no bucket has are refused before anything is sent."""
    with Scripted(list_answer()) as server:
        api = open_obstore(server.endpoint_url)
        for prefix, start_after in (("\udc80", ""), ("", "\udc80")):
            with pytest.raises(InvalidRequest, match="not Unicode"):
                api.list_objects_v2("bucket", prefix, start_after=start_after, timeouts=T)
        with pytest.raises(InvalidRequest, match="no name of a bucket"):
            api.head_bucket("b", timeouts=T)
        assert server.requests == []
        api.close()


# ---- deletes


def _deleted(*failed: str) -> Say:
    errors = "".join(f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>no</Message></Error>" for key in failed)
    return answer(200, f"<DeleteResult><Deleted><Key>0</Key></Deleted>{errors}</DeleteResult>".encode())


def test_deletes_of_which_some_fail() -> None:
    """Each key that was not deleted is returned, by few requests: one more for each failure among good ones."""
    keys = [str(number) for number in range(10)]
    with Scripted(_deleted("3", "7"), _deleted("7"), _deleted()) as server:
        api = open_obstore(server.endpoint_url)
        failures = api.delete_objects("bucket", [*keys, "odd//key"], timeouts=T)
        assert [(one.key, one.code) for one in failures] == [
            ("odd//key", "InvalidURI"), ("3", "AccessDenied"), ("7", "AccessDenied")
        ]  # fmt: skip
        assert [b"<Key>4</Key>" in one.body for one in server.requests] == [True, True, False]
        api.close()


def test_deletes_of_which_all_fail() -> None:
    """When nearly every key fails, or the answer says less than it should, the keys go one by one."""
    keys = [str(number) for number in range(8)]
    denied = error_answer(403, "AccessDenied")
    all_fail = [_deleted(*keys), _deleted(*keys[1:]), _deleted(*keys[2:])]
    for bulk, singles in ((all_fail, 5), ([answer(200, b"<DeleteResult/>")], 8)):
        with Scripted(*bulk, denied) as server:
            api = open_obstore(server.endpoint_url)
            failures = api.delete_objects("bucket", keys, timeouts=T)
            assert [(one.key, one.code) for one in failures] == [(key, "AccessDenied") for key in keys]
            assert [one.method for one in server.requests] == ["POST"] * len(bulk) + ["DELETE"] * singles
            api.close()


def test_deletes_whose_answer_makes_obstore_panic(capfd: pytest.CaptureFixture[str]) -> None:
    """An answer that names a key nobody asked for ends in a panic inside obstore, and in good deletes all the same."""
    with Scripted(_deleted("stranger"), answer(204)) as server:
        api = open_obstore(server.endpoint_url)
        assert api.delete_objects("bucket", ["a", "b"], timeouts=T) == []
        assert [one.method for one in server.requests] == ["POST", "DELETE", "DELETE"]
        api.close()
    assert "panicked" in capfd.readouterr().err  # Rust says so by itself, past Python
