"""A listing: lazy, retried, and what can be done to all that it lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from s3engine.control.estimator import OpClass
from s3engine.errors import ConfigError, InvalidRequest, ServerFault
from s3engine.given import text
from s3engine.pages import PageWatch
from s3engine.transport import ListPage, ObjectInfo
from s3engine.uri import check_bucket

if TYPE_CHECKING:
    from s3engine.batch import Batch, Progress
    from s3engine.engine import Engine
    from s3engine.existing import Existing
    from s3engine.functions.transform import Function
    from s3engine.journal import Journal
    from s3engine.operations import Template

__all__ = ["JournalPath", "ObjectListing"]

JournalPath: TypeAlias = "str | os.PathLike[str] | Journal | None"
Call = Callable[[OpClass, str, Callable[[Any, Any], Any]], Any]


class ObjectListing:
    """All objects of a bucket below a prefix. Each iteration lists anew, in the order the store gives.

    Pages are fetched one ahead, later two, each with the deadlines and retries of any other request; what outlives
    them is raised by the iteration (NotFound, AccessDenied, NetworkError ...), also inside a batch made from it.
    """

    def __init__(
        self, engine: Engine, call: Call, bucket: str, prefix: str, *, delimiter: str = "",
        predicate: Callable[[ObjectInfo], bool] | None = None, filters: str = "",
    ) -> None:  # fmt: skip
        self._engine = engine
        self._call = call
        self.bucket = bucket
        self.prefix = prefix
        self._delimiter = delimiter
        self._predicate = predicate
        self._filters = filters

    @property
    def identity(self) -> str:
        """What a journal tells it from other listings by; filters are told by their names only."""
        split = f" split at {self._delimiter!r}" if self._delimiter else ""
        return f"s3://{self.bucket}/{self.prefix}{split}{self._filters}"

    # ---- reading

    def pages(self) -> Iterator[ListPage]:
        """The pages as they come; with a delimiter they have ``prefixes`` too. Filters do not apply.

        Raises ServerFault for a listing without end: see :class:`s3engine.pages.PageWatch`.
        """
        for _, page in self._pages_from("", self._page("")):
            yield page

    def _pages_from(self, token: str | None, page: ListPage) -> Iterator[tuple[str | None, ListPage]]:
        """``page`` and those that follow, each with the token that gave it."""
        watch = PageWatch(f"listing s3://{self.bucket}/{self.prefix}")
        self._watched(watch, page)
        if not page.next_token:
            yield token, page
            return
        from s3engine.ahead import Ahead  # lazy: one page needs no thread

        with Ahead(self._following(watch, page.next_token), "s3engine-list") as following:
            yield token, page
            yield from following

    def _following(self, watch: PageWatch, token: str) -> Iterator[tuple[str | None, ListPage]]:
        while token:
            page = self._page(token)
            self._watched(watch, page)
            yield token, page
            token = page.next_token

    def _watched(self, watch: PageWatch, page: ListPage) -> None:
        """Raises ServerFault for a page that is none of this listing, or one of a listing without end."""
        names = [info.key for info in page.objects]
        if self.prefix:
            self._check_prefix(names)
        if page.next_token:
            watch.page(page.next_token, names + page.prefixes if page.prefixes else names)

    def _check_prefix(self, keys: list[str]) -> None:
        prefix = self.prefix
        if keys and keys[0].startswith(prefix) and keys[-1].startswith(prefix) and keys == sorted(keys):
            return  # in order, what stands between two that begin so begins so
        for key in keys:
            if not key.startswith(prefix):  # a store that ignores the prefix must not cost others their objects
                text = f"asked for what is below s3://{self.bucket}/{prefix} the store lists {key!r}"
                raise ServerFault(text, bucket=self.bucket)

    def _page(self, token: str, start_after: str = "") -> ListPage:
        found: ListPage = self._call(
            OpClass.LIST, self.bucket,
            lambda api, timeouts: api.list_objects_v2(
                self.bucket, self.prefix, delimiter=self._delimiter, continuation_token=token, start_after=start_after,
                timeouts=timeouts,
            ),
        )  # fmt: skip
        return found

    @property
    def predicate(self) -> Callable[[ObjectInfo], bool] | None:
        """Whether an object is meant; None when all are."""
        return self._predicate

    def provable(self) -> None:
        """Raises ConfigError where a listing that was broken off could look complete: then nothing follows from it."""
        able = self._engine.capabilities
        if not able.complete_listings:
            raise ConfigError(
                "this needs a listing that is known to be complete, which this transport cannot give: "
                f"{able.reason('complete_listings')}. Use another one: transport='raw', --transport raw"
            )

    def proven_pages(self) -> Iterator[ListPage]:
        """As :meth:`pages`, for what follows from objects that are not there.

        Raises ConfigError as :meth:`provable` does, ServerFault when the last page does not say that it is the last.
        """
        self.provable()
        says_end = True
        for page in self.pages():
            yield page
            says_end = page.says_end
        if not says_end:
            raise ServerFault(
                f"the listing of s3://{self.bucket}/{self.prefix} ends without the store saying that it is complete "
                "(no IsTruncated on the last page), and this needs a complete one",
                operation="ListObjectsV2", bucket=self.bucket,
            )  # fmt: skip

    def marked(self, after: str = "") -> Iterator[tuple[ObjectInfo, str]]:
        """The objects, each with a mark: a text to go on behind it with, here or in another process.

        ``after`` is such a mark, "" the beginning. The page that held the object is fetched again, no other; where the
        object is gone from it, the whole page comes again. Where the store does not know the page any more, the
        listing goes on with the keys after that object's.
        """
        predicate = self._predicate
        text, _, last = after.partition(" ")
        import json

        token: str | None = json.loads(text) if text else ""
        try:
            first = self._page(token or "", last if token is None else "")
        except InvalidRequest:
            if not token:
                raise
            token = None
            first = self._page("", last)
        for given, page in self._pages_from(token, first):
            # None: the page that begins after the key of the mark itself.
            begin = json.dumps(given).replace(" ", "\\u0020")
            objects = page.objects
            if last:
                objects = objects[_behind(objects, last) :]
                last = ""
            for info in objects:
                if predicate is None or predicate(info):
                    yield info, f"{begin} {info.key}"

    def chunks(self) -> Iterator[list[ObjectInfo]]:
        """The objects that iterating gives, page by page; no list is empty."""
        predicate = self._predicate
        for page in self.pages():
            objects = page.objects
            if predicate is not None:
                objects = []
                try:
                    for info in page.objects:
                        if predicate(info):
                            objects.append(info)
                except Exception:
                    if objects:  # as iterating would: what came before the one that it failed on
                        yield objects
                    raise
            if objects:
                yield objects

    def __iter__(self) -> Iterator[ObjectInfo]:
        """The objects, one by one."""
        predicate = self._predicate
        for page in self.pages():
            if predicate is None:
                yield from page.objects
            else:
                yield from filter(predicate, page.objects)

    def count(self) -> int:
        """How many objects there are."""
        if self._predicate is None:
            return sum(len(page.objects) for page in self.pages())
        return sum(1 for _ in self)

    def filter(self, predicate: Callable[[ObjectInfo], bool]) -> ObjectListing:
        """The listing of those for which ``predicate`` (and earlier ones) holds."""
        if not callable(predicate):
            raise ConfigError(f"filter() takes a function of an ObjectInfo, not {predicate!r}")
        earlier = self._predicate
        both = predicate if earlier is None else lambda info: earlier(info) and predicate(info)
        name = getattr(predicate, "__qualname__", type(predicate).__qualname__)
        return ObjectListing(
            self._engine, self._call, self.bucket, self.prefix, delimiter=self._delimiter, predicate=both,
            filters=f"{self._filters} filtered by {name}",
        )  # fmt: skip

    def process(self, function: Callable[[ObjectInfo], object]) -> int:
        """Call ``function`` with each object, in this thread, and return how many there were.

        What ``function`` raises ends it and is raised. Raises ConfigError for what is no function.
        """
        if not callable(function):
            raise ConfigError(f"process() takes a function of an ObjectInfo, not {function!r}")
        count = 0
        for info in self:
            function(info)
            count += 1
        return count

    # ---- acting

    def download(
        self, folder: str | os.PathLike[str], *, path: Callable[[ObjectInfo], str] | None = None,
        progress: Progress | None = None, remove_objects: bool = False, max_delete: int | str | None = None,
        unconditional: bool = False, journal: JournalPath = None, existing: Existing | str | None = None,
        transform: Function | None = None,
    ) -> Batch:  # fmt: skip
        """Download all; paths are keys relative to the listing's prefix up to its last ``/``. See Engine.download."""
        return self._engine.download(
            self.bucket, self, folder, path=path or self.relative, progress=progress, remove_objects=remove_objects,
            max_delete=max_delete, unconditional=unconditional, journal=journal, existing=existing, transform=transform,
        )  # fmt: skip

    def transform(
        self, function: Function, to_bucket: str | None = None, *, key: Callable[[ObjectInfo], str] | None = None,
        template: Template = None, progress: Progress | None = None, journal: JournalPath = None,
        existing: Existing | str | None = None,
    ) -> Batch:  # fmt: skip
        """Store what a function makes of all of them, see ``Engine.transform``; in their own bucket by default."""
        return self._engine.transform(
            self.bucket, self, function, to_bucket or self.bucket, key=key, template=template, progress=progress,
            journal=journal, existing=existing,
        )  # fmt: skip

    def copy(
        self, bucket: str | None = None, *, key: Callable[[ObjectInfo], str] | None = None, template: Template = None,
        progress: Progress | None = None, journal: JournalPath = None, existing: Existing | str | None = None,
    ) -> Batch:  # fmt: skip
        """Copy all to ``bucket`` (default: the same) under ``key(object)``. See Engine.copy."""
        return self._copy(bucket, key, template, progress, journal, move=False, existing=existing)

    def move(
        self, bucket: str | None = None, *, key: Callable[[ObjectInfo], str] | None = None, template: Template = None,
        progress: Progress | None = None, max_delete: int | str | None = None, unconditional: bool = False,
        journal: JournalPath = None, existing: Existing | str | None = None,
    ) -> Batch:  # fmt: skip
        """Move all: copy, and delete each source once its copy is known to be whole. See Engine.copy."""
        return self._copy(
            bucket, key, template, progress, journal, move=True, max_delete=max_delete, unconditional=unconditional,
            existing=existing,
        )  # fmt: skip

    def move_to_prefix(
        self, new_prefix: str, bucket: str | None = None, *, template: Template = None,
        progress: Progress | None = None, max_delete: int | str | None = None, journal: JournalPath = None,
    ) -> Batch:  # fmt: skip
        """Move all, with ``new_prefix`` in the place of the listing's prefix (which is cut once, from the left)."""
        key = _Rewritten(text("new_prefix", new_prefix), len(self.prefix))
        return self.move(
            bucket, key=key, template=template, progress=progress, max_delete=max_delete, journal=journal
        )

    def delete(
        self, *, progress: Progress | None = None, max_delete: int | str | None = None, unconditional: bool = False,
        journal: JournalPath = None,
    ) -> Batch:  # fmt: skip
        """Delete all. See Engine.delete."""
        return self._engine.delete(
            self.bucket, self, progress=progress, max_delete=max_delete, unconditional=unconditional, journal=journal
        )

    def relative(self, info: ObjectInfo) -> str:
        """The key relative to the listing's prefix up to its last ``/``."""
        return info.key[self.prefix.rfind("/") + 1 :]

    def _copy(
        self, bucket: str | None, key: Callable[[ObjectInfo], str] | None, template: Template,
        progress: Progress | None, journal: JournalPath, *, move: bool, max_delete: int | str | None = None,
        unconditional: bool = False, existing: Existing | str | None = None,
    ) -> Batch:  # fmt: skip
        # Inside one bucket new keys may fall below the prefix that is being listed: the job reads to the end first.
        bucket = self.bucket if bucket is None else check_bucket(bucket)
        return self._engine.copy(
            self.bucket, self, bucket, key=key, template=template, progress=progress, move=move,
            max_delete=max_delete, unconditional=unconditional, journal=journal, existing=existing,
        )  # fmt: skip


class _Rewritten:
    """Keys with another prefix."""

    def __init__(self, prefix: str, cut: int) -> None:
        self._prefix = prefix
        self._cut = cut
        self.identity = f"{prefix!r} instead of {cut} characters"

    def __call__(self, info: ObjectInfo) -> str:
        return self._prefix + info.key[self._cut :]


def _behind(objects: list[ObjectInfo], key: str) -> int:
    """The index behind ``key``; 0 when it is not there."""
    return next((index for index, info in enumerate(objects, 1) if info.key == key), 0)
