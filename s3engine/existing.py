"""What becomes of targets that are there already: decided before anything is written, and written only if still so.

The decision is taken in the thread that reads the input. What is decided by a listing is decided by a complete one: a
listing that fails ends the batch before anything is begun.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from s3engine.decided import Decided
from s3engine.errors import ConfigError, NotFound, S3EngineError, SinkError, TransferError
from s3engine.sources import BytesSource, FileSource, Rejected
from s3engine.targets import AskedTargets, FileTargets, ListedTargets, Target, Targets, seconds_of
from s3engine.transport import Headers, ObjectInfo
from s3engine.uri import check_key

if TYPE_CHECKING:
    from s3engine.engine import Engine

__all__ = ["POLICIES", "Existing"]

POLICIES = ("keep", "if-size-differs", "if-source-newer")


@dataclass(frozen=True, slots=True)
class Existing:
    """When an object or file that is there already is written over.

    ``policy``: "keep" never, "if-size-differs" when source and target differ in size, "if-source-newer" when the source
    was changed after the target was. ``prefix``: all targets on S3 lie below it; it is listed to its end first ("" for
    the whole bucket). None: each target is asked for by itself, one after another, which is right for a few. Raises
    ConfigError for another policy.
    """

    policy: str
    prefix: str | None = ""

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigError(f"existing must be one of {', '.join(POLICIES)}, not {self.policy!r}")

    @classmethod
    def of(cls, value: Existing | str | None) -> Existing | None:
        """From what a caller gave. Raises ConfigError."""
        return value if value is None or isinstance(value, cls) else cls(value)  # type: ignore[arg-type]

    def uploads(self, engine: Engine, bucket: str, sources: Iterable[Any]) -> Iterator[Decided | Rejected]:
        """Sources with what is decided about them."""
        targets = self._targets(engine, bucket)
        try:
            for item in sources:
                if type(item) is Rejected:
                    yield item
                    continue
                source = item if type(item) in (FileSource, BytesSource) else FileSource(*item)
                yield _decided(source, source.key, targets, self.policy, partial(_of_source, source))
        finally:
            targets.close()

    def copies(
        self, engine: Engine, source_bucket: str, objects: Iterable[Any], bucket: str, key: Callable[[ObjectInfo], str]
    ) -> Iterator[Decided | Rejected]:
        """Objects to copy with what is decided about them."""
        targets = self._targets(engine, bucket)
        try:
            for item in objects:
                if isinstance(item, Rejected):
                    yield item
                    continue
                info = ObjectInfo(item, -1) if isinstance(item, str) else item
                target = key(info)
                try:
                    check_key(target)
                except ConfigError as error:
                    yield Decided(info, error=error)
                    continue
                yield _decided(info, target, targets, self.policy, _of_object(engine, source_bucket, info))
        finally:
            targets.close()

    def downloads(
        self, engine: Engine, bucket: str, objects: Iterable[Any], folder: str | os.PathLike[str],
        path: Callable[[ObjectInfo], str],
    ) -> Iterator[Decided | Rejected]:  # fmt: skip
        """Objects to download with what is decided about them. Files have no conditions."""
        from s3engine.paths import normal_path, safe_relative

        targets = FileTargets(normal_path(os.fspath(folder)))
        for item in objects:
            if isinstance(item, Rejected):
                yield item
                continue
            info = ObjectInfo(item, -1) if isinstance(item, str) else item
            try:
                relative = safe_relative(path(info))
            except S3EngineError as error:
                yield Decided(info, error=error)
                continue
            found = _decided(info, relative, targets, self.policy, _of_object(engine, bucket, info))
            yield found._replace(condition=())

    def _targets(self, engine: Engine, bucket: str) -> Targets:
        """What is there on S3."""
        if self.prefix is None:
            return AskedTargets(lambda key: engine.head(bucket, key))
        return ListedTargets(engine.list(bucket, self.prefix))


def _reason(policy: str, target: Target, size_bytes: int, modified_s: float | None) -> str:
    """Why the target stays; "" when it is written over."""
    if policy == "keep":
        return "exists"
    if policy == "if-size-differs":
        return "same size" if target.size_bytes == size_bytes else ""
    if target.modified_s is None or modified_s is None:
        raise TransferError("it is not known whether source or target is newer: the store tells no time")
    return "" if modified_s > target.modified_s else "not newer"


def _condition(target: Target | None) -> Headers:
    if target is None:
        return (("if-none-match", "*"),)
    return (("if-match", f'"{target.etag}"'),) if target.etag else ()


def _decided(
    item: Any, name: str, targets: Targets, policy: str, source: Callable[[], tuple[int, float | None]]
) -> Decided:
    try:
        target = targets.find(name)
        if target is not None and target.size_bytes < 0 and policy != "keep":
            text = f"{name!r} is there and no regular file: move it away, or download to another folder"
            raise SinkError(text, path=name)
        reason = "" if target is None else _reason(policy, target, *((0, None) if policy == "keep" else source()))
    except (TransferError, ConfigError) as error:
        return Decided(item, error=error)
    return Decided(item, skip=reason) if reason else Decided(item, _condition(target))


def _of_source(source: FileSource | BytesSource) -> tuple[int, float | None]:
    """Size and time of a source; a body in memory is new."""
    if isinstance(source, BytesSource):
        return memoryview(source.data).nbytes, float("inf")
    try:
        status = os.stat(source.path)
    except OSError:
        return -1, float("inf")  # whoever opens it will say what is wrong
    return status.st_size, status.st_mtime


def _of_object(engine: Engine, bucket: str, info: ObjectInfo) -> Callable[[], tuple[int, float | None]]:
    def known() -> tuple[int, float | None]:
        if info.size_bytes >= 0 and info.last_modified:
            return info.size_bytes, seconds_of(info.last_modified)
        try:
            found = engine.head(bucket, info.key)
        except NotFound:
            return -1, float("inf")  # as above
        return found.size_bytes, seconds_of(found.last_modified)

    return known
