"""Listings out of obstore's, which are made for folders.

Three things stand between obstore's listing and S3's, and are gone around here:

- *Prefixes.* Obstore's are whole folders: "a" finds "a/b", not "ab". What is listed is the folder that holds the
  prefix, and what does not begin with the prefix is left out. A prefix that ends in "/" costs nothing; another may give
  pages with few keys or none before the last.
- *Pages.* Obstore can start behind a key, but on SeaweedFS a page that begins behind a key which is also a folder lacks
  the keys of that folder. So the stream of the first page is kept, for the last _KEPT listings, and the token is its
  number. The page of a token can be asked for again. A stream is dead after an error; the next one starts behind a key
  that is no folder, and what comes again is left out.
- *Keys.* Obstore takes a "/" off either end of a listed key, and says nothing. A key that may have been "a/" (it is
  empty, right before keys of a folder with its name, or out of order) costs one more request, which asks for "a/", and
  is given as it is. Keys that begin with "/" stand together in S3's order: a listing of the whole bucket asks whether
  there are any, and raises InvalidRequest. What is not found out: "a/" with a body and no keys below it comes as "a",
  if there is no "a" (so that none is read or deleted in its stead).

Obstore also takes a page that says that more follows, but not where, for the last. So a listing that ends with a full
page costs one more request, and keys behind its end are ServerFault. After a shorter page that is not noticed.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import obstore

from s3engine.errors import InvalidRequest, NotFound, NotSupported
from s3engine.transport import ListPage, ObjectInfo
from s3engine_transports.common import Answer
from s3engine_transports.via_obstore.attempt import Attempt
from s3engine_transports.via_obstore.exact import expect_none_before_slash, expect_none_behind, is_marker, verify_empty
from s3engine_transports.via_obstore.paths import folder_of, is_exact, is_surrogate

__all__ = ["Listings"]

_KEPT = 64
_CHUNK = 1000  # what one request of ListObjectsV2 brings
_QUESTIONS = 32  # requests of one call that ask for markers; then the page ends


class _Cursor:
    """A listing under way: where it is, and what was read ahead. ``lock`` is held by who asks for a page."""

    def __init__(self, request: Answer, prefix: str, start_after: str) -> None:
        self.bucket = request.bucket
        self.prefix = prefix
        self.folder = folder_of(request, prefix)
        self.lock = threading.Lock()
        self.number = 0
        self.page = ListPage([], [], "")
        self.pending: deque[tuple[Any, bool]] = deque()
        """What obstore listed and was not given yet, and whether it may be a marker."""
        self.folded: deque[ObjectInfo | str] = deque()
        """What is left to give of a listing with a delimiter."""
        self.ended = False
        self.leave_out = b"" if is_exact(start_after) else start_after.encode()
        """Keys up to this one are left out here, because obstore cannot start behind it."""
        self._start_after = start_after.encode()
        self._offset = "" if self.leave_out else start_after
        self._since: list[str] = []
        """The paths that were given after ``_offset``, behind which another stream can start."""
        self._last_key = ""
        self._again: set[str] = set()
        self._previous = b""
        """The path that the stream gave last."""
        self._highest = ""
        self._streamed = 0
        """How many it gave."""
        self._stream: Iterator[Any] | None = None
        self._limits: Any = None
        self._witness = ""
        self._witnessed = 0

    def fill(self, attempt: Attempt) -> None:
        """Read one chunk more, when all before it was given. Raises RequestError; a later call goes on from there."""
        store = attempt.store()
        if self._stream is None or attempt.limits != self._limits:  # a stream has the timers it was made with
            self._stream = attempt.go_on(_stream, store, self.folder, self._offset)
            self._limits = attempt.limits
            self._again = set(self._since)
            self._previous = b""
            self._streamed = 0
        try:
            chunk = attempt.go_on(next, self._stream, None)
        except BaseException:
            self._stream = None
            raise
        ended = chunk is None or len(chunk) < _CHUNK
        paths = [meta["path"] for meta in chunk or ()]
        self._streamed += len(paths)
        self._highest = max((self._highest, *paths), key=str.encode)  # the last one may be "a/", and before "a.b"
        if ended and self._streamed and not self._streamed % _CHUNK:
            self._expect_none_behind(attempt)
        self.ended = ended
        for number, meta in enumerate(chunk or ()):
            path = paths[number]
            place = path.encode()
            # Stores that list by bytes give "a/" behind all between it and "a", and nothing up to start_after.
            out_of_order = place <= self._previous or place <= self._start_after
            self._previous = place
            if path in self._again:
                self._again.discard(path)  # another key that obstore lists alike is none of these
                continue
            following = paths[number + 1] if number + 1 < len(paths) else None
            # The last one of a chunk cannot be judged by the one after it.
            doubtful = not meta["size"] or (not self.ended if following is None else following.startswith(path + "/"))
            self.pending.append((meta, doubtful or out_of_order))
            self._witnessed += path == self._witness
        self._check_witness(attempt)

    def _expect_none_behind(self, attempt: Attempt) -> None:
        try:
            expect_none_behind(attempt, self.folder, self._highest)
        except BaseException:
            self._stream = None
            raise

    def give(self, key: str) -> None:
        """The first of ``pending`` is given, and this is its key."""
        path = self.pending.popleft()[0]["path"]
        last = self._since[-1] if self._since else ""
        if last and last == self._last_key and not path.startswith(last + "/"):
            # The last one is neither a marker nor also a folder, so on any store another stream can start behind it.
            self._offset = last
            self._since = []
        self._since.append(path)
        self._last_key = key

    def look_for_slashes(self, attempt: Attempt) -> None:
        """Raise InvalidRequest when the bucket has keys that begin with "/"; after the first chunk."""
        self._witness = expect_none_before_slash(attempt, self.pending[0][0]["path"])
        self._witnessed = sum(meta["path"] == self._witness for meta, _ in self.pending)
        self._check_witness(attempt)

    def _check_witness(self, attempt: Attempt) -> None:
        if self._witness and self._witnessed > 1:
            raise _alike(attempt, self._witness, "/" + self._witness)


def _stream(store: Any, folder: str, offset: str) -> Iterator[Any]:
    found: Iterator[Any] = iter(obstore.list(store, folder or None, offset=offset or None, chunk_size=_CHUNK))
    return found


class Listings:
    """The listings of one transport. Safe to use from several threads."""

    def __init__(self) -> None:
        self._cursors: OrderedDict[str, _Cursor] = OrderedDict()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def page(
        self, attempt: Attempt, prefix: str, delimiter: str, token: str, start_after: str, max_keys: int
    ) -> ListPage:
        """One page. Raises RequestError: NotSupported for other delimiters, InvalidRequest for a strange token."""
        request = attempt.request
        if delimiter not in ("", "/") or (delimiter and start_after):
            what = "start_after with a delimiter" if delimiter == "/" else f"the delimiter {delimiter!r}"
            raise NotSupported(
                f"{request.describe()}: obstore cannot list with {what}; use another transport, e.g. raw",
                **request.where(),
            )  # fmt: skip
        if is_surrogate(start_after):
            raise InvalidRequest(
                f"{request.describe()}: start_after {start_after!r} is not Unicode; give another", **request.where()
            )
        most = min(max(max_keys, 1), _CHUNK)
        if token:
            name, _, number = token.rpartition(".")
            with self._lock:
                cursor = self._cursors.get(name)
                if cursor is not None:
                    self._cursors.move_to_end(name)
            if cursor is None or (cursor.bucket, cursor.prefix) != (request.bucket, prefix) or not number.isdigit():
                raise _strange(request)
            with cursor.lock:
                if int(number) != cursor.number:
                    if int(number) == cursor.number - 1:
                        return cursor.page
                    raise _strange(request)
                return _next_page(attempt, cursor, name, most)
        name = f"obstore-{next(self._numbers)}"
        cursor = _Cursor(request, prefix, start_after)
        (_fold if delimiter else _begin)(attempt, cursor)
        page = _next_page(attempt, cursor, name, most)
        if page.next_token:
            with self._lock:
                self._cursors[name] = cursor
                if len(self._cursors) > _KEPT:
                    self._cursors.popitem(last=False)
        return page


def _begin(attempt: Attempt, cursor: _Cursor) -> None:
    cursor.fill(attempt)
    if not cursor.pending:
        verify_empty(attempt, cursor.prefix)
    elif not cursor.folder:
        cursor.look_for_slashes(attempt)


def _fold(attempt: Attempt, cursor: _Cursor) -> None:
    """With the delimiter "/": obstore reads the folder to its end, so all pages are there with the first."""
    folder, prefix = cursor.folder, cursor.prefix
    found = attempt.in_time(lambda store: obstore.list_with_delimiter_async(store, folder or None))
    # Nothing is in doubt: a key with a "/" further on is folded, so it is the folder's own marker or ends without.
    together = [meta["path"] for meta in found["objects"]] + [path + "/" for path in found["common_prefixes"]]
    if together and not len(together) % _CHUNK:
        expect_none_behind(attempt, folder, max(together, key=str.encode))
    objects = [_info(meta, _certain_key(folder, meta["path"])) for meta in found["objects"]]
    prefixes = [path + "/" for path in found["common_prefixes"]]
    if not objects and not prefixes:
        verify_empty(attempt, prefix)
    entries: list[ObjectInfo | str] = [info for info in objects if info.key.startswith(prefix)]
    entries += [one for one in prefixes if one.startswith(prefix)]
    cursor.folded.extend(sorted(entries, key=lambda one: (one if isinstance(one, str) else one.key).encode()))
    cursor.ended = True


def _next_page(attempt: Attempt, cursor: _Cursor, name: str, most: int) -> ListPage:
    """The page after the last one. When it raises, the same page can be asked for again."""
    if not cursor.pending and not cursor.ended:
        cursor.fill(attempt)
    objects: list[ObjectInfo] = []
    keys: list[str] = []
    questions = 0
    for meta, doubtful in cursor.pending:
        if len(objects) == most or questions == _QUESTIONS:
            break
        questions += doubtful
        info = _info(meta, _key(attempt, cursor.folder, meta["path"], doubtful))
        keys.append(info.key)
        if info.key.startswith(cursor.prefix) and (not cursor.leave_out or info.key.encode() > cursor.leave_out):
            objects.append(info)
    for key in keys:
        cursor.give(key)
    entries = [cursor.folded.popleft() for _ in range(min(most, len(cursor.folded)))]
    objects += [one for one in entries if not isinstance(one, str)]
    cursor.number += 1
    more = cursor.pending or cursor.folded or not cursor.ended
    token = f"{name}.{cursor.number}" if more else ""
    cursor.page = ListPage(objects, [one for one in entries if isinstance(one, str)], token)
    return cursor.page


def _certain_key(folder: str, path: str) -> str:
    # The key begins with the folder and its "/"; when the path does not, it was no more than that.
    return path + "/" if not path or (folder and not path.startswith(folder + "/")) else path


def _key(attempt: Attempt, folder: str, path: str, doubtful: bool) -> str:
    """The key that obstore listed as ``path``. Raises InvalidRequest when there are two."""
    key = _certain_key(folder, path)
    if key != path or not doubtful or not is_marker(attempt, path):
        return key
    try:
        attempt.ask(obstore.head, path)
    except NotFound:
        return path + "/"
    raise _alike(attempt, path, path + "/")


def _alike(attempt: Attempt, one: str, other: str) -> InvalidRequest:
    return InvalidRequest(
        f"{attempt.request.describe()}: there are both {one!r} and {other!r}, which obstore lists alike; use another "
        "transport, e.g. raw",
        **attempt.request.where(),
    )  # fmt: skip


def _strange(request: Answer) -> InvalidRequest:
    return InvalidRequest(
        f"{request.describe()}: the continuation token is none of this transport's, or too old; begin again",
        **request.where(),
    )  # fmt: skip


def _info(meta: Any, key: str) -> ObjectInfo:
    stamp: str = meta["last_modified"].isoformat(timespec="milliseconds")
    return ObjectInfo(key, meta["size"], (meta["e_tag"] or "").strip('"'), stamp.replace("+00:00", "Z"))
