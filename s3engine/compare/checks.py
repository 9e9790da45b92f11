"""Whether what a transport reported as done is so. No clock runs meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from s3engine.compare.values import Step
from s3engine.errors import S3EngineError
from s3engine.transport import ObjectInfo

__all__ = ["COPIED", "UPLOADED", "differences", "unlike", "with_failed", "with_wrong"]

UPLOADED, COPIED = "up/", "copy/"
"""Below the prefix of a run."""
_TOLD = 3  # of things that are wrong alike


def unlike(
    found: Iterable[ObjectInfo], expected: Mapping[str, int], maybe: Collection[str], what: str
) -> list[str]:
    """What a listing has other than ``expected`` (sizes by key), a line for each; keys of ``maybe`` may be there too.

    ``what`` was done with them: "listed", "copied".
    """
    sizes: dict[str, int] = {}
    twice = []
    for info in found:
        if info.key in sizes:
            twice.append(info.key)
        sizes[info.key] = info.size_bytes
    other = {key: size for key, size in expected.items() if sizes.get(key, size) != size}
    return [
        *differences(expected.keys() - sizes.keys(), sizes.keys() - expected.keys() - set(maybe), what),
        *(f"{_name(key)!r} was {what} twice" for key in twice),
        *(f"{_name(key)!r} has {sizes[key]} bytes, not {size}" for key, size in other.items()),
    ]


def differences(missing: Iterable[str], surplus: Iterable[str], what: str) -> list[str]:
    """A line for each key that is missing or should not be there."""
    return [
        *(f"{_name(key)!r} was not {what}" for key in sorted(missing)),
        *(f"{_name(key)!r} was {what} and should not be there" for key in sorted(surplus)),
    ]


def _name(key: str) -> str:
    """The key without what all keys of a comparison begin with."""
    for part in (UPLOADED, COPIED):
        _, found, name = key.partition(f"/{part}")
        if found:
            return name
    return key


def with_failed(step: Step, errors: Iterable[S3EngineError]) -> Step:
    """The step with more failures."""
    failed, messages = dict(step.failed), dict(step.messages)
    for error in errors:
        kind = type(error).__name__
        failed[kind] = failed.get(kind, 0) + 1
        messages.setdefault(kind, str(error))
    return dataclasses.replace(step, failed=failed, messages=messages)


def with_wrong(step: Step, wrong: Sequence[str]) -> Step:
    """The step with what is false in it; of many alike the first, and their number."""
    more = [f"and {len(wrong) - _TOLD} more like these"] if len(wrong) > _TOLD else []
    return dataclasses.replace(step, wrong=(*wrong[:_TOLD], *more))
