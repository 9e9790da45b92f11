"""The local files that the SRC of an upload means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from s3engine.cli.options import NameFilter
    from s3engine.journal.files import JournalFiles
    from s3engine.sources import FileSource

__all__ = ["file_size", "upload_sources"]


def upload_sources(
    source: str, prefix: str, only: str, wanted: NameFilter | None, own: JournalFiles | None = None
) -> Iterator[FileSource]:
    """The files that ``source`` means, without those of the job's journal.

    Raises SourceError when it does not exist, ConfigError when it is the journal itself.
    """
    from s3engine.sources import FileSource, files_recursive

    if not os.path.lexists(source):
        raise SourceError(f"{source!r} does not exist; check the path", path=source)
    if only:
        if own is not None and own.holds(source):
            raise ConfigError(f"{source!r} belongs to the journal of this job; name another file for --journal")
        found: Iterable[FileSource] = [FileSource(source, prefix + only)]
        return (file for file in found if wanted is None or wanted(os.path.basename(file.path)))
    walk = files_recursive(source, prefix)
    if own is not None:
        walk.leave_out(own.holds)
    cut = len(prefix)
    return walk if wanted is None else _Wanted(walk, lambda file: wanted(file.key[cut:]))


class _Wanted(Iterator["FileSource"]):
    """The files of a walk that are wanted."""

    def __init__(self, walk: Any, is_wanted: Callable[[FileSource], bool]) -> None:
        self._walk = walk
        self._is_wanted = is_wanted

    def __next__(self) -> FileSource:
        for file in self._walk:
            if self._is_wanted(file):
                return file  # type: ignore[no-any-return]  # the walk gives FileSource
        raise StopIteration

    def below(self, folder: str, key: str) -> Iterator[FileSource]:
        """As the walk has it."""
        return filter(self._is_wanted, self._walk.below(folder, key))


def file_size(file: FileSource) -> int:
    """Its bytes; 0 when it cannot be asked."""
    try:
        return os.stat(file.path).st_size
    except OSError:
        return 0
