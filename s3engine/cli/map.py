"""``map``."""

from __future__ import annotations

import base64
import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

import click

from s3engine.cli.options import (
    config_from,
    engine_options,
    filter_options,
    name_filter,
    output_from,
    output_options,
)
from s3engine.cli.route import folder_prefix
from s3engine.cli.sections import Verb
from s3engine.cli.show import Show
from s3engine.cli.text import glob_hint, write
from s3engine.errors import ConfigError, FunctionRaised
from s3engine.uri import S3Uri

if TYPE_CHECKING:
    from s3engine.batch import Batch
    from s3engine.engine import Engine
    from s3engine.mapped import MappedBatch
    from s3engine.report import RequestReport
    from s3engine.transport import ObjectInfo

__all__ = ["map_command"]


@click.command("map", cls=Verb, short_help="Run your own Python, or a program, on all objects below a prefix.")
@click.argument("arguments", nargs=-1, metavar="[MODULE:FUNCTION] URI")
@click.option("--exec", "program", metavar="COMMAND", help="A program instead: body to stdin, result from stdout.")
@click.option("--output", metavar="DST", help="Store what comes of each object below s3://bucket/prefix/, or a folder.")
@click.option("--results", metavar="FILE", help="Write results there, a line of JSON for each; else to stdout.")
@click.option("--timeout", type=float, metavar="S", help="Seconds for each object, without waiting for the network.")
@click.option("-r", "--recursive", is_flag=True, help="URI is all below s3://bucket/prefix/.")
@filter_options
@output_options
@engine_options
def map_command(arguments: tuple[str, ...], program: str | None, **values: Any) -> int:
    """Call a function on each object below a prefix, in one process per core: "map words:count s3://b/logs/".

    MODULE:FUNCTION is found from here (words.py, or a package that is installed), FILE.py:FUNCTION is a file. The
    function gets the object (body, key, chunks() ...). What it returns is a line of JSON, or with --output the body of
    an object of the same name. "map --exec 'jq .x' s3://b/p/" runs a program for each object. An object whose function
    fails, crashes or takes too long is an error of its own; the others go on.
    """
    wanted_count = 1 if program is not None else 2
    if len(arguments) != wanted_count:
        what = "with --exec a URI alone" if program is not None else "MODULE:FUNCTION and a URI (or --exec and a URI)"
        raise click.UsageError(f"map takes {what}")
    where = S3Uri.parse(arguments[-1])
    if values["output"] is not None and values["results"] is not None:
        raise click.UsageError("--output stores what comes of the objects, and leaves nothing for --results")
    from s3engine.functions.program import Program  # lazy: with what it needs

    whole = values["output"] is None
    function: Callable[..., Any] = _function(arguments[0]) if program is None else Program(program, whole=whole)
    config = config_from(values)
    # A name that is neither a folder nor has -r is one object.
    prefix = folder_prefix(where, values["recursive"])
    wanted = name_filter(values["include"], values["exclude"])

    from s3engine.engine import Engine

    with Engine(config) as engine:
        objects: Any = [where.key]
        if prefix is not None:
            objects = engine.list(where.bucket, prefix)
            if wanted is not None:
                objects = objects.filter(lambda info: wanted(info.key[len(prefix) :]))
        if values["output"] is not None:
            return _stored(engine, where, objects, prefix, function, values)
        return _told(engine, where, objects, prefix, function, values)


def _function(name: str) -> Callable[..., Any]:
    """What is named. Raises ConfigError."""
    module_name, colon, attribute = name.rpartition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f"{name!r} is no function: write MODULE:FUNCTION, or FILE.py:FUNCTION")
    try:
        if module_name.endswith(".py"):
            found: Any = _module_of_file(module_name)
        else:
            sys.path.insert(0, os.getcwd())
            found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ConfigError(f"cannot load {name!r}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{name!r} is {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]  # it can be called


def _module_of_file(path: str) -> Any:
    import cloudpickle

    spec = importlib.util.spec_from_file_location(os.path.basename(path).removesuffix(".py"), path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)  # no other process finds it by its name
    return module


def _nothing(where: S3Uri, prefix: str | None) -> str:
    hint = glob_hint(where.bucket, where.key)
    return "" if prefix is None else f"nothing below s3://{where.bucket}/{prefix}{f'; {hint}' if hint else ''}"


# ---- what comes of it is stored


def _stored(
    engine: Engine, where: S3Uri, objects: Any, prefix: str | None, function: Any, values: dict[str, Any]
) -> int:
    from s3engine.functions.transform import Transform

    transform = Transform(function, timeout_s=values["timeout"])
    output: str = values["output"]
    cut = len(prefix) if prefix is not None else where.key.rfind("/") + 1
    batch: Batch
    if output.startswith("s3://"):
        target = S3Uri.parse(output)
        begin = target.key if not target.key or target.key.endswith("/") else target.key + "/"

        def key(info: ObjectInfo) -> str:
            return begin + info.key[cut:]

        batch = engine.transform(where.bucket, objects, transform, target.bucket, key=key)
    else:
        batch = engine.download(
            where.bucket, objects, output, path=lambda info: info.key[cut:], transform=transform
        )  # fmt: skip
    show = Show(
        output_from(values), "map", lambda report: f"map {_source(report)} -> {report.target}",
        lambda report: f"map {_source(report)}", nothing=_nothing(where, prefix), single=prefix is None,
    )  # fmt: skip
    known = show.wants_bar and prefix is not None
    return show.follow(batch, (info.size_bytes for info in objects) if known else None)


def _source(report: RequestReport) -> str:
    return f"s3://{report.bucket}/{report.key}"


# ---- or told


def _told(
    engine: Engine, where: S3Uri, objects: Any, prefix: str | None, function: Any, values: dict[str, Any]
) -> int:
    with contextlib.ExitStack() as stack:
        file: IO[str] | None = None
        if values["results"] is not None:
            file = stack.enter_context(open(values["results"], "w", encoding="utf-8", errors="backslashreplace"))
        batch = engine.map(function, objects, bucket=where.bucket, timeout_s=values["timeout"])
        show = Show(
            output_from(values)._replace(as_json=False), "map",
            lambda report: f"map {_source(report)}", lambda report: f"map {_source(report)}",
            nothing=_nothing(where, prefix), single=prefix is None, lines=False,
        )  # fmt: skip
        return show.follow(_Told(batch, file, quiet=values["quiet"]))  # type: ignore[arg-type]  # as a batch is used


class _Told:
    """A batch whose results are written as its reports are taken."""

    def __init__(self, batch: MappedBatch, file: IO[str] | None, *, quiet: bool) -> None:
        self._batch = batch
        self._file = file
        self._failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batch)

    def _keep_failures_only(self) -> None:
        """All of them are wanted: their results are."""

    def _take(self, most: int) -> list[RequestReport]:
        reports, lines = [], []
        for report, result in self._batch._there(most):
            if report.error is None:
                try:
                    lines.append(_line(report, result))
                except (TypeError, ValueError) as error:
                    text = f"what the function returned is no JSON: {error}"
                    report = report._replace(error=FunctionRaised(text, key=report.key))  # noqa: PLW2901  (this one is shown)
                    self._failed += 1
            reports.append(report)
        if lines:
            text = "\n".join(lines) + "\n"
            if self._file is not None:
                self._file.write(text)
            else:
                write(text)
        return reports

    def summary(self) -> Any:
        """With those whose results could not be written among the failed."""
        import dataclasses

        found = self._batch.summary()
        return dataclasses.replace(found, objects=found.objects - self._failed, failed=found.failed + self._failed)


def _line(report: RequestReport, result: Any) -> str:
    values = {
        "key": report.key, "result": result, "size_bytes": report.size_bytes, "function_s": round(report.function_s, 6)
    }  # fmt: skip
    return json.dumps(values, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON has no form for: bytes as text, or as base64 where they are none; arrays and their numbers; sets."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data).decode("ascii")}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if hasattr(value, "_asdict"):
        return value._asdict()
    raise TypeError(f"{type(value).__name__} has no form in it")
