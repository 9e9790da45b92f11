"""What the engine refuses as input before a worker is started."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3engine.engine import Engine
from s3engine.errors import ConfigError
from s3engine.given import sound_objects, sound_sources
from s3engine.operations import ObjectHeaders
from s3engine.sources import BytesSource, FileSource, Rejected
from s3engine.transport import ObjectInfo

MEMORY: dict[str, Any] = {"endpoint_url": "http://memory", "transport": "s3engine.testing:MemoryTransport"}

CALLS: list[Callable[[Engine, Any], object]] = [
    lambda engine, text: engine.delete("bucket", text),
    lambda engine, text: engine.delete("bucket", text, max_delete=3),
    lambda engine, text: engine.download("bucket", text, "out"),
    lambda engine, text: engine.copy("bucket", text, "other", move=True),
    lambda engine, text: engine.upload("bucket", text),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("text", ["a/b", b"a/b"])
def test_one_text_is_no_list_of_its_letters(call: Callable[[Engine, Any], object], text: str | bytes) -> None:
    """A text is iterable; what was meant is one key and not ``a``, ``/`` and ``b``."""
    with Engine(endpoint_url="http://127.0.0.1:9", anonymous=True, workers=1) as engine:
        with pytest.raises(ConfigError, match=r"the one text b?'a/b'; give a list"):
            call(engine, text)
        assert engine.worker_pids == ()


WRONG: list[tuple[Callable[[Engine, Any], object], Any, str]] = [
    (lambda engine, wrong: engine.abort_uploads("bucket", "", older_than_s=wrong), float("nan"), "number of seconds"),
    (lambda engine, wrong: engine.abort_uploads("bucket", "", older_than_s=wrong), -1, "0 or more, not -1"),
    (lambda engine, wrong: engine.abort_uploads("bucket", "", older_than_s=wrong), "7d", "0 or more, not '7d'"),
    (lambda engine, wrong: engine.delete("bucket", [], unconditional=wrong), "no", "unconditional must be True"),
    (lambda engine, wrong: engine.upload("bucket", [], remove_sources=wrong), "no", "remove_sources must be True or"),
    (lambda engine, wrong: engine.download("bucket", [], "o", remove_objects=wrong), 1, "remove_objects must be True"),
    (lambda engine, wrong: engine.copy("bucket", [], "other", move=wrong), None, "move must be True or False"),
    (lambda engine, wrong: engine.list(wrong), 5, "5 is no bucket name"),
    (lambda engine, wrong: engine.list("bucket", wrong), Path("p"), "prefix must be text, not PosixPath"),
    (lambda engine, wrong: engine.uploads("bucket", wrong), None, "prefix must be text, not None"),
    (lambda engine, wrong: engine.head("bucket", wrong), "", "a key must be text of 1 to 1024 bytes, not ''"),
    (lambda engine, wrong: engine.head("bucket", wrong), "k" * 1025, "has 1025 bytes; S3 takes 1024"),
    (lambda engine, wrong: engine.delete("bucket", wrong), Path("key"), "must be keys from any iterable, not Pos"),
    (lambda engine, wrong: engine.delete(wrong, ["key"]), "a/b", "'a/b' is no bucket name"),
    (lambda engine, wrong: engine.delete("bucket", [], journal=wrong), 5, "journal must be a path or a Journal"),
    (lambda engine, wrong: engine.delete("bucket", [], progress=wrong), 5, "progress must be a function, not 5"),
    (lambda engine, wrong: engine.upload("bucket", wrong), None, "must be sources from any iterable, not None"),
    (lambda engine, wrong: engine.upload("bucket", [], template=wrong), {"acl": "private"}, "must be ObjectHeaders or"),
    (lambda engine, wrong: engine.copy("bucket", [], "other", key=wrong), "to/", "key must be a function, not 'to/'"),
    (lambda engine, wrong: engine.download("bucket", [], wrong), None, "folder must be the path of a folder"),
    (lambda engine, wrong: engine.download("bucket", [], "out", path=wrong), "to/", "path must be a function"),
    (lambda engine, wrong: engine.list("bucket").filter(wrong), "a*", "filter() takes a function of an ObjectInfo"),
    (lambda engine, wrong: engine.list("bucket").move_to_prefix(wrong), None, "new_prefix must be text, not None"),
    (lambda engine, wrong: engine.abort_upload("bucket", wrong), "id", "what uploads() gives, an UploadInfo, not 'id'"),
    (lambda engine, wrong: Engine(wrong), {"workers": 1}, "takes a Config, or settings by name, not {'workers': 1}"),
    (lambda engine, wrong: ObjectHeaders(metadata=wrong), None, "metadata must be texts by name, a dict, not None"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "wrong", "said"), WRONG)
def test_wrong_arguments_are_named_at_the_call(call: Callable[[Engine, Any], object], wrong: Any, said: str) -> None:
    """What cannot be an argument raises ConfigError at once, with its name and what would do."""
    with Engine(endpoint_url="http://127.0.0.1:9", anonymous=True, workers=1) as engine:
        with pytest.raises(ConfigError, match=re.escape(said)):
            call(engine, wrong)
        assert engine.worker_pids == ()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (1, "the input gave 1: give FileSource"), (None, "the input gave None"), ("ab", "the input gave 'ab'"),
        (("path",), "pairs of path and key"), (FileSource(None, "k"), "its path is neither"),  # type: ignore[arg-type]
        (BytesSource("text", "k"), "its data is str, not bytes"),  # type: ignore[arg-type]
        (FileSource("path", "k", {}), "its headers are no ObjectHeaders"),  # type: ignore[arg-type]
        (("path", Path("k")), "a key must be text"), (("path", ""), "a key must be text"),
    ],
)  # fmt: skip
def test_what_is_no_source_is_rejected_by_itself(item: Any, said: str) -> None:
    """An item that is no source takes its own place with an error that names it; those around it are as they were."""
    good: list[Any] = [FileSource("path", "a"), BytesSource(b"", "b"), ("path", "c"), FileSource(Path("x"), "d")]  # type: ignore[arg-type]
    found = list(sound_sources([*good, item, *good]))
    good[2] = FileSource("path", "c")
    assert found[:4] == found[5:] == good
    assert isinstance(found[4], Rejected)
    assert isinstance(found[4].error, ConfigError)
    assert said in str(found[4].error)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (1, "give a key as text"), (Path("k"), "str(path)"), (b"k", "give a key as text"), ("", "a key must be text"),
        ("k" * 1025, "has 1025 bytes"), ("\udcff", "is not Unicode"), (ObjectInfo("", 1), "its key is no text"),
        (ObjectInfo("k", None), "its size is no number"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_no_key_is_rejected_by_itself(item: Any, said: str) -> None:
    """An item that is no key takes its own place with an error that names it; those around it are as they were."""
    good: list[Any] = ["a", "é" * 512, ObjectInfo("b", -1), "nul\0"]
    found = list(sound_objects([*good, item, *good]))
    assert found[:4] == found[5:] == good
    assert isinstance(found[4], Rejected)
    assert isinstance(found[4].error, ConfigError)
    assert said in str(found[4].error)


@pytest.mark.parametrize("journaled", [False, True])
def test_wrong_items_cost_the_others_nothing(tmp_path: Path, journaled: bool) -> None:
    """Reports of wrong items name them, and all else is done."""
    journal = tmp_path / "j" if journaled else None
    with Engine(**MEMORY, workers=1, anonymous=True) as engine:
        sources = [BytesSource(b"x", "a"), None, 5, "ab", BytesSource(None, "n"), BytesSource(b"x", "b")]  # type: ignore[arg-type]
        reports = list(engine.upload("bbb", sources, journal=journal))  # type: ignore[arg-type]
        assert [report.error is None for report in sorted(reports)] == [True, False, False, False, False, True]
        errors = {report.key: type(report.error) for report in engine.delete("bbb", ["a", None, Path("b"), "b"])}  # type: ignore[list-item]
    assert errors == {"a": type(None), "b": type(None), "None": ConfigError, "PosixPath('b')": ConfigError}


@pytest.mark.parametrize("existing", [None, "keep"])
@pytest.mark.parametrize("wrong", [Path("x"), None, ["x"]])
def test_functions_that_give_no_text(wrong: Any, existing: str | None, tmp_path: Path) -> None:
    """An object whose path or key function gives no text fails alone, and its error says what came."""
    with Engine(**MEMORY, workers=1, anonymous=True) as engine:
        engine.upload("bbb", [BytesSource(b"x", "a"), BytesSource(b"x", "b")]).wait()

        def name(info: ObjectInfo) -> Any:
            return wrong if info.key == "a" else "new"

        batches = [
            engine.download("bbb", ["a", "b"], tmp_path, path=name, existing=existing),
            engine.copy("bbb", ["a", "b"], "bbb", key=name, existing=existing),
            engine.copy("bbb", ["a", "b"], "ccc", key=name, existing=existing),
        ]
        for batch in batches:
            errors = {report.key: report.error for report in batch}
            assert isinstance(errors["a"], ConfigError)
            assert f"not {wrong!r}" in str(errors["a"])
            assert errors["b"] is None


@pytest.mark.parametrize("operation", ["upload", "copy"])
def test_templates_that_give_no_headers(operation: str) -> None:
    """An object whose template returns something else fails, and its error says so."""
    wrong: Any = lambda source: {"acl": "private"}  # noqa: E731
    with Engine(**MEMORY, workers=1, anonymous=True) as engine:
        sources = [BytesSource(b"x", "a")]
        engine.upload("bbb", sources).wait()
        if operation == "upload":
            batch = engine.upload("bbb", sources, template=wrong)
        else:
            batch = engine.copy("bbb", ["a"], "bbb", key=lambda info: "new", template=wrong)
        errors = [report.error for report in batch]
        assert [type(error) for error in errors] == [ConfigError]
        assert "the template must return ObjectHeaders, not dict" in str(errors[0])
