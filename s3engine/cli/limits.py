"""``--max-delete``, ``--unconditional``, ``--no-clobber`` and its like: what they come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from s3engine.errors import ConfigError

if TYPE_CHECKING:
    from s3engine.cli.route import Route
    from s3engine.existing import Existing
    from s3engine.journal import Journal
    from s3engine.limits import DeleteLimit

__all__ = ["Limits", "left_of", "limits_of"]


class Limits(NamedTuple):
    """The options of a verb that deletes or writes over what is there."""

    limit: DeleteLimit | None
    unconditional: bool
    existing: Existing | None = None

    def of(self, *, deletes: bool) -> dict[str, Any]:
        """Arguments of the engine's operations; those that limit deletes only for one that deletes."""
        named: dict[str, Any] = {} if self.existing is None else {"existing": self.existing}
        if deletes:
            named["max_delete"] = self.limit.text if self.limit is not None else None
            named["unconditional"] = self.unconditional
        return named

    def within(self, objects: Iterable[Any], journal: Journal | None = None) -> Iterable[Any]:
        """For a plan: the same objects, or DeleteLimitExceeded before the first.

        With ``journal`` those of them that a run would take up, and what it has left from earlier ones.
        """
        if self.limit is None:
            return left_of(objects, journal)
        from s3engine.limits import within

        found = within(objects, self.limit)
        if journal is None:
            return found
        from s3engine.journal.rest import Rest

        rest = Rest(journal)
        try:
            objects, _ = found.all_of_job(rest.earlier())
        except BaseException:
            rest.close()
            raise
        return rest.of(objects)

    def compared(self, objects: Iterable[Any], journal: Journal | None = None) -> Iterable[Any]:
        """As within, and all of a listing before any of it."""
        from s3engine.listing import ObjectListing
        from s3engine.spool import all_or_nothing

        if self.limit is None and isinstance(objects, ObjectListing):
            return left_of(all_or_nothing(objects), journal)
        return self.within(objects, journal)


def left_of(objects: Iterable[Any], journal: Journal | None) -> Iterable[Any]:
    """For a plan: what a run with ``journal`` would take up; all without one. Raises ConfigError, JournalError."""
    if journal is None:
        return objects
    from s3engine.journal.rest import Rest

    return Rest(journal).of(objects)


def limits_of(way: Route | None, values: Mapping[str, Any]) -> Limits:
    """From ``destroy_options`` and ``existing_options``: what is wrong is told before anything is asked.

    ``way``: where objects go, None for a verb that only deletes. Raises ConfigError.
    """
    text = values.get("max_delete")
    existing = _existing(way, values) if way is not None else None
    if text is None:
        return Limits(None, bool(values.get("unconditional")), existing)
    from s3engine.limits import DeleteLimit

    limit = DeleteLimit.parse(text, "--max-delete")
    if way is not None and way.kind == "upload":
        raise ConfigError("--max-delete counts objects that would be deleted; this removes local files")
    return Limits(limit, bool(values.get("unconditional")), existing)


_POLICIES = {"no_clobber": "keep", "if_size_differ": "if-size-differs", "if_source_newer": "if-source-newer"}


def _existing(way: Route, values: Mapping[str, Any]) -> Existing | None:
    given = [name for name in _POLICIES if values.get(name)]
    if not given:
        return None
    if len(given) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(f"{names} say different things about what is there already; give one of them")
    from s3engine.existing import Existing

    # One object is asked for by itself; for many all that is below the target is listed first.
    return Existing(_POLICIES[given[0]], None if way.only else way.target)
