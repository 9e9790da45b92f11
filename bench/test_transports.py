"""The same calls through the seam with each transport: small and large put and get, a list page, 1000 deletes; and what
of a small put is left when nothing is sent.

``python -m pytest bench/test_transports.py --benchmark-json=run.json``, and two runs side by side with
``pytest-benchmark compare run.json other.json --group-by=group,param:transport``. One blocking call after another on
one connection, so what is compared is the CPU and the time of a call, not what the engine makes of it in parallel. The
server is the nginx sink; where nginx is not installed it is SeaweedFS, whose own time is then in the numbers
(``machine_info.server`` says which).
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from bench.harness import CREDENTIALS, LARGE_BYTES, LARGE_KEY, body
from bench.sink import Sink, SinkUnavailable, memory_folder
from bench.sink_config import DELETES_BUCKET, LARGE_BUCKET, OBJECTS_BUCKET, PAGE_BUCKET, PAGE_KEYS
from bench.test_small_objects import measure
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError
from s3engine.pool.load import BUILT_IN, dotted_name, open_transport
from s3engine.sinks import MemorySink
from s3engine.testing.witness import Witness
from s3engine.transport import FilePart, GetResult, Timeouts

KEY = "f000/000000.bin"
SMALL_BYTES = 1024
T = Timeouts(connect_s=5, stall_s=30, first_byte_s=60, attempt_s=120)


class Target(NamedTuple):
    """A server, and the buckets for what is done there."""

    settings: TransportSettings
    puts: str
    gets: str
    large: str
    page: str
    deletes: str


class Discard:
    """A sink that only counts."""

    received = 0

    def begin(self, info: GetResult) -> None:
        self.received = 0

    def write(self, data: memoryview) -> None:
        self.received += len(data)


@pytest.fixture(scope="module")
def target(remarks: list[str], objects: dict[str, bytes], environment: dict[str, str]) -> Iterator[Target]:
    """The sink, or SeaweedFS with the same objects."""
    try:
        with Sink(objects | {LARGE_KEY: body(LARGE_KEY, LARGE_BYTES)}) as sink:
            settings = TransportSettings(endpoint_url=sink.endpoint_url, credentials=Credentials(*CREDENTIALS))
            yield Target(settings, "bench", OBJECTS_BUCKET, LARGE_BUCKET, PAGE_BUCKET, DELETES_BUCKET)
            return
    except SinkUnavailable as error:
        reason = str(error)
    remarks.append(f"transports were measured against SeaweedFS: {reason}")
    with EmbeddedServer() as server:
        with Witness(server.endpoint_url, server.access_key, server.secret_key) as witness:
            for bucket in (OBJECTS_BUCKET, PAGE_BUCKET):
                witness.create_bucket(bucket)
            witness.put(OBJECTS_BUCKET, KEY, objects[KEY])
            witness.put(OBJECTS_BUCKET, LARGE_KEY, body(LARGE_KEY, LARGE_BYTES))
            for key in PAGE_KEYS:
                witness.put(PAGE_BUCKET, key, b"x" * SMALL_BYTES)
        signs = Credentials(server.access_key, server.secret_key)
        settings = TransportSettings(endpoint_url=server.endpoint_url, credentials=signs)
        yield Target(settings, OBJECTS_BUCKET, OBJECTS_BUCKET, OBJECTS_BUCKET, PAGE_BUCKET, OBJECTS_BUCKET)


@pytest.fixture(params=list(BUILT_IN))
def transport(request: pytest.FixtureRequest, target: Target) -> Iterator[tuple[str, Any]]:
    """Each transport in turn, opened; one whose package is missing is skipped with the command that installs it."""
    try:
        dotted = dotted_name(request.param)
    except ConfigError as error:
        pytest.skip(str(error))
    api = open_transport(dotted, target.settings)
    yield request.param, api
    api.close()


Run = Callable[..., int]


@pytest.fixture
def run(benchmark: Any, rows: list[dict[str, Any]], transport: tuple[str, Any]) -> Run:
    """Measure a call of this transport."""
    name, _ = transport

    def measured(group: str, call: Callable[[], Any], **how: Any) -> int:
        return measure(benchmark, rows, group, name, call, **how)

    return measured


# ---- what stands in for a connection: how to make the call, and the headers that it made last

ANSWER = {"ETag": '"0123456789abcdef0123456789abcdef"', "x-amz-request-id": "0", "Content-Length": "0"}
Unsent = tuple[Callable[[], Any], Callable[[], dict[str, str]]]


def _raw_unsent(api: Any, monkeypatch: pytest.MonkeyPatch, bucket: str, data: bytes) -> Unsent:
    lines = "".join(f"{name}: {value}\r\n" for name, value in ANSWER.items())
    answer = memoryview(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode())
    exchange: Any = None

    def call() -> Any:
        nonlocal exchange
        exchange = api.exchanges.put_object(bucket, KEY, data, ())
        exchange.feed(answer)
        return exchange.result()

    def headers() -> dict[str, str]:
        lines = exchange.head.decode().split("\r\n")[1:]
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    return call, headers


class _NoBody:
    def stream(self) -> Iterator[bytes]:
        return iter(())


def _boto3_unsent(api: Any, monkeypatch: pytest.MonkeyPatch, bucket: str, data: bytes) -> Unsent:
    from botocore.awsrequest import AWSResponse

    last: Any = None
    lines: Any = ANSWER  # its type is narrower than what it takes

    def send(request: Any, _: Any) -> Any:
        nonlocal last
        last = request
        return AWSResponse(request.url, 200, lines, _NoBody())

    def headers() -> dict[str, str]:
        text = {name: value.decode() if isinstance(value, bytes) else value for name, value in last.headers.items()}
        return {name.lower(): value for name, value in text.items()}

    monkeypatch.setattr(api._http, "send", send)
    return lambda: api.put_object(bucket, KEY, data, (), timeouts=T), headers


def _minio_unsent(api: Any, monkeypatch: pytest.MonkeyPatch, bucket: str, data: bytes) -> Unsent:
    from urllib3 import HTTPResponse

    last: Any = None

    def urlopen(*_: Any, **keywords: Any) -> Any:
        nonlocal last
        last = keywords["headers"]
        return HTTPResponse(b"", ANSWER, 200)

    def headers() -> dict[str, str]:
        return {name.lower(): value for name, value in last.items()}

    monkeypatch.setattr(api._asker._pools, "urlopen", urlopen)
    return lambda: api.put_object(bucket, KEY, data, (), timeouts=T), headers


_UNSENT: dict[str, Callable[..., Unsent]] = {"raw": _raw_unsent, "boto3": _boto3_unsent, "minio": _minio_unsent}


def test_put_small(transport: tuple[str, Any], target: Target, run: Run) -> None:
    """PutObject of 1 KiB from memory."""
    _, api = transport
    data = body(KEY, SMALL_BYTES)
    assert api.put_object(target.puts, KEY, data, (), timeouts=T).status == 200
    run("transport: put 1 KiB", lambda: api.put_object(target.puts, KEY, data, (), timeouts=T))


def test_signing(transport: tuple[str, Any], target: Target, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """PutObject of 1 KiB up to where it would be sent, with an answer that is there at once in place of a connection.

    What is in it: the request, its signature with the SHA-256 of the body, and the same empty 200 made a PutResult of.
    raw: ``exchanges.put_object``, and the exchange is fed the answer. boto3: ``put_object``, where its handler of
    ``before-send`` answers by itself; that is botocore's validation, serializer, signer and parser. minio:
    ``put_object``, where the pool manager under ``Minio._url_open`` answers. Deadlines are armed with the socket, so
    they are in none of them. obstore is left out: it signs where it sends, inside of Rust, and ``obstore.sign`` makes
    presigned URLs, which is another signature of something else.
    """
    name, api = transport
    if name not in _UNSENT:
        pytest.skip(f"{name} cannot be asked to sign without sending")
    data = body(KEY, SMALL_BYTES)
    call, last_headers = _UNSENT[name](api, monkeypatch, target.puts, data)
    assert (call().status, call().etag.strip('"')) == (200, ANSWER["ETag"].strip('"'))
    sent = last_headers()
    assert re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=\S+/s3/aws4_request, ?SignedHeaders=\S+, ?Signature=[0-9a-f]{64}",
        sent["authorization"],
    )
    assert sent["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()
    run("transport: build and sign 1 KiB", call)


def test_get_small(transport: tuple[str, Any], target: Target, objects: dict[str, bytes], run: Run) -> None:
    """GetObject of 1 KiB into memory."""
    _, api = transport

    def call() -> bytes:
        sink = MemorySink()
        api.get_object(target.gets, KEY, sink, timeouts=T)
        return sink.body()

    assert call() == objects[KEY]
    run("transport: get 1 KiB", call)


def test_list_page(transport: tuple[str, Any], target: Target, run: Run) -> None:
    """ListObjectsV2: a page of 1000 keys asked for and taken apart."""
    _, api = transport

    def call() -> Any:
        return api.list_objects_v2(target.page, "p/", timeouts=T)

    assert sorted(info.key for info in call().objects) == sorted(PAGE_KEYS)
    run("transport: list 1000", call, rounds=10, calls=10)


def test_delete_many(transport: tuple[str, Any], target: Target, run: Run) -> None:
    """DeleteObjects of 1000 keys."""
    name, api = transport
    if name == "obstore" and target.deletes == DELETES_BUCKET:
        pytest.skip("obstore wants every deleted key named in the answer; the sink names none, as for a quiet request")
    keys = list(PAGE_KEYS)

    def call() -> Any:
        return api.delete_objects(target.deletes, keys, timeouts=T)

    assert call() == []
    run("transport: delete 1000", call, rounds=10, calls=10)


def test_put_large(transport: tuple[str, Any], target: Target, run: Run) -> None:
    """PutObject of a file of 64 MiB in one request; not obstore on the sink, which has no uploads in parts."""
    name, api = transport
    if name == "obstore" and target.large == LARGE_BUCKET:
        pytest.skip("obstore sends a body of 64 MiB in parts, and the sink takes none")
    with tempfile.NamedTemporaryFile(prefix="s3engine-bench-", dir=memory_folder(LARGE_BYTES)) as file:
        file.write(body(LARGE_KEY, LARGE_BYTES))
        file.flush()
        part = FilePart(file.name, 0, LARGE_BYTES)

        def call() -> Any:
            return api.put_object(target.large, "put.bin", part, (), timeouts=T)

        assert call().status == 200
        run("transport: put 64 MiB", call, rounds=5, calls=1)


def test_get_large(transport: tuple[str, Any], target: Target, run: Run) -> None:
    """GetObject of 64 MiB; the bytes are counted and dropped."""
    _, api = transport
    kept = MemorySink()
    api.get_object(target.gets, LARGE_KEY, kept, timeouts=T)
    assert hashlib.sha256(kept.body()).digest() == hashlib.sha256(body(LARGE_KEY, LARGE_BYTES)).digest()
    sink = Discard()

    def call() -> int:
        api.get_object(target.gets, LARGE_KEY, sink, timeouts=T)
        return sink.received

    assert call() == LARGE_BYTES
    run("transport: get 64 MiB", call, rounds=5, calls=1)
