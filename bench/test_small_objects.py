"""CPU and time of one small PUT or GET: blocking calls of each client, signing alone, and the engine in full flight.

``python -m pytest bench``. Each benchmark checks its answers before it measures, and afterwards that the sink saw
exactly the requests that were made, all answered well. CPU is of the whole client: all its threads, and for the
engine all its processes; it stands in ``extra_info`` as ``cpu_us_per_call``.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.harness import CREDENTIALS, body
from bench.sink import Sink, memory_folder
from bench.sink_config import ETAG, OBJECTS_BUCKET
from s3engine import BytesSource, Engine
from s3engine.compare.usage import cpu_of
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.sinks import MemorySink
from s3engine.transport import Timeouts
from s3engine_transports.raw.sigv4 import sha256_hex, sign
from s3engine_transports.raw.transport import RawTransport

BUCKET = "bench"
KEY = "f000/000000.bin"
ROUNDS = 20
CALLS = 250  # to a round
ENGINE_ROUNDS = 10
CLIENTS = ["raw", "boto3", "minio", "obstore"]

Put = Callable[[str, bytes], str]
Get = Callable[[str], bytes]


def transport(url: str) -> RawTransport:
    """The raw transport, signing as everybody does here."""
    return RawTransport(TransportSettings(endpoint_url=url, credentials=Credentials(*CREDENTIALS)))


def open_client(name: str, url: str) -> tuple[Put, Get, Callable[[], None]]:
    """Blocking put (key, body -> ETag), get (key -> body) and close of one client."""
    if name == "raw":
        raw, timeouts = transport(url), Timeouts()

        def raw_get(key: str) -> bytes:
            kept = MemorySink()
            raw.get_object(OBJECTS_BUCKET, key, kept, timeouts=timeouts)
            return kept.body()

        return lambda key, data: raw.put_object(BUCKET, key, data, (), timeouts=timeouts).etag, raw_get, raw.close
    if name == "boto3":
        boto3 = pytest.importorskip("boto3")
        config = pytest.importorskip("botocore.config").Config(s3={"addressing_style": "path"})
        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config)
        return (
            lambda key, data: str(s3.put_object(Bucket=BUCKET, Key=key, Body=data)["ETag"]),
            lambda key: bytes(s3.get_object(Bucket=OBJECTS_BUCKET, Key=key)["Body"].read()),
            s3.close,
        )
    if name == "minio":
        minio = pytest.importorskip("minio")
        pool = pytest.importorskip("urllib3").PoolManager()
        client = minio.Minio(
            urlsplit(url).netloc, access_key=CREDENTIALS[0], secret_key=CREDENTIALS[1], secure=False,
            region="us-east-1", http_client=pool,
        )  # fmt: skip

        def minio_get(key: str) -> bytes:
            response = client.get_object(OBJECTS_BUCKET, key)
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()

        return (
            lambda key, data: str(client.put_object(BUCKET, key, io.BytesIO(data), len(data)).etag),
            minio_get,
            pool.clear,
        )
    store = pytest.importorskip("obstore.store").S3Store
    given: dict[str, Any] = {"endpoint": url, "region": "us-east-1", "virtual_hosted_style_request": False}
    given["client_options"] = {"allow_http": True}
    writer, reader = store(BUCKET, **given), store(OBJECTS_BUCKET, **given)
    return (
        lambda key, data: str(writer.put(key, data)["e_tag"]), lambda key: bytes(reader.get(key).bytes()), lambda: None,
    )  # fmt: skip


def measure(
    benchmark: Any, rows: list[dict[str, Any]], group: str, client: str, call: Callable[[], Any], *,
    rounds: int = ROUNDS, calls: int = CALLS, objects_per_call: int = 1,
    cpu_s: Callable[[], float] = time.process_time,
) -> int:  # fmt: skip
    """Warm up, measure, note down; the number of calls made."""
    warm_up = 1 if objects_per_call > 1 else calls
    for _ in range(warm_up):
        call()
    benchmark.group = group
    before_s = cpu_s()
    benchmark.pedantic(call, rounds=rounds, iterations=calls)
    used_s = cpu_s() - before_s
    if benchmark.disabled:
        return warm_up + 1
    made = rounds * calls + (calls > 1)  # pytest-benchmark makes one more call for its result where it looped
    stats = benchmark.stats.stats
    cpu_us = used_s / made / objects_per_call * 1e6
    benchmark.extra_info["cpu_us_per_call"] = round(cpu_us, 2)
    benchmark.extra_info["objects_per_call"] = objects_per_call
    rows.append({
        "group": group, "client": client, "cpu_us": round(cpu_us, 2), "calls": made * objects_per_call,
        "median_us": round(stats.median / objects_per_call * 1e6, 2),
        "min_us": round(stats.min / objects_per_call * 1e6, 2),
        "max_us": round(stats.max / objects_per_call * 1e6, 2),
    })  # fmt: skip
    return warm_up + made


@pytest.mark.parametrize("client", CLIENTS)
def test_put(client: str, sink: Sink, benchmark: Any, rows: list[dict[str, Any]]) -> None:
    """One PutObject after another on one connection."""
    put, _, close = open_client(client, sink.endpoint_url)
    data = body(KEY, 1024)
    try:
        assert put(KEY, data).strip('"') == ETAG
        sink.requests()
        made = measure(benchmark, rows, "PUT, one at a time", client, lambda: put(KEY, data))
        seen = sink.requests()
    finally:
        close()
    assert len(seen) == made
    assert {(one.method, one.status, one.size_bytes) for one in seen} == {("PUT", 200, 1024)}


@pytest.mark.parametrize("client", CLIENTS)
def test_get(client: str, sink: Sink, objects: dict[str, bytes], benchmark: Any, rows: list[dict[str, Any]]) -> None:
    """One GetObject after another on one connection, body into memory."""
    _, get, close = open_client(client, sink.endpoint_url)
    try:
        assert get(KEY) == objects[KEY]
        sink.requests()
        made = measure(benchmark, rows, "GET, one at a time", client, lambda: get(KEY))
        seen = sink.requests()
    finally:
        close()
    assert len(seen) == made
    assert {(one.method, one.status) for one in seen} == {("GET", 200)}


def test_build_and_sign(sink: Sink, benchmark: Any, rows: list[dict[str, Any]]) -> None:
    """The raw transport makes a whole PUT, hash of the body and signature included, and sends nothing."""
    raw = transport(sink.endpoint_url)
    data = body(KEY, 1024)
    assert b"Signature=" in raw.exchanges.put_object(BUCKET, KEY, data, ()).head

    def call() -> Any:
        return raw.exchanges.put_object(BUCKET, KEY, data, ())

    measure(benchmark, rows, "sign a PUT", "raw: build and sign", call)


def test_sign(benchmark: Any, rows: list[dict[str, Any]]) -> None:
    """SigV4 alone: hash of the body and signature."""
    data, credentials = body(KEY, 1024), Credentials(*CREDENTIALS)

    def call() -> str:
        digest, date = sha256_hex(data), "20260102T030405Z"
        headers = [("host", "127.0.0.1:9000"), ("x-amz-content-sha256", digest), ("x-amz-date", date)]
        return sign("PUT", f"/{BUCKET}/{KEY}", "", headers, digest, date, credentials, "us-east-1").authorization

    assert "Signature=" in call()
    measure(benchmark, rows, "sign a PUT", "raw: sign", call)


def test_botocore_sign(benchmark: Any, rows: list[dict[str, Any]]) -> None:
    """botocore's signer for S3: its request object, hash of the body and signature, nothing else of botocore."""
    auth = pytest.importorskip("botocore.auth")
    request_class = pytest.importorskip("botocore.awsrequest").AWSRequest
    signer = auth.S3SigV4Auth(pytest.importorskip("botocore.credentials").Credentials(*CREDENTIALS), "s3", "us-east-1")
    data, url = body(KEY, 1024), f"http://127.0.0.1:9000/{BUCKET}/{KEY}"

    def call() -> Any:
        request = request_class("PUT", url, data=data)
        signer.add_auth(request)
        return request

    assert "Signature=" in call().headers["Authorization"]
    measure(benchmark, rows, "sign a PUT", "botocore: sign", call)


@pytest.fixture
def engine(sink: Sink) -> Iterator[Engine]:
    """An engine with its defaults, workers started."""
    with Engine(endpoint_url=sink.endpoint_url) as running:
        running.start()
        yield running


def engine_cpu_s(engine: Engine) -> float:
    """CPU of this process and the engine's workers, all threads of them, who are not waited for yet. Linux."""
    return time.process_time() + sum(map(cpu_of, engine.worker_pids))


def test_engine_put(
    engine: Engine, sink: Sink, objects: dict[str, bytes], benchmark: Any, rows: list[dict[str, Any]]
) -> None:
    """A batch of uploads from memory, its 256 connections open already; per object."""

    def call() -> None:
        summary = engine.upload(BUCKET, (BytesSource(data, key) for key, data in objects.items())).wait()
        assert (summary.objects, summary.failed, summary.retries) == (len(objects), 0, 0)

    sink.requests()
    made = measure(
        benchmark, rows, "engine, in flight", "PUT from memory", call, rounds=ENGINE_ROUNDS, calls=1,
        objects_per_call=len(objects), cpu_s=lambda: engine_cpu_s(engine),
    )  # fmt: skip
    seen = sink.requests()
    assert len(seen) == made * len(objects)
    assert {(one.method, one.status, one.size_bytes) for one in seen} == {("PUT", 200, 1024)}
    assert {one.path for one in seen} == {f"/{BUCKET}/{key}" for key in objects}


def test_engine_get(
    engine: Engine, sink: Sink, objects: dict[str, bytes], benchmark: Any, rows: list[dict[str, Any]]
) -> None:
    """A batch of downloads into files (in memory if there is room), each renamed when it is whole; per object."""
    with tempfile.TemporaryDirectory(prefix="s3engine-bench-", dir=memory_folder(64 * 1024 * 1024)) as folder:

        def call() -> None:
            summary = engine.download(OBJECTS_BUCKET, objects, folder).wait()
            assert (summary.objects, summary.failed, summary.retries) == (len(objects), 0, 0)

        sink.requests()
        made = measure(
            benchmark, rows, "engine, in flight", "GET into files", call, rounds=ENGINE_ROUNDS, calls=1,
            objects_per_call=len(objects), cpu_s=lambda: engine_cpu_s(engine),
        )  # fmt: skip
        seen = sink.requests()
        assert len(seen) == made * len(objects)
        assert {(one.method, one.status) for one in seen} == {("GET", 200)}
        for key, data in objects.items():
            assert Path(os.path.join(folder, key)).read_bytes() == data
