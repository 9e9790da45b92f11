"""What was found out about endpoints, kept for a week in a small file: ``$XDG_CACHE_HOME/s3engine/endpoints.json``.

The file may be missing, unreadable, cut, or somebody else's: then nothing is remembered. Several processes may write it
at a time: the last one wins, and what it did not know is found out again.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from s3engine.integrity.abilities import Abilities

__all__ = ["Remembered", "cache_path"]

_KEEP_S = 7 * 86_400.0
_MAX_ENDPOINTS = 100
_MAX_FILE_BYTES = 256 * 1024


def cache_path() -> str:
    """Where the file is. "" when there is no home to put it in."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # a relative one is to be ignored: https://specifications.freedesktop.org/basedir-spec
        base = os.path.expanduser("~/.cache")
    return os.path.join(base, "s3engine", "endpoints.json") if os.path.isabs(base) else ""


class Remembered:
    """Abilities by name of an endpoint, in this process and (as far as the disk allows) for the next one."""

    def __init__(self, path: Callable[[], str] = cache_path, wall_clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall_clock = wall_clock
        self._known: dict[str, tuple[float, Abilities]] = {}
        self._filed: set[str] = set()  # names that may go into the file
        self._read: set[str] = set()  # paths
        self._lock = threading.Lock()

    def get(self, name: str) -> Abilities | None:
        """What is known; None for nothing, or too long ago."""
        with self._lock:
            path = self._path()
            if path not in self._read:
                self._read.add(path)
                self._known = {**self._load(path), **self._known}
            found = self._known.get(name)
        return found[1] if found is not None and self._fresh(found[0]) else None

    def put(self, name: str, abilities: Abilities, *, to_file: bool = True) -> None:
        """Remember, in this process alone unless ``to_file``.

        A file that cannot be written is no reason for anything to fail: the next run asks again.
        """
        with self._lock:
            path = self._path()
            self._known[name] = (self._wall_clock(), abilities)
            if path and to_file:
                self._filed.add(name)
                with contextlib.suppress(OSError):
                    own = {name: self._known[name] for name in self._filed}
                    self._save(path, {**self._load(path), **own})

    def _fresh(self, found_at: float) -> bool:
        return 0 <= self._wall_clock() - found_at < _KEEP_S

    def _load(self, path: str) -> dict[str, tuple[float, Abilities]]:
        try:
            with open(path, "rb") as file:
                import json  # lazy, as tempfile below: many runs have nothing remembered, and nothing new

                endpoints: Any = json.loads(file.read(_MAX_FILE_BYTES))["endpoints"]
            entries = list(endpoints.items())
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}
        found = {}
        for name, values in entries:
            # One entry that is not ours, of another version say, does not cost the others.
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, OverflowError):
                found[str(name)] = (float(values["found_at_s"]), Abilities.from_dict(values))
        return {name: entry for name, entry in found.items() if self._fresh(entry[0])}

    def _save(self, path: str, known: dict[str, tuple[float, Abilities]]) -> None:
        newest = sorted(known.items(), key=lambda entry: entry[1][0])[-_MAX_ENDPOINTS:]
        endpoints = {name: {"found_at_s": at, **abilities.as_dict()} for name, (at, abilities) in newest}
        folder = os.path.dirname(path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        import json
        import tempfile  # lazy, as json: most runs have nothing new to remember

        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".endpoints-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump({"version": 1, "endpoints": endpoints}, file, indent=1)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
