"""Upload, download and copy, as ``cp`` and ``mv`` ask the engine for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.cli.direction import Direction, Planned
from s3engine.cli.limits import left_of
from s3engine.cli.local import file_size, upload_sources
from s3engine.cli.named import named_files, sizes_of
from s3engine.errors import ConfigError, S3EngineError
from s3engine.sources import FileSource, Rejected

if TYPE_CHECKING:
    from s3engine.batch import Batch
    from s3engine.cli.foreseen import TargetFolder
    from s3engine.config import Config
    from s3engine.decided import Decided
    from s3engine.engine import Engine
    from s3engine.inputs import Items
    from s3engine.listing import ObjectListing
    from s3engine.report import RequestReport
    from s3engine.transport import ObjectInfo

__all__ = ["DIRECTIONS"]


class Upload(Direction):
    """Local files to S3."""

    def named(self, engine: Engine | None, values: dict[str, Any]) -> Items[Any]:
        return named_files(values, self.way.source, self.way.target, self.wanted)

    def _sources(self) -> Iterable[FileSource | Rejected]:
        if self.items is not None:
            return self.items
        return upload_sources(self.way.source, self.way.target, self.way.only, self.wanted, self.own)

    def check(self) -> None:
        self._sources()

    def begin(self, engine: Engine) -> Batch:
        return engine.upload(
            self.way.bucket, self._sources(), template=self.headers, remove_sources=self.move,
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
            yield from self._plan_decided(config)
            return
        self.open(None)
        for file in left_of(self._sources(), self.journal):
            yield (file.key, "", -1, file.error, "") if isinstance(file, Rejected) else self.planned(file)

    def planned(self, info: FileSource) -> Planned:
        from s3engine.cli.foreseen import unreadable

        wrong = self.own.wrong_source(info.path) if self.own is not None else None  # named by --from
        error = wrong or unreadable(info.path, remove=self.move) or _wrong_key(info.key)
        return info.path, f"s3://{self.way.bucket}/{info.key}", file_size(info), error, ""

    def decided(self, engine: Engine) -> Iterator[Decided | Rejected]:
        assert self.limits.existing is not None
        return self.limits.existing.uploads(engine, self.way.bucket, left_of(self._sources(), self.journal))


class Download(Direction):
    """Objects to local files."""

    _folder: TargetFolder | None = None

    def objects(self, engine: Engine) -> ObjectListing:
        # The object "p/" itself stands for the folder that is downloaded to; it has no name in it.
        return super().objects(engine).filter(lambda info: info.key != self.way.source)

    def begin(self, engine: Engine) -> Batch:
        way = self.way
        objects: Iterable[Any] = self.items or (self.keys() if way.only else self.objects(engine))
        return engine.download(
            way.source_bucket, objects, way.target or ".", path=self.relative,
            remove_objects=self.move, journal=self.journal, **self.limits.of(deletes=self.move),
        )  # fmt: skip

    def ends(self, report: RequestReport) -> tuple[str, str]:
        relative = self.way.only or report.key[len(self.way.source) :]
        return self.source_uri(report.key), os.path.join(self.way.target, relative)

    def planned(self, info: ObjectInfo) -> Planned:
        from s3engine.cli.foreseen import TargetFolder
        from s3engine.paths import safe_relative

        if self._folder is None:
            self._folder = TargetFolder(self.way.target)
        relative = self.relative(info)
        try:
            safe_relative(relative)
        except S3EngineError as error:
            return self.source_uri(info.key), "", info.size_bytes, error, ""
        path = os.path.join(self.way.target, relative)
        wrong: S3EngineError | None = self.own.wrong_target(path, info.key) if self.own is not None else None
        wrong = wrong or self._folder.wrong(relative, info.size_bytes)
        return self.source_uri(info.key), path, info.size_bytes, wrong, ""

    def decided(self, engine: Engine) -> Iterator[Decided | Rejected]:
        way = self.way
        assert self.limits.existing is not None
        objects = self.limits.compared(self.items or (self.keys() if way.only else self.objects(engine)), self.journal)
        return self.limits.existing.downloads(engine, way.source_bucket, objects, way.target or ".", self.relative)


class Copy(Direction):
    """Objects to objects, inside the store."""

    def begin(self, engine: Engine) -> Batch:
        way = self.way
        if way.only or self.items is not None:
            return engine.copy(
                way.source_bucket, self.items or self.keys(), way.bucket, key=self._key, template=self.headers,
                move=self.move, journal=self.journal, **self.limits.of(deletes=self.move),
            )  # fmt: skip
        listing = self.objects(engine)
        act = listing.move if self.move else listing.copy
        return act(
            way.bucket, key=self._key, template=self.headers, journal=self.journal,
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
        objects = self.limits.compared(self.items or (self.keys() if way.only else self.objects(engine)), self.journal)
        return self.limits.existing.copies(engine, way.source_bucket, objects, way.bucket, self._key)


DIRECTIONS = {"upload": Upload, "download": Download, "copy": Copy}
"""By the kind of a route."""


def _wrong_key(key: str) -> ConfigError | None:
    """What is wrong with a new key."""
    from s3engine.uri import check_key

    try:
        check_key(key)
    except ConfigError as error:
        return error
    return None
