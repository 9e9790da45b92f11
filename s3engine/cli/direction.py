"""What ``cp`` and ``mv`` do in each direction: its base, with how a plan is made for a dry run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.cli.named import named_objects, names_or_record, sizes_of
from s3engine.sources import Rejected

if TYPE_CHECKING:
    from s3engine.batch import Batch
    from s3engine.cli.limits import Limits
    from s3engine.cli.options import NameFilter
    from s3engine.cli.route import Route
    from s3engine.config import Config
    from s3engine.decided import Decided
    from s3engine.engine import Engine
    from s3engine.errors import S3EngineError
    from s3engine.inputs import Items
    from s3engine.journal import Journal
    from s3engine.journal.files import JournalFiles
    from s3engine.listing import ObjectListing
    from s3engine.report import RequestReport
    from s3engine.transport import ObjectInfo

__all__ = ["Direction", "Planned"]

Planned = tuple[str, str, int, "S3EngineError | None", str]
"""Source, target, bytes, what is wrong, why it is left out."""


class Direction:
    """One direction. ``size_bytes`` of a plan is -1 where it would have to be asked for."""

    def __init__(self, way: Route, wanted: NameFilter | None, headers: Any, move: bool, limits: Limits) -> None:
        self.limits = limits
        self.way = way
        self.wanted = wanted
        self.headers = headers
        self.move = move
        self.journal: Journal | None = None
        self.own: JournalFiles | None = None
        """The files of --journal, which are neither sent nor written over."""
        self.values: dict[str, Any] | None = None
        """The options, where --from is among them."""
        self.items: Items[Any] | None = None
        """What the files of --from name, once they are open."""

    def open(self, engine: Engine | None) -> None:
        """Open the files of --from. Raises S3EngineError."""
        values = self.values
        if values is not None:
            self.items = names_or_record(self.journal, lambda: self.named(engine, values))

    def named(self, engine: Engine | None, values: dict[str, Any]) -> Items[Any]:
        """The objects that the files of --from name."""
        assert engine is not None  # but for uploads
        way = self.way
        skip_prefix = way.kind == "download"
        return named_objects(values, engine, way.source_bucket, way.source, self.wanted, skip_prefix=skip_prefix)

    def check(self) -> None:
        """Raises S3EngineError for what is wrong already."""

    def begin(self, engine: Engine) -> Batch:
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
            yield from self._plan_decided(config)
            return

        from s3engine.engine import Engine
        from s3engine.overlaps import Overlap

        with Engine(config) as engine:
            if self.way.only:
                infos: Iterable[ObjectInfo] = [ObjectInfo(self.way.source, -1)] if self.single_wanted else []
                for info in self.limits.within(infos, self.journal):
                    yield self._asked(engine, info)
                return
            self.open(engine)
            objects = self.objects(engine) if self.items is None else self.items
            for item in self.in_order(self.limits.within(objects, self.journal)):
                if isinstance(item, Rejected):
                    yield item.key, "", -1, item.error, ""
                elif type(item) is Overlap:
                    yield self.source_uri(item.key), "", -1, item.error(), ""
                else:
                    yield self.planned(ObjectInfo(item, -1) if isinstance(item, str) else item)

    def _asked(self, engine: Engine, info: ObjectInfo) -> Planned:
        """The plan of one object that was named, not listed. Raises RequestError."""
        from s3engine.errors import NotFound

        try:
            found = engine.head(self.way.source_bucket, info.key)
        except NotFound as error:
            return self.source_uri(info.key), "", -1, error, ""
        return self.planned(info._replace(size_bytes=found.size_bytes))

    def _plan_decided(self, config: Config) -> Iterator[Planned]:
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

    def planned(self, info: Any) -> Planned:
        """One line of the plan."""
        raise NotImplementedError

    def decided(self, engine: Engine) -> Iterator[Decided | Rejected]:
        """What is decided about each item, where what is there already matters."""
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
