"""The local files that the SRC of an upload means."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from s3engine.errors import SourceError

if TYPE_CHECKING:
    from s3engine.cli.options import NameFilter
    from s3engine.sources import FileSource

__all__ = ["file_size", "upload_sources"]


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


def file_size(file: FileSource) -> int:
    """Its bytes; 0 when it cannot be asked."""
    try:
        return os.stat(file.path).st_size
    except OSError:
        return 0
