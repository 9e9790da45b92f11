"""What is special to the obstore transport; what all transports promise is in the conformance suite."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="the obstore transport needs the package obstore")

from s3engine import Engine
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.errors import (
    AttemptTimeout,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    FirstByteTimeout,
    InvalidRequest,
    NotS3,
    NotSupported,
    RequestError,
    ServerFault,
    SourceChanged,
    Throttled,
    WrongRegion,
)
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.scripted import Say, Scripted, answer, error_answer, list_answer, object_answer
from s3engine.transport import FilePart, Timeouts, Transport
from s3engine_transports.via_obstore import ObstoreTransport, downloads
from s3engine_transports.via_obstore.paths import is_exact
from s3engine_transports.via_obstore.stores import round_up
from s3engine_transports.via_obstore.uploads import Room
from tests.faults import Drip, FaultProxy, always
from tests.helpers import S3Probe, eventually
from tests.integration.test_raw_ministack import ODD_KEYS
from tests.servers import Ministack, RcloneServer

T = Timeouts(connect_s=5, stall_s=15, first_byte_s=20, attempt_s=60)
MIB = 1024 * 1024
BUCKET = "via-obstore"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the machine that runs the tests are nobody's business here."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def _open(endpoint_url: str, server: Any = None, **changes: Any) -> ObstoreTransport:
    credentials = Credentials(server.access_key, server.secret_key) if server else Credentials("AKID", "secret")
    return ObstoreTransport(TransportSettings(**{"endpoint_url": endpoint_url, "credentials": credentials, **changes}))


@pytest.fixture
def api(seaweed: EmbeddedServer) -> Iterator[ObstoreTransport]:
    transport = _open(seaweed.endpoint_url, seaweed)
    yield transport
    transport.close()


@pytest.fixture
def exact(ministack: Ministack) -> Iterator[tuple[ObstoreTransport, S3Probe]]:
    """The transport and a probe on the store that keeps all keys, with an empty bucket BUCKET."""
    transport = _open(ministack.endpoint_url, ministack)
    with S3Probe(ministack.endpoint_url, ministack.access_key, ministack.secret_key) as probe:
        probe.create_bucket(BUCKET)
        yield transport, probe
        transport.close()
        probe.delete_all(BUCKET)


def _get(api: ObstoreTransport, bucket: str, key: str, **keywords: Any) -> bytes:
    sink = MemorySink()
    api.get_object(bucket, key, sink, timeouts=T, **keywords)
    return sink.body()


def _list(api: ObstoreTransport, bucket: str, prefix: str = "", max_keys: int = 1000, **keywords: Any) -> list[str]:
    keys: list[str] = []
    token = ""
    while True:
        page = api.list_objects_v2(bucket, prefix, continuation_token=token, max_keys=max_keys, timeouts=T, **keywords)
        assert len(page.objects) + len(page.prefixes) <= max_keys
        keys += [info.key for info in page.objects] + page.prefixes
        token = page.next_token
        if not token:
            return keys


# ---- keys and listings


def test_keys_arrive_exactly_or_not_at_all(exact: tuple[ObstoreTransport, S3Probe], ministack: Ministack) -> None:
    """Each odd key is stored, read and listed as itself, or refused by every call before anything is sent."""
    _, probe = exact
    refused = []
    with FaultProxy("127.0.0.1", ministack.port) as proxy:
        transport: Transport = _open(proxy.endpoint_url, ministack)
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
            assert sorted(_list(api, BUCKET)) == sorted([key, *others])
        else:
            with pytest.raises(InvalidRequest, match="obstore"):
                _list(api, BUCKET)
    api.head_bucket(BUCKET, timeouts=T)


def test_markers_of_folders(exact: tuple[ObstoreTransport, S3Probe]) -> None:
    """Keys that end in "/" are listed as they are, by prefix and delimiter too; two that look alike are refused."""
    api, probe = exact
    keys = ["0/", "a", "a/b", "empty/", "folder/", "folder/x", "folder/y/", "folder/y/z", "zero"]
    for key in keys:
        probe.put(BUCKET, key, b"" if key.endswith("/") or key == "zero" else b"x")
    assert _list(api, BUCKET) == keys
    assert _list(api, BUCKET, max_keys=1) == keys
    assert _list(api, BUCKET, "folder/") == keys[4:8]
    assert _list(api, BUCKET, "fol") == keys[4:8]
    assert _list(api, BUCKET, "folder/", delimiter="/") == ["folder/", "folder/x", "folder/y/"]
    assert sorted(_list(api, BUCKET, delimiter="/", max_keys=2)) == ["0/", "a", "a/", "empty/", "folder/", "zero"]
    assert _list(api, BUCKET, start_after="folder/") == keys[5:]
    probe.put(BUCKET, "folder", b"x")
    with pytest.raises(InvalidRequest, match=r"both 'folder' and 'folder/'"):
        _list(api, BUCKET)


def test_pages_where_a_key_is_also_a_folder(api: ObstoreTransport, bucket: str, probe: S3Probe) -> None:
    """Pages of any size hold every key once, though SeaweedFS cannot go on behind a key that is also a folder."""
    keys = ["p/0", "p/1", "p/1/z", "p/1-x", "p/2", "p/2/a/b", "q", "q/r", "q/r/s", "q/r/s/t", "é"]
    for key in keys:
        probe.put(bucket, key, b"x")
    whole = probe.list_keys(bucket)
    for size in (1, 2, 3, 7):
        assert _list(api, bucket, max_keys=size) == whole
    assert sorted(_list(api, bucket, "p/1", max_keys=2)) == ["p/1", "p/1-x", "p/1/z"]
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
        api = _open(server.endpoint_url)
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
            api = _open(server.endpoint_url)
            with pytest.raises(kind):
                api.list_objects_v2("bucket", "p/", timeouts=T)
            with pytest.raises(kind):
                api.list_objects_v2("bucket", delimiter="/", timeouts=T)
            with pytest.raises(kind):
                api.head_bucket("bucket", timeouts=T)
            api.close()
    with Scripted(error_answer(200, "InternalError"), list_answer("p/k")) as server:
        api = _open(server.endpoint_url)
        with pytest.raises(ServerFault, match="has some"):
            api.list_objects_v2("bucket", "p/", timeouts=T)
        api.close()


# ---- deletes


def _deleted(*failed: str) -> Say:
    errors = "".join(f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>no</Message></Error>" for key in failed)
    return answer(200, f"<DeleteResult><Deleted><Key>0</Key></Deleted>{errors}</DeleteResult>".encode())


def test_deletes_of_which_some_fail() -> None:
    """Each key that was not deleted is returned, by few requests: one more for each failure among good ones."""
    keys = [str(number) for number in range(10)]
    with Scripted(_deleted("3", "7"), _deleted("7"), _deleted()) as server:
        api = _open(server.endpoint_url)
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
            api = _open(server.endpoint_url)
            failures = api.delete_objects("bucket", keys, timeouts=T)
            assert [(one.key, one.code) for one in failures] == [(key, "AccessDenied") for key in keys]
            assert [one.method for one in server.requests] == ["POST"] * len(bulk) + ["DELETE"] * singles
            api.close()


def test_deletes_whose_answer_makes_obstore_panic(capfd: pytest.CaptureFixture[str]) -> None:
    """An answer that names a key nobody asked for ends in a panic inside obstore, and in good deletes all the same."""
    with Scripted(_deleted("stranger"), answer(204)) as server:
        api = _open(server.endpoint_url)
        assert api.delete_objects("bucket", ["a", "b"], timeouts=T) == []
        assert [one.method for one in server.requests] == ["POST", "DELETE", "DELETE"]
        api.close()
    assert "panicked" in capfd.readouterr().err  # Rust says so by itself, past Python


# ---- bodies


def test_headers(api: ObstoreTransport, bucket: str, probe: S3Probe) -> None:
    """Headers become what obstore calls attributes, tags and modes; one it has no name for is refused, unsent."""
    headers = (
        ("content-type", "text/x-odd"), ("content-encoding", "gzip"), ("x-amz-storage-class", "STANDARD"),
        ("x-amz-meta-name", "a  b"), ("x-amz-tagging", "a%20b=c%26d&e="), ("if-none-match", "*"),
    )  # fmt: skip
    etag = api.put_object(bucket, "k", b"body", headers, timeouts=T).etag
    seen = probe.head(bucket, "k") or {}
    assert {name: seen.get(name) for name, _ in headers[:4]} == dict(headers[:4])
    tags = probe.request("GET", f"/{bucket}/k", "tagging=").body
    assert b"<Key>a b</Key><Value>c&amp;d</Value>" in tags
    found = dict(api.head_object(bucket, "k", timeouts=T).headers)
    assert (found["x-amz-meta-name"], found["content-encoding"]) == ("a  b", "gzip")
    api.put_object(bucket, "k", b"other", (("if-match", f'"{etag}"'),), timeouts=T)
    for name in ("x-amz-acl", "x-amz-server-side-encryption", "expires", "x-amz-meta-content-type"):
        with pytest.raises(NotSupported, match=name):
            api.put_object(bucket, "refused", b"", ((name, "x"),), timeouts=T)
    with pytest.raises(ConfigError, match="line break"):
        api.put_object(bucket, "refused", b"", (("x-amz-meta-a", "b\r\nc"),), timeouts=T)
    with pytest.raises(NotSupported, match="copy takes no headers"):
        api.copy_object(bucket, "k", bucket, "l", headers, timeouts=T)
    assert probe.list_keys(bucket) == ["k"]


def test_large_files_go_in_parts(api: ObstoreTransport, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A large part of a file is sent whole; one that shrinks or was written to stores nothing and leaves no parts."""
    data = os.urandom(20 * MIB)
    path = tmp_path / "f"
    path.write_bytes(data)
    status = path.stat()
    part = FilePart(str(path), 3, 18 * MIB, status.st_mtime_ns, len(data))
    assert api.put_object(bucket, "f", part, (("x-amz-meta-a", "b"),), timeouts=T).etag.endswith("-3")
    assert probe.get(bucket, "f") == data[3 : 3 + 18 * MIB]
    assert (probe.head(bucket, "f") or {})["x-amz-meta-a"] == "b"
    for wrong in (part._replace(mtime_ns=status.st_mtime_ns - 1), part._replace(offset=4 * MIB, file_bytes=-1)):
        with pytest.raises(SourceChanged):
            api.put_object(bucket, "g", wrong, (), timeouts=T)
    assert probe.get(bucket, "g") is None
    assert b"<UploadId>" not in probe.request("GET", f"/{bucket}", "uploads=").body
    with pytest.raises(NotSupported, match="condition"):
        api.put_object(bucket, "g", part._replace(length=65 * MIB), (("if-none-match", "*"),), timeouts=T)


def test_bodies_wait_for_room() -> None:
    """Bodies on their way hold no more memory than there is; what is larger than that goes alone."""
    room = Room(10 * MIB)
    inside: list[int] = []
    most = []

    def work() -> None:
        with room.take(4 * MIB):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (max(most), len(most)) == (2, 8)
    with room.take(99 * MIB), room.take(1):
        assert room._free == 0


def test_ranges_of_a_store_that_answers_200(rclone_server: RcloneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Obstore takes no 200 to a range: the object is read up to it, unless that is too far, which is NotSupported."""
    server = rclone_server
    api = _open(server.endpoint_url, server)
    with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
        probe.create_bucket(BUCKET)
        data = os.urandom(600_000)
        probe.put(BUCKET, "r", data)
        assert _get(api, BUCKET, "r", first=300_000, last=300_009) == data[300_000:300_010]
        assert _get(api, BUCKET, "r", first=599_990) == data[-10:]
        monkeypatch.setattr(downloads, "_SKIPPED_BYTES", 1000)
        with pytest.raises(NotSupported, match="answers 200 to a range"):
            _get(api, BUCKET, "r", first=1001)
        assert _get(api, BUCKET, "r") == data
        probe.delete_all(BUCKET)
    api.close()


def test_connections_are_used_again(seaweed: EmbeddedServer, bucket: str) -> None:
    """Reads of any size, whole or in ranges, and uploads keep to few connections."""
    with FaultProxy("127.0.0.1", seaweed.port) as proxy:
        api = _open(proxy.endpoint_url, seaweed)
        for size in (0, 1, 256 * 1024, 300_000, MIB):
            api.put_object(bucket, "k", bytes(size), (), timeouts=T)
            assert len(_get(api, bucket, "k")) == size
            assert not size or len(_get(api, bucket, "k", first=0, last=262_143)) == min(size, 262_144)
            api.head_object(bucket, "k", timeouts=T)
        # Two at least, one for uploads. A call that comes at once may be ahead of the connection's way into the pool.
        # An empty object is asked for twice.
        assert (proxy.log.requests, proxy.log.connections < 10) == (20, True)
        api.close()


# ---- timers, settings, processes


def test_timers() -> None:
    """What is not answered ends by the read timer, an upload by that of the attempt; rounding is by a third at most."""
    assert [round_up(value) for value in (0.6, 1.0, 1.3, 3.1, 30.0, 61.0, 95.0)] == pytest.approx(
        [0.6, 1.0, 1.5, 3.1, 31.0, 80.0, 100.0]
    )
    with Scripted(Say(then="hang")) as server:
        api = _open(server.endpoint_url)
        began = time.monotonic()
        with pytest.raises(FirstByteTimeout):
            api.head_object("bucket", "k", timeouts=Timeouts(0.2, 0.3, 0.3, 30.0))
        with pytest.raises(AttemptTimeout):
            api.put_object("bucket", "k", bytes(17 * MIB), (), timeouts=Timeouts(5.0, 5.0, 5.0, 1.0))
        assert time.monotonic() - began < 8
        api.close()


def test_close_ends_what_would_hang() -> None:
    """An upload in parts that is under way ends when the transport is closed; so do all calls after it."""
    with Scripted(Say(then="hang")) as server:
        api = _open(server.endpoint_url)

        def close() -> None:
            eventually(lambda: len(server.requests) > 0)
            api.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(ConnectFailed, match="closed"):
            api.put_object("bucket", "k", bytes(17 * MIB), (), timeouts=T)
        closer.join(10)
        with pytest.raises(ConnectFailed, match="closed"):
            api.head_object("bucket", "k", timeouts=T)


def test_a_slow_upload_lives(seaweed: EmbeddedServer, bucket: str, probe: S3Probe) -> None:
    """An upload that moves is not ended by the stall and first-byte timers, which obstore cannot keep for it."""
    with FaultProxy("127.0.0.1", seaweed.port, always(Drip(200_000, "up"))) as proxy:
        api = _open(proxy.endpoint_url, seaweed)
        api.put_object(bucket, "slow", bytes(400_000), (), timeouts=Timeouts(0.2, 0.3, 0.3, 30.0))
        api.close()
    assert probe.get(bucket, "slow") == bytes(400_000)


def test_the_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_* variables, which obstore reads by itself, change nothing; those that it cannot be kept from are refused."""
    for name, value in (
        ("ACCESS_KEY_ID", "EVIL"), ("SECRET_ACCESS_KEY", "evil"), ("SESSION_TOKEN", "evil"), ("TOKEN", "evil"),
        ("ENDPOINT", "http://127.0.0.1:1"), ("ENDPOINT_URL", "http://127.0.0.1:1"), ("REGION", "evil"),
        ("ENDPOINT_URL_S3", "http://127.0.0.1:1"), ("SKIP_SIGNATURE", "true"), ("S3_EXPRESS", "true"),
        ("REQUEST_PAYER", "requester"), ("VIRTUAL_HOSTED_STYLE_REQUEST", "true"), ("UNSIGNED_PAYLOAD", "true"),
        ("CONDITIONAL_PUT", "disabled"), ("DISABLE_TAGGING", "true"), ("PROXY_URL", "http://127.0.0.1:1"),
        ("DEFAULT_CONTENT_TYPE", "evil/evil"), ("USER_AGENT", "evil"), ("BUCKET", "evil"), ("TIMEOUT", "1ms"),
        ("ROLE_ARN", "evil"), ("WEB_IDENTITY_TOKEN_FILE", "/evil"), ("PROFILE", "evil"),
    ):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    with Scripted(object_answer(b"")) as server:
        api = _open(server.endpoint_url, user_agent="mine/1")
        api.put_object("bucket", "k", b"x", (("x-amz-tagging", "a=b"), ("if-none-match", "*")), timeouts=T)
        sent = server.requests[0]
        assert "evil" not in str(sent).lower()
        assert sent.target == "/bucket/k"
        assert sent.headers["user-agent"] == "mine/1"
        assert "/us-east-1/s3/" in sent.headers["authorization"]
        assert sent.headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"
        assert "x-amz-tagging" in sent.headers
        api.set_region("bucket", "eu-west-3")
        api.head_object("bucket", "k", timeouts=T)
        assert "/eu-west-3/s3/" in server.requests[1].headers["authorization"]
        monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "AES256")
        with pytest.raises(ConfigError, match="AWS_SERVER_SIDE_ENCRYPTION"):
            api.head_object("another", "k", timeouts=T)
        api.close()


def test_addresses_and_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual addressing has the bucket in the host, also on Amazon; proxies of the environment are used."""
    with Scripted(object_answer(b"body")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint_url)
        monkeypatch.setenv("https_proxy", proxy.endpoint_url)
        for style, target in (
            ("virtual", "http://bucket.s3.example:81/base/k"), ("path", "http://s3.example:81/base/bucket/k"),
        ):  # fmt: skip
            api = _open("http://s3.example:81/base", addressing_style=style)
            assert _get(api, "bucket", "k") == b"body"
            assert proxy.requests[-1].target == target
            api.close()
        api = _open("", region="cn-north-1")
        with pytest.raises(RequestError):
            api.head_object("bucket", "k", timeouts=T._replace(connect_s=0.5))
        assert proxy.requests[-1].target == "bucket.s3.cn-north-1.amazonaws.com.cn:443"
        api.close()


def test_redirects_lead_to_no_other_host() -> None:
    """A redirect to another host is WrongRegion; obstore alone would go there, with the session token."""
    with Scripted(object_answer(b"theirs")) as other:
        there = f"http://localhost:{other.port}/bucket/k"
        with Scripted(error_answer(307, "TemporaryRedirect", ("Location", there))) as server:
            api = _open(server.endpoint_url, credentials=Credentials("AKID", "secret", "token"))
            for call in (
                lambda: _get(api, "bucket", "k"), lambda: api.list_objects_v2("bucket", timeouts=T),
                lambda: api.put_object("bucket", "k", b"", (), timeouts=T),
            ):  # fmt: skip
                with pytest.raises(WrongRegion):
                    call()
            api.close()
        assert other.requests == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, with its key, that is no CA: rustls takes no CA for a server."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", str(path), "-out", str(path) + ".crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    with path.open("ab") as file:
        file.write(Path(str(path) + ".crt").read_bytes())
    return path


def test_tls(certificate: Path, tmp_path: Path) -> None:
    """With the CA given, as a file or in a folder, or unverified, TLS works; else ConnectFailed says it for good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
                    tls.recv(65536)
                    tls.sendall(object_answer(b"body").data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    folder = tmp_path / "cas"
    folder.mkdir()
    (folder / "own.crt").write_bytes(Path(str(certificate) + ".crt").read_bytes())
    (folder / "README").write_text("no certificate")
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    for good in ({"ca_bundle": str(certificate) + ".crt"}, {"ca_bundle": str(folder)}, {"verify_tls": False}):
        api = _open(url, **good)
        assert _get(api, "bucket", "k") == b"body"
        api.close()
    api = _open(url)
    with pytest.raises(ConnectFailed, match="not trusted") as caught:
        _get(api, "bucket", "k")
    assert caught.value.permanent
    api.close()
    with pytest.raises(ConfigError, match="does not exist"):
        _open(url, ca_bundle=str(tmp_path / "none"))
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


_FORKING = """
import os, sys
sys.path[:] = {path!r}
from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, NotSupported
from s3engine.transport import Timeouts
from s3engine_transports.via_obstore import ObstoreTransport
settings = TransportSettings(endpoint_url={url!r})
ours = ObstoreTransport(settings)
ours.put_object("bucket", "k", b"", (), timeouts=Timeouts())
if os.fork() == 0:
    try:
        ours.put_object("bucket", "k", b"", (), timeouts=Timeouts())
    except NotSupported:
        try:
            ObstoreTransport(settings)
        except ConfigError as error:
            os._exit(7 if "forkserver" in str(error) else 1)
    os._exit(1)
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_forked_process_is_told() -> None:
    """In a child of a process that has it in use every call says why it cannot work, where obstore alone would hang."""
    with Scripted(object_answer(b"")) as server:
        script = _FORKING.format(path=sys.path, url=server.endpoint_url)
        done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, capture_output=True)
    assert done.returncode == 7, done.stderr.decode()


def test_under_the_engine(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads, listing, downloads, copies and deletes by worker processes; what cannot be done is refused by name."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)
    bodies = {f"p/{number:02}": os.urandom(number * 100) for number in range(40)} | {"p/large": os.urandom(20 * MIB)}
    for key, body in bodies.items():
        (tmp_path / key.replace("/", "-")).write_bytes(body)
    sources = [(str(tmp_path / key.replace("/", "-")), key) for key in bodies]
    sources.append((sources[0][0], "p//odd"))
    with Engine(transport="obstore", endpoint_url=seaweed.endpoint_url, workers=2, concurrency=16) as engine:
        uploaded = {report.key: report for report in engine.upload(bucket, sources)}
        assert {key for key, report in uploaded.items() if report.error} == {"p//odd"}
        assert isinstance(uploaded["p//odd"].error, InvalidRequest)
        listed = list(engine.list(bucket, "p/"))
        assert {info.key: info.size_bytes for info in listed} == {key: len(body) for key, body in bodies.items()}
        folder = tmp_path / "down"
        folder.mkdir()
        assert all(report.ok for report in engine.list(bucket, "p/").download(folder))
        assert {f"p/{path.name}": path.read_bytes() for path in folder.iterdir()} == bodies
        assert all(report.ok for report in engine.copy(bucket, listed, bucket, key=lambda info: "q" + info.key[1:]))
        assert probe.get(bucket, "q/large") == bodies["p/large"]
        with pytest.raises(ConfigError, match=r"from one bucket to another.*transport='raw'"):
            engine.copy(bucket, listed, f"{bucket}-other")
        deleted = list(engine.delete(bucket, [*bodies, "p//odd", "p/none"]))
        assert [(report.key, report.attempts) for report in deleted if not report.ok] == [("p//odd", 1)]
        assert sorted(probe.list_keys(bucket)) == sorted("q" + key[1:] for key in bodies)
