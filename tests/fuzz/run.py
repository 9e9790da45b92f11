"""One run: counts cases, times each, and watches the memory of the process."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
HANG_S = 1.0
WARM_CASES = 5000
"""Cases before the memory of the start is taken: caches and arenas are filled by then."""
GROWTH_BYTES = 32 * 1024 * 1024
"""Memory that a run may grow by: a leak of 1 KiB per case is beyond it after 30 000 cases."""
_EVERY = 1000
_KEPT = 10


@dataclass
class Result:
    """What a run came to."""

    target: str
    engine: str
    cases: int = 0
    elapsed_s: float = 0.0
    longest_s: float = 0.0
    start_bytes: int = 0
    end_bytes: int = 0
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)

    @property
    def grew_bytes(self) -> int:
        """Growth of the resident memory after the warming up; 0 where it was not measured, as the run was too short."""
        return self.end_bytes - self.start_bytes if self.start_bytes else 0

    @property
    def problems(self) -> list[str]:
        """What was found, in words."""
        grown = [f"memory grew by {self.grew_bytes} bytes"] if self.grew_bytes > GROWTH_BYTES else []
        return [*self.crashes, *self.hangs, *grown]

    def __str__(self) -> str:
        memory = f"{self.start_bytes / 2**20:.1f} MiB after {WARM_CASES} cases" if self.start_bytes else (
            f"growth not measured in fewer than {WARM_CASES} cases"
        )  # fmt: skip
        return (
            f"{self.target} ({self.engine}): {self.cases} cases in {self.elapsed_s:.0f} s, "
            f"{len(self.crashes)} crashes, {len(self.hangs)} hangs, longest case {self.longest_s * 1e3:.0f} ms, "
            f"memory {memory}, {self.end_bytes / 2**20:.1f} MiB at the end"
        )


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def seeds(target: str) -> list[bytes]:
    """The corpus of a target that is kept with the tests."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


class Watched:
    """A target that counts, times and remembers; ``path`` gets the result now and then, for who waits outside."""

    def __init__(self, result: Result, target: Callable[[bytes], None], path: Path | None = None) -> None:
        self.result = result
        self._target = target
        self._path = path
        self._started_s = time.monotonic()

    def __call__(self, data: bytes) -> None:
        """Run one case. Raises nothing."""
        result = self.result
        started_s = time.monotonic()
        try:
            self._target(data)
        except Exception:  # noqa: BLE001  (what it is, is the finding)
            if len(result.crashes) < _KEPT:
                last = traceback.format_exc().strip().splitlines()
                result.crashes.append(f"{data[:300]!r}: {last[-1]} {last[-3].strip() if len(last) > 2 else ''}")
        now_s = time.monotonic()
        took_s = now_s - started_s
        if took_s > result.longest_s:
            result.longest_s = took_s
            if took_s > HANG_S and len(result.hangs) < _KEPT:
                result.hangs.append(f"{data[:300]!r}: {took_s:.1f} s")
        result.cases += 1
        result.elapsed_s = now_s - self._started_s
        if result.cases == WARM_CASES:
            result.start_bytes = resident_bytes()
        if result.cases % _EVERY == 0:
            self.save()

    def save(self) -> None:
        """Take the memory, and write the result."""
        self.result.end_bytes = resident_bytes()
        if self._path is not None:
            whole = self._path.with_suffix(".new")
            whole.write_text(json.dumps(asdict(self.result)))
            whole.replace(self._path)


def run(
    name: str, target: Callable[[bytes], None], given: Iterable[bytes], *, seconds: float, cases: int = 0
) -> Result:
    """Run the cases for so long, or until so many (0: no limit)."""
    watched = Watched(Result(name, "mutations"), target)
    for data in _limited(given, cases):
        watched(data)
        if watched.result.elapsed_s > seconds:
            break
    watched.save()
    return watched.result


def _limited(given: Iterable[bytes], cases: int) -> Iterator[bytes]:
    for number, data in enumerate(given, 1):
        yield data
        if number == cases:
            return
