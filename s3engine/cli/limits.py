"""``--max-delete`` and ``--unconditional``: what they come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from s3engine.errors import ConfigError

if TYPE_CHECKING:
    from s3engine.limits import DeleteLimit

__all__ = ["Limits", "limits_of"]


class Limits(NamedTuple):
    """The options of a verb that deletes."""

    limit: DeleteLimit | None
    unconditional: bool

    def of(self, deletes: bool) -> dict[str, Any]:
        """Arguments of the engine's operations; none for one that deletes nothing."""
        if not deletes:
            return {}
        return {"max_delete": self.limit.text if self.limit is not None else None, "unconditional": self.unconditional}

    def within(self, objects: Iterable[Any]) -> Iterable[Any]:
        """For a plan: the same objects, or DeleteLimitExceeded before the first."""
        if self.limit is None:
            return objects
        from s3engine.limits import within

        return within(objects, self.limit)


def limits_of(kind: str, values: Mapping[str, Any]) -> Limits:
    """From ``destroy_options``, so that a wrong one is told before anything is asked. Raises ConfigError."""
    text = values.get("max_delete")
    if text is None:
        return Limits(None, bool(values.get("unconditional")))
    from s3engine.limits import DeleteLimit

    limit = DeleteLimit.parse(text)
    if kind == "upload":
        raise ConfigError("--max-delete counts objects that would be deleted; this removes local files")
    return Limits(limit, bool(values.get("unconditional")))
