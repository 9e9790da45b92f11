"""``cp`` and ``mv``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from s3engine.cli.journaled import journal_from, journal_option, standing
from s3engine.cli.limits import Limits, limits_of
from s3engine.cli.named import is_named, named_files, named_objects, row_or, sizes_of, tell_if_empty
from s3engine.cli.options import (
    NameFilter,
    checksum_option,
    config_from,
    destroy_options,
    dry_run_option,
    engine_options,
    existing_options,
    filter_options,
    from_options,
    header_options,
    headers_from,
    name_filter,
    output_from,
    output_options,
    verify_option,
)
from s3engine.cli.route import Route, route
from s3engine.cli.sections import Verb
from s3engine.cli.show import Show
from s3engine.cli.text import complain, glob_hint, json_line, one_line, write
from s3engine.errors import ConfigError, S3EngineError, SourceError
from s3engine.sources import FileSource, Rejected

if TYPE_CHECKING:
    from s3engine.batch import Batch
    from s3engine.config import Config
    from s3engine.decided import Decided
    from s3engine.engine import Engine
    from s3engine.inputs import Items
    from s3engine.journal import Journal
    from s3engine.listing import ObjectListing
    from s3engine.report import RequestReport
    from s3engine.transport import ObjectInfo

__all__ = ["cp_command", "file_size", "mv_command", "upload_sources"]

_LINES = 1000  # of a dry run, to a block


@click.command("cp", cls=Verb, short_help="Copy files and objects: to S3, from S3, inside S3.")
@click.argument("src")
@click.argument("dst")
@click.option("-r", "--recursive", is_flag=True, help="SRC is all below s3://bucket/prefix/.")
@dry_run_option
@verify_option
@existing_options
@filter_options
@from_options
@journal_option
@header_options
@checksum_option
@output_options
@engine_options
def cp_command(src: str, dst: str, **values: Any) -> int:
    """Copy files and objects: local to S3, S3 to local, or S3 to S3 inside the store.

    A local folder as SRC, or an S3 URI that ends in / or has -r, means all below it, with names relative to it:
    "cp ./src s3://b/p/" puts ./src/a/x at p/a/x, "cp s3://b/p/ out" puts p/a/x at out/a/x. Anything else is one file
    or object; it keeps its name where DST ends in / or is a folder, and is called DST otherwise. Symbolic links are
    followed. Copies inside S3 keep their metadata, unless --content-type, --cache-control or --metadata is given: then
    all of it is replaced.
    """
    return _transfer(src, dst, values, move=False)


@click.command("mv", cls=Verb, short_help="Move them: the same, and the source goes.")
@click.argument("src")
@click.argument("dst")
@click.option("-r", "--recursive", is_flag=True, help="SRC is all below s3://bucket/prefix/.")
@dry_run_option
@verify_option
@existing_options
@filter_options
@destroy_options
@from_options
@journal_option
@header_options
@checksum_option
@output_options
@engine_options
def mv_command(src: str, dst: str, **values: Any) -> int:
    """Move files and objects; SRC and DST as for cp.

    Each source is removed when its object or file is whole at the target, and kept when anything fails. Local folders
    stay, empty.
    """
    return _transfer(src, dst, values, move=True)


def upload_sources(source: str, prefix: str, only: str, wanted: NameFilter | None) -> Iterator[FileSource]:
    """The files that ``source`` means. Raises SourceError when it does not exist."""
    from s3engine.sources import FileSource, files_recursive

    if not os.path.lexists(source):
        raise SourceError(f"{source!r} does not exist; check the path", path=source)
    if only:
        found: Iterable[FileSource] = [FileSource(source, prefix + only)]
        return (file for file in found if wanted is None or wanted(os.path.basename(file.path)))
    found = files_recursive(source, prefix)
    cut = len(prefix)
    return iter(found) if wanted is None else (file for file in found if wanted(file.key[cut:]))


def _transfer(src: str, dst: str, values: dict[str, Any], *, move: bool) -> int:
    named = is_named(values)
    way = route(src, dst, recursive=values["recursive"] or named)
    if named and way.only:
        raise ConfigError(f"with --from SRC must be the folder that its names are relative to, and {src!r} is none")
    headers = headers_from(values)
    if headers is not None and way.kind == "download":
        raise ConfigError("local files have no S3 headers; leave --content-type, --metadata and the like out")
    config = config_from(values)
    wanted = name_filter(values["include"], values["exclude"])
    transfer = {"upload": _Upload, "download": _Download, "copy": _Copy}[way.kind](
        way, wanted, headers, move, limits_of(way, values)
    )  # fmt: skip
    transfer.values = values if named else None
    if values["dry_run"]:
        return _plan(transfer, config, as_json=values["as_json"])
    transfer.journal = journal_from("mv" if move else "cp", {"src": src, "dst": dst}, values)
    verb = "move" if move else way.kind
    transfer.check()
    stands = standing(transfer.journal)
    show = Show(
        output_from(values), verb,
        lambda report: "{} {} -> {}".format(verb, *transfer.ends(report)),
        lambda report: row_or(f"{verb} {transfer.ends(report)[0]}", verb, report.error),
        nothing="" if named or stands else _nothing(way, wanted), single=bool(way.only),
    )  # fmt: skip
    from s3engine.engine import Engine

    with Engine(config) as engine:
        transfer.open(engine)
        batch = transfer.begin(engine, show.count)
        if stands and not values["quiet"]:
            complain(stands)
        # A job that goes on does not read its input again, not even to know how much there is.
        known = show.wants_bar and transfer.journal is None
        code = show.follow(batch, transfer.sizes(engine) if known else None)
        if transfer.items is not None and not code and not stands:
            tell_if_empty(transfer.items)
        return code


def _nothing(way: Route, wanted: NameFilter | None) -> str:
    """What to say when SRC means no object at all."""
    if way.only:
        return f"{way.name} is not among those that --include and --exclude leave"
    if way.kind == "upload":
        where, hint = way.source, ""
    else:
        where, hint = f"s3://{way.source_bucket}/{way.source}", glob_hint(way.source_bucket, way.source)
    filtered = " that --include and --exclude leave" if wanted is not None else ""
    return f"nothing below {where}{filtered}{f'; {hint}' if hint else ''}"


def _plan(transfer: _Transfer, config: Config, *, as_json: bool) -> int:
    """Print what ``transfer`` would do; 1 when it is plain now that some of it would fail."""
    code = 0
    lines: list[str] = []
    verb = "move" if transfer.move else transfer.way.kind
    for source, target, size_bytes, error, skip in transfer.plan(config):
        if error is not None:
            complain(f"would fail: {row_or(f'{verb} {source}', verb, error)}: {error}")
            code = 1
        elif as_json:
            told = {"dry_run": True, "operation": verb, "source": source, "target": target, "size_bytes": size_bytes}
            lines.append(json_line(**told, skipped=skip) if skip else json_line(**told))
        elif skip:
            lines.append(one_line(f"would skip ({skip}): {verb} {source} -> {target}"))
        else:
            lines.append(one_line(f"would {verb} {source} -> {target}"))
        if len(lines) >= _LINES:
            write("\n".join(lines) + "\n")
            lines.clear()
    if lines:
        write("\n".join(lines) + "\n")
    return code


Planned = tuple[str, str, int, "S3EngineError | None", str]


class _Transfer:
    """One direction. ``size_bytes`` of a plan is -1 where it would have to be asked for."""

    def decided(self, engine: Engine) -> Iterator[Decided | Rejected]:
        """What is decided about each item, where what is there already matters."""
        raise NotImplementedError

    def plan_decided(self, config: Config) -> Iterator[Planned]:
        """As plan, after looking at what is there already."""
        from s3engine.engine import Engine
        from s3engine.overlaps import Overlap

        with Engine(config) as engine:
            self.open(engine)
            for one in self.in_order(self.decided(engine)):
                if isinstance(one, Rejected):
                    yield one.key, "", -1, one.error, ""
                    continue
                if type(one) is Overlap:
                    yield self.source_uri(one.key), "", -1, one.error(), ""
                    continue
                source, target, size_bytes, error, _ = self.planned(one.item)
                yield source, target, size_bytes, None if one.skip else one.error or error, one.skip

    def __init__(self, way: Route, wanted: NameFilter | None, headers: Any, move: bool, limits: Limits) -> None:
        self.limits = limits
        self.way = way
        self.wanted = wanted
        self.headers = headers
        self.move = move
        self.journal: Journal | None = None
        self.values: dict[str, Any] | None = None
        """The options, where --from is among them."""
        self.items: Items[Any] | None = None
        """What the files of --from name, once they are open."""

    def open(self, engine: Engine) -> None:
        """Open the files of --from. Raises S3EngineError."""
        if self.values is not None:
            self.items = self.named(engine, self.values)

    def named(self, engine: Engine, values: dict[str, Any]) -> Items[Any]:
        """The objects that the files of --from name."""
        way = self.way
        skip_prefix = way.kind == "download"
        return named_objects(values, engine, way.source_bucket, way.source, self.wanted, skip_prefix=skip_prefix)

    def check(self) -> None:
        """Raises S3EngineError for what is wrong already."""

    def begin(self, engine: Engine, progress: Callable[[RequestReport], object]) -> Batch:
        """Start."""
        raise NotImplementedError

    def ends(self, report: RequestReport) -> tuple[str, str]:
        """Names of source and target."""
        raise NotImplementedError

    def sizes(self, engine: Engine) -> Iterable[int] | None:
        """Bytes of each object, as far as they are known."""
        if self.items is not None:
            return sizes_of(self.items)
        return (info.size_bytes for info in self.objects(engine))

    def plan(self, config: Config) -> Iterator[Planned]:
        """Source, target, bytes of each object; or why it cannot be done, or is left out."""
        from s3engine.transport import ObjectInfo

        if self.limits.existing is not None:
            yield from self.plan_decided(config)
            return

        if self.way.only:
            infos: Iterable[ObjectInfo] = [ObjectInfo(self.way.source, -1)] if self.single_wanted else []
            yield from map(self.planned, self.limits.within(infos))
            return
        from s3engine.engine import Engine
        from s3engine.overlaps import Overlap

        with Engine(config) as engine:
            self.open(engine)
            for item in self.in_order(self.limits.within(self.objects(engine) if self.items is None else self.items)):
                if isinstance(item, Rejected):
                    yield item.key, "", -1, item.error, ""
                elif type(item) is Overlap:
                    yield self.source_uri(item.key), "", -1, item.error(), ""
                else:
                    yield self.planned(ObjectInfo(item, -1) if isinstance(item, str) else item)

    def planned(self, info: Any) -> Planned:
        """One line of the plan."""
        raise NotImplementedError

    def in_order(self, items: Iterable[Any]) -> Iterable[Any]:
        """The items as the job would take them."""
        return items

    @property
    def single_wanted(self) -> bool:
        """Whether the one object passes the filter."""
        return self.wanted is None or self.wanted(self.way.name)

    def relative(self, info: ObjectInfo) -> str:
        """The name below the target."""
        return self.way.only or info.key[len(self.way.source) :]

    def keys(self) -> list[str]:
        """The one key, or none when the filter takes it out."""
        return [self.way.source] if self.single_wanted else []

    def objects(self, engine: Engine) -> ObjectListing:
        """All objects that SRC means and the filter leaves."""
        way = self.way
        listing = engine.list(way.source_bucket, way.source)
        wanted = self.wanted
        return listing if wanted is None else listing.filter(lambda info: wanted(self.relative(info)))

    def source_uri(self, key: str) -> str:
        """How an object is called."""
        return f"s3://{self.way.source_bucket}/{key}"


class _Upload(_Transfer):
    def named(self, engine: Engine | None, values: dict[str, Any]) -> Items[Any]:
        return named_files(values, self.way.source, self.way.target, self.wanted)

    def _sources(self) -> Iterable[FileSource | Rejected]:
        if self.items is not None:
            return self.items
        return upload_sources(self.way.source, self.way.target, self.way.only, self.wanted)

    def check(self) -> None:
        self._sources()

    def begin(self, engine: Engine, progress: Callable[[RequestReport], object]) -> Batch:
        return engine.upload(
            self.way.bucket, self._sources(), template=self.headers, progress=progress, remove_sources=self.move,
            journal=self.journal, existing=self.limits.existing,
        )  # fmt: skip

    def ends(self, report: RequestReport) -> tuple[str, str]:
        uri = f"s3://{report.bucket}/{report.key}"
        return report.target or uri, uri

    def sizes(self, engine: Engine) -> Iterable[int] | None:
        if self.items is not None:
            return sizes_of(self.items)
        return (file_size(file) for file in self._sources() if isinstance(file, FileSource))

    def plan(self, config: Config) -> Iterator[Planned]:
        if self.limits.existing is not None:
            yield from self.plan_decided(config)
            return
        if self.values is not None:
            self.items = self.named(None, self.values)
        for file in self._sources():
            yield (file.key, "", -1, file.error, "") if isinstance(file, Rejected) else self.planned(file)

    def planned(self, info: FileSource) -> Planned:
        return info.path, f"s3://{self.way.bucket}/{info.key}", file_size(info), _wrong_key(info.key), ""

    def decided(self, engine: Engine) -> Iterator[Decided | Rejected]:
        assert self.limits.existing is not None
        return self.limits.existing.uploads(engine, self.way.bucket, self._sources())


class _Download(_Transfer):
    def objects(self, engine: Engine) -> ObjectListing:
        # The object "p/" itself stands for the folder that is downloaded to; it has no name in it.
        return super().objects(engine).filter(lambda info: info.key != self.way.source)

    def begin(self, engine: Engine, progress: Callable[[RequestReport], object]) -> Batch:
        way = self.way
        objects: Iterable[Any] = self.items or (self.keys() if way.only else self.objects(engine))
        return engine.download(
            way.source_bucket, objects, way.target or ".", path=self.relative, progress=progress,
            remove_objects=self.move, journal=self.journal, **self.limits.of(deletes=self.move),
        )  # fmt: skip

    def ends(self, report: RequestReport) -> tuple[str, str]:
        relative = self.way.only or report.key[len(self.way.source) :]
        return self.source_uri(report.key), os.path.join(self.way.target, relative)

    def planned(self, info: ObjectInfo) -> Planned:
        from s3engine.paths import safe_relative

        relative = self.relative(info)
        try:
            safe_relative(relative)
        except S3EngineError as error:
            return self.source_uri(info.key), "", info.size_bytes, error, ""
        return self.source_uri(info.key), os.path.join(self.way.target, relative), info.size_bytes, None, ""

    def decided(self, engine: Engine) -> Iterator[Decided | Rejected]:
        way = self.way
        assert self.limits.existing is not None
        objects = self.limits.compared(self.items or (self.keys() if way.only else self.objects(engine)))
        return self.limits.existing.downloads(engine, way.source_bucket, objects, way.target or ".", self.relative)


class _Copy(_Transfer):
    def begin(self, engine: Engine, progress: Callable[[RequestReport], object]) -> Batch:
        way = self.way
        if way.only or self.items is not None:
            return engine.copy(
                way.source_bucket, self.items or self.keys(), way.bucket, key=self._key, template=self.headers,
                progress=progress, move=self.move, journal=self.journal, **self.limits.of(deletes=self.move),
            )  # fmt: skip
        listing = self.objects(engine)
        act = listing.move if self.move else listing.copy
        return act(
            way.bucket, key=self._key, template=self.headers, progress=progress, journal=self.journal,
            **self.limits.of(deletes=self.move),
        )

    def _key(self, info: ObjectInfo) -> str:
        return self.way.target + self.relative(info)

    def ends(self, report: RequestReport) -> tuple[str, str]:
        return self.source_uri(report.key), report.target

    def planned(self, info: ObjectInfo) -> Planned:
        from s3engine.overlaps import same_object

        target = self._key(info)
        source, uri = self.source_uri(info.key), f"s3://{self.way.bucket}/{target}"
        return source, uri, info.size_bytes, same_object(source, uri) or _wrong_key(target), ""

    def in_order(self, items: Iterable[Any]) -> Iterable[Any]:
        from s3engine.overlaps import with_overlaps

        return with_overlaps(items, self._key) if self.way.bucket == self.way.source_bucket else items

    def decided(self, engine: Engine) -> Iterator[Decided | Rejected]:
        way = self.way
        assert self.limits.existing is not None
        objects = self.limits.compared(self.items or (self.keys() if way.only else self.objects(engine)))
        return self.limits.existing.copies(engine, way.source_bucket, objects, way.bucket, self._key)


def _wrong_key(key: str) -> ConfigError | None:
    """What is wrong with a new key."""
    from s3engine.jobs.upload import check_key

    try:
        check_key(key)
    except ConfigError as error:
        return error
    return None


def file_size(file: FileSource) -> int:
    """Its bytes; 0 when it cannot be asked."""
    try:
        return os.stat(file.path).st_size
    except OSError:
        return 0
