"""What is there already: decided by a complete look at it, and written over only while it is what was seen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, Existing, FileSource, ObjectHeaders
from s3engine.cli.app import run
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError, NotSupported, PreconditionFailed, ServerFault
from tests.faults import Fault, FaultProxy, Respond
from tests.helpers import S3Probe, point_at
from tests.integration.through import Made
from tests.servers import RcloneServer

PAGES = "tests.small_pages:SmallPages"
LONG_AGO_S = 1_000_000_000.0
MIB = 1024 * 1024
pytestmark = pytest.mark.usefixtures("few_attempts")


@pytest.fixture
def through_settings() -> dict[str, Any]:
    """Of the engines that ``through`` makes."""
    return {}


@pytest.fixture
def src(tmp_path: Path, bucket: str, probe: S3Probe) -> Path:
    """Files a (in the store with other bytes), b (in the store, as it is, and newer there), c (new)."""
    folder = tmp_path / "src"
    folder.mkdir()
    for name, body in (("a", b"longer a"), ("b", b"B"), ("c", b"new")):
        (folder / name).write_bytes(body)
    for name in "ab":
        probe.put(bucket, f"p/{name}", name.encode())
    os.utime(folder / "b", (LONG_AGO_S, LONG_AGO_S))
    os.utime(folder / "a", (4e9, 4e9))
    return folder


def stored(probe: S3Probe, bucket: str, prefix: str = "p/") -> dict[str, bytes]:
    return {key: probe.get(bucket, key) or b"" for key in probe.list_keys(bucket, prefix)}


@pytest.mark.parametrize(
    ("option", "skipped", "bodies"),
    [
        ("--no-clobber", {"p/a": "exists", "p/b": "exists"}, (b"a", b"b", b"new")),
        ("--if-size-differ", {"p/b": "same size"}, (b"longer a", b"b", b"new")),
        ("--if-source-newer", {"p/b": "not newer"}, (b"longer a", b"b", b"new")),
    ],
)  # fmt: skip
def test_uploads_leave_what_is_to_stay(
    option: str, skipped: dict[str, str], bodies: tuple[bytes, ...], src: Path, bucket: str, probe: S3Probe,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Each option writes what it says, --dry-run says the same before, and what stays has its own report."""
    before = stored(probe, bucket)
    assert run(["cp", str(src), f"s3://{bucket}/p/", option, "--dry-run", "--json"]) == 0
    plan = {line["target"]: line.get("skipped", "") for line in map(json.loads, capfd.readouterr().out.splitlines())}
    assert plan == {f"s3://{bucket}/p/{name}": skipped.get(f"p/{name}", "") for name in "abc"}
    assert stored(probe, bucket) == before
    assert run(["cp", str(src), f"s3://{bucket}/p/", option, "--json"]) == 0
    out, err = capfd.readouterr()
    told = {line["key"]: line["skipped"] for line in map(json.loads, out.splitlines())}
    assert told == {f"p/{name}": skipped.get(f"p/{name}", "") for name in "abc"}
    assert f", {len(skipped)} skipped" in err
    assert stored(probe, bucket) == {f"p/{name}": body for name, body in zip("abc", bodies, strict=True)}


def test_skipped_ones_are_shown(src: Path, bucket: str, probe: S3Probe, capfd: pytest.CaptureFixture[str]) -> None:
    """A line of output tells what was left out and why; a move keeps the source of what it leaves out."""
    assert run(["mv", str(src), f"s3://{bucket}/p/", "--no-clobber"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert f"skipped (exists): move {src}/a -> s3://{bucket}/p/a" in lines
    assert sorted(path.name for path in src.iterdir()) == ["a", "b"]


def test_downloads_look_at_files(bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """Files that are there are left or written over as the policy says."""
    for key, body in (("p/a", b"store"), ("p/b", b"store"), ("p/c", b"store")):
        probe.put(bucket, key, body)
    out = tmp_path / "out"
    for policy, kept in (("keep", ["a", "b"]), ("if-size-differs", ["a"]), ("if-source-newer", ["b"])):
        out.mkdir(exist_ok=True)
        (out / "a").write_bytes(b"local")
        (out / "b").write_bytes(b"local too")
        (out / "c").unlink(missing_ok=True)
        os.utime(out / "a", (LONG_AGO_S, LONG_AGO_S))
        with Engine() as engine:
            batch = engine.list(bucket, "p/").download(out, existing=policy)
            skipped = sorted(report.key[2:] for report in batch if report.skipped)
        assert skipped == kept, policy
        assert batch.summary().skipped == len(kept)
        assert sorted(path.name for path in out.iterdir() if path.read_bytes() == b"store") == [
            name for name in "abc" if name not in kept
        ]


def test_copies_look_at_the_target(bucket: str, probe: S3Probe) -> None:
    """Copies inside the store go by a listing of the target, also for plain keys, whose size is asked for."""
    for key, body in (("p/a", b"same"), ("p/b", b"other"), ("q/a", b"SAME"), ("q/b", b"x")):
        probe.put(bucket, key, body)
    with Engine() as engine:
        batch = engine.copy(
            bucket, ["p/a", "p/b"], bucket, key=lambda info: "q/" + info.key[2:],
            existing=Existing("if-size-differs", "q/"),
        )  # fmt: skip
        assert {report.key: report.skipped for report in batch} == {"p/a": "same size", "p/b": ""}
        wrong = engine.copy(bucket, ["p/a"], bucket, key=lambda info: "r", existing=Existing("keep", "q/"))
        assert [type(report.error) for report in wrong] == [ConfigError]
    assert stored(probe, bucket, "q/") == {"q/a": b"SAME", "q/b": b"other"}


@pytest.mark.parametrize("verb", ["upload", "copy"])
def test_nothing_is_done_when_the_target_cannot_be_listed(
    verb: str, seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A listing of the target that fails on its third page means that nothing at all is done, exit 1."""
    (tmp_path / "new").write_bytes(b"x")
    probe.put(bucket, "new", b"x")
    for n in range(40):
        probe.put(bucket, f"p/{n:02}", b"x")
    asked: set[bytes] = set()

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        line = head.split(b"\r\n", 1)[0]
        if b"list-type=2" in line and b"prefix=p%2F" in line:
            asked.add(line)
            return Respond(500) if len(asked) > 2 else None
        return None

    source = str(tmp_path) if verb == "upload" else f"s3://{bucket}/"
    extra = ["--transport", PAGES]
    with FaultProxy("127.0.0.1", seaweed.port, plan) as proxy:
        code = run(
            ["cp", source, f"s3://{bucket}/p/", "--if-size-differ", "--endpoint-url", proxy.endpoint_url, *extra]
        )
    out, err = capfd.readouterr()
    assert (code, out) == (1, "")
    assert "ListObjectsV2" in err
    assert probe.list_keys(bucket) == sorted([f"p/{n:02}" for n in range(40)] + ["new"])


def test_nothing_is_done_when_the_source_cannot_be_listed(made: Made, bucket: str, probe: S3Probe) -> None:
    """What is decided by comparison needs the whole source as well: a listing that fails means nothing is done."""
    for n in range(40):
        probe.put(bucket, f"p/{n:02}", b"x")

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        return Respond(500) if b"continuation-token" in head and b"prefix=p%2F" in head else None

    engine = made(plan, transport=PAGES)
    with pytest.raises(ServerFault):
        engine.list(bucket, "p/").copy(
            bucket, key=lambda info: "q/" + info.key, existing=Existing("if-size-differs", "q/")
        ).wait()
    assert probe.list_keys(bucket, "q/") == []


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_object_written_after_the_listing_survives(
    there: bool, large: bool, made: Made, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """An object that is made, or changed, between listing and upload is kept, and the report says so."""
    file = tmp_path / "f"
    file.write_bytes(b"x" * (6 * MIB if large else 100))
    if there:
        probe.put(bucket, "p/k", b"old")
    changed: list[bytes] = []

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        if head.startswith((b"PUT", b"POST")) and not changed:
            changed.append(head)
            probe.put(bucket, "p/k", b"by another")
        return None

    engine = made(plan, multipart_threshold_bytes=5 * MIB, part_size_bytes=5 * MIB)
    existing = Existing("if-size-differs", "p/")
    (report,) = engine.upload(bucket, [FileSource(str(file), "p/k")], existing=existing)
    assert type(report.error) is PreconditionFailed
    assert str(report.error) == "target 'p/k' {} after it was looked at; it was left as it is".format(
        "was changed or deleted" if there else "was made by somebody else"
    )
    assert probe.get(bucket, "p/k") == b"by another"
    assert probe.abort_uploads(bucket, "p/") == []


def test_copy_onto_what_was_written_since(made: Made, bucket: str, probe: S3Probe) -> None:
    """A copy does not replace an object that was made after the target was listed."""
    probe.put(bucket, "p/k", b"mine")
    changed: list[bytes] = []

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        if head.startswith(b"PUT") and not changed:
            changed.append(head)
            probe.put(bucket, "q/k", b"by another")
        return None

    engine = made(plan)
    (report,) = engine.list(bucket, "p/").copy(
        bucket, key=lambda info: "q/" + info.key[2:], existing=Existing("keep", "q/")
    )
    assert type(report.error) is PreconditionFailed
    assert "'q/k' was made by somebody else (or source 'p/k' was changed)" in str(report.error)
    assert probe.get(bucket, "q/k") == b"by another"


def test_single_object_is_asked_for(
    bucket: str, probe: S3Probe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """--no-clobber for one file asks for one key; two of the options together are refused."""
    (tmp_path / "f").write_bytes(b"x")
    target = f"s3://{bucket}/p/f"
    assert run(["cp", str(tmp_path / "f"), target, "--no-clobber"]) == 0
    (tmp_path / "f").write_bytes(b"y")
    assert run(["cp", str(tmp_path / "f"), target, "--no-clobber"]) == 0
    assert "skipped (exists)" in capfd.readouterr().out
    assert run(["cp", target, f"s3://{bucket}/p/g", "--if-source-newer"]) == 0
    assert run(["cp", str(tmp_path / "f"), target, "--no-clobber", "--if-size-differ"]) == 2
    assert stored(probe, bucket) == {"p/f": b"x", "p/g": b"x"}


def test_store_that_refuses_conditions(made: Made, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """Where the store answers 501 to a condition the object is written without it, small and large."""
    (tmp_path / "f").write_bytes(b"x" * 6 * MIB)

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        conditional = b"\r\nif-none-match:" in head.lower() or b"\r\nif-match:" in head.lower()
        return Respond(501) if conditional else None

    engine = made(plan, multipart_threshold_bytes=5 * MIB, part_size_bytes=5 * MIB)
    sources: list[Any] = [FileSource(str(tmp_path / "f"), "p/large"), *(BytesSource(b"s", f"p/{n}") for n in range(5))]
    assert engine.upload(bucket, sources, existing=Existing("keep", "p/")).wait().objects == 6
    (report,) = engine.copy(bucket, ["p/large"], bucket, key=lambda info: "q/copy", existing=Existing("keep", "q/"))
    assert report.ok
    assert len(stored(probe, bucket, "")) == 7


def test_conditions_of_the_caller_are_never_dropped(made: Made, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """Who gives If-None-Match himself gets NotSupported from a store that does not know it, small and large."""
    (tmp_path / "f").write_bytes(b"x" * 6 * MIB)
    asked: list[bytes] = []

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        if b"\r\nif-none-match: *\r\n" not in head.lower():
            return None
        asked.append(head.split(b" ", 1)[0])
        return Respond(501)

    engine = made(plan, multipart_threshold_bytes=5 * MIB, part_size_bytes=5 * MIB)
    own = ObjectHeaders(extra={"if-none-match": "*"})
    file = str(tmp_path / "f")
    for defaults, given in ((None, own), (own, None)):
        asked.clear()
        sources: list[Any] = [FileSource(file, "p/large", given), BytesSource(b"s", "p/small", given)]
        reports = list(engine.upload(bucket, sources, template=defaults))
        assert {type(report.error) for report in reports} == {NotSupported}
        assert sorted(asked) == [b"POST", b"PUT"]
    probe.put(bucket, "large", b"x" * 6 * MIB)
    (report,) = engine.copy(bucket, ["large"], bucket, key=lambda info: "p/copy", template=own)
    assert type(report.error) is NotSupported
    assert stored(probe, bucket, "p/") == {}


def test_store_that_takes_conditions_in_silence(rclone_server: RcloneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """rclone writes whatever the condition says: what was listed is skipped there all the same."""
    point_at(monkeypatch, rclone_server)
    with (
        S3Probe(rclone_server.endpoint_url, rclone_server.access_key, rclone_server.secret_key) as probe,
        Engine(endpoint_url=rclone_server.endpoint_url) as engine,
    ):
        probe.create_bucket("existing")
        probe.put("existing", "p/a", b"there")
        batch = engine.upload("existing", [BytesSource(b"1", "p/a"), BytesSource(b"2", "p/b")], existing="keep")
        skipped = {report.key: report.skipped for report in batch}
        found = stored(probe, "existing")
        probe.delete_all("existing")
    assert skipped == {"p/a": "exists", "p/b": ""}
    assert found == {"p/a": b"there", "p/b": b"2"}
