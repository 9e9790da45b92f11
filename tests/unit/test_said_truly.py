"""What a run says of sizes, lists and names is so."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from s3engine import Engine
from s3engine.cli.interrupts import interrupts
from s3engine.cli.named import tell_if_empty
from s3engine.cli.options import headers_from
from s3engine.disk import sink_error
from s3engine.errors import ConfigError, PreconditionFailed, SourceError, UnsafeKey
from s3engine.file_body import check_regular
from s3engine.journal import Journal
from s3engine.listing import ObjectListing
from s3engine.paths import safe_relative
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.sinks import PartSink, temporary_path
from s3engine.sources import files_recursive
from s3engine.transport import GetResult, HeadResult, ObjectInfo
from tests.tried_jobs import MIB, Bench, copy, download, outcome


def test_larger_than_listed_is_refused_whatever_its_size(tmp_path: Path) -> None:
    """An object of 20 MiB that a table calls 2 bytes fails before a range of it is fetched, and leaves no file."""

    def answer(task: Task) -> tuple[Any, ...]:
        assert task[2] == Kind.GET_FILE
        return outcome(task, error=NeedsParts("large", size_bytes=20 * MIB, etag="e", headers=()))

    bench = Bench(answer)
    (report,) = bench.run(download(bench, [ObjectInfo("k", 2)], tmp_path))
    assert type(report.error) is PreconditionFailed
    assert f"{20 * MIB} bytes came of an object that was listed with 2; it was written again" in str(report.error)
    assert not list(tmp_path.iterdir())


def test_large_object_of_a_size_that_nobody_told_is_fetched(tmp_path: Path) -> None:
    """A key without a size, or with the right one, goes on in ranges."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.GET_FILE:
            return outcome(task, error=NeedsParts("large", size_bytes=20 * MIB, etag="e", headers=()))
        return outcome(task)

    bench = Bench(answer)
    reports = bench.run(download(bench, ["k", ObjectInfo("l", 20 * MIB - 1, "e")], tmp_path, threshold_bytes=21 * MIB))
    assert [report.key for report in reports if type(report.error) is PreconditionFailed] == ["l"]
    assert bench.kinds()[Kind.GET_PART] > 0


@pytest.mark.parametrize(("number", "said"), [(0, True), (2, False)])
def test_an_interrupted_list_is_not_called_empty(
    number: int, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That a list names nothing is told only by a run that read it to its end."""
    monkeypatch.setattr(interrupts, "number", number)
    tell_if_empty(cast("Any", SimpleNamespace(rows=0, label="standard input")))
    assert ("no names in it" in capsys.readouterr().err) is said


def test_a_folder_that_is_named_is_called_a_folder(tmp_path: Path) -> None:
    """A folder in the place of a file that can be listed is not said to be one that cannot."""
    with pytest.raises(SourceError, match="it is a folder; name the files in it"):
        check_regular(str(tmp_path), os.stat(tmp_path))


def test_a_wrong_size_in_a_table_is_not_blamed_on_the_copy() -> None:
    """A copy that is larger than its row says: the row may be wrong, and nothing is said to be kept."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, size_bytes=0, detail=HeadResult(2, "other"))
        return outcome(task, size_bytes=1, etag="copied")

    bench = Bench(answer)
    (told,) = bench.run(copy(bench, [ObjectInfo("a", 1, "e")], verify=True))
    assert "has 2 bytes, its source was listed with 1: it was written again, or the table is wrong" in str(told.error)
    assert "kept" not in str(told.error)


def test_errors_of_ranges_name_the_target(tmp_path: Path) -> None:
    """What goes wrong with a range names the file that was wanted, not the temporary one."""
    target = str(tmp_path / "big")
    path = temporary_path(target, "x-0")
    for etag, size_bytes in (("e", 11), ("other", 10)):
        sink = PartSink(path, 0, 9, "e", 10, "", target)
        with pytest.raises(PreconditionFailed, match=r"written again|is now other") as caught:
            sink.begin(GetResult(10, etag, 0, size_bytes, "", "", "", 206, ()))
        assert repr(target) in str(caught.value)
        assert ".part" not in str(caught.value)
    assert path not in str(PartSink(path, 0, 9, "e", 10, "", target)._error(OSError(errno.EFBIG, "too large")))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: Journal(cast("Any", None)), "path of a journal"),
        (lambda: Journal("j").only_failed(cast("Any", 5)), "error must be text"),
        (lambda: files_recursive(cast("Any", None), "p"), "folder must be the path"),
        (lambda: files_recursive(".", cast("Any", None)), "prefix must be text"),
        (lambda: ObjectListing(cast("Any", None), cast("Any", None), "b", "").process(cast("Any", 5)), "process()"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(call: Callable[[], object], names: str) -> None:
    """They are a ConfigError that says which one."""
    with pytest.raises(ConfigError) as caught:
        call()
    assert names in str(caught.value)


@pytest.mark.parametrize("key", [".s3engine-aaaa-1.part", "a/.s3engine-aaaa-1.part", "a/.s3engine-.part/b"])
def test_names_of_temporary_files_are_no_names_of_objects(key: str) -> None:
    """No download comes out under a name that is only for what is not whole; names that are like it stay."""
    with pytest.raises(UnsafeKey, match="until they are whole") as caught:
        safe_relative(key)
    assert "s3engine cp s3://BUCKET/KEY NAME" in str(caught.value)
    for good in ("s3engine-a.part", ".s3engine-a", "a.s3engine-b.part"):
        assert safe_relative(good) == good


def test_the_way_out_exists_on_the_command_line(tmp_path: Path) -> None:
    """A name that the file system refuses is told with what to write, in a program and in a shell."""
    for number in (errno.ENAMETOOLONG, errno.EILSEQ):
        text = str(sink_error(str(tmp_path / "n"), OSError(number, "no")))
        assert "path=, or by itself: s3engine cp s3://BUCKET/KEY NAME" in text


@pytest.mark.parametrize("fold", [lambda name: name, str.casefold])
def test_the_second_of_two_with_one_path_is_told_how_to_be_had(tmp_path: Path, fold: Callable[[str], str]) -> None:
    """A path that comes twice is told with the command that fetches the second object."""
    bench = Bench(outcome)
    told = bench.run(download(bench, ["a", "a"], tmp_path, fold=lambda folder: fold))
    (error,) = [report.error for report in told if report.error is not None]
    assert "the first one stands; give it another name (path=, or by itself: s3engine cp s3://" in str(error)


def test_a_tag_given_twice_is_refused() -> None:
    """--tag a=b --tag a=c says two things: neither is taken in silence."""
    none = dict.fromkeys(("content_type", "cache_control", "storage_class", "acl", "sse", "sse_kms_key_id"))
    for option, name in (("--tag", "tag"), ("--metadata", "metadata")):
        values = {**none, "tag": (), "metadata": (), name: ("a=b", "a=c")}
        with pytest.raises(ConfigError, match=f"{option} gives 'a' twice: 'b' and 'c'"):
            headers_from(values)


@pytest.mark.usefixtures("no_settings")
def test_a_ca_bundle_that_is_not_there_is_told_over_http_too() -> None:
    """It is configuration that is wrong, whatever the endpoint of today."""
    with pytest.raises(ConfigError, match=r"CA bundle '/nowhere\.pem' does not exist"):
        Engine(endpoint_url="http://127.0.0.1:1", anonymous=True, ca_bundle="/nowhere.pem", workers=1)
