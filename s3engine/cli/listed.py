"""What ``ls`` does. Apart from its options (buckets.py), so that it can run without click being imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3engine.cli.settings import NameFilter, config_from, name_filter
from s3engine.cli.text import complain, glob_hint, json_line, one_line, write
from s3engine.uri import S3Uri

if TYPE_CHECKING:
    from s3engine.transport import ListPage, ObjectInfo

__all__ = ["list_objects"]


def list_objects(uri: str, recursive: bool, as_json: bool, **values: Any) -> int:
    """Print what there is below ``uri`` and return the exit code; ``values`` are those of ls's other options."""
    where = S3Uri.parse(uri)
    wanted = name_filter(values["include"], values["exclude"])
    config = config_from(values)

    from s3engine.engine import Engine

    cut = where.key.rfind("/") + 1
    found = False
    with Engine(config) as engine:
        for page in engine.list(where.bucket, where.key, delimiter="" if recursive else "/").pages():
            text = _json_lines(where.bucket, page, wanted, cut) if as_json else _lines(page, wanted, cut)
            if text:
                found = True
                write(text)
    if not found:
        complain(_nothing(where, filtered=wanted is not None))
    return 0


def _nothing(where: S3Uri, *, filtered: bool) -> str:
    below = "below" if not where.key or where.key.endswith("/") else "begins with"
    left = " that --include and --exclude leave" if filtered else ""
    hint = glob_hint(where.bucket, where.key)
    return f"nothing {below} s3://{where.bucket}/{where.key}{left}{f'; {hint}' if hint else ''}"


def _chosen(page: ListPage, wanted: NameFilter | None, cut: int) -> tuple[list[str], list[ObjectInfo]]:
    if wanted is None:
        return page.prefixes, page.objects
    prefixes = [prefix for prefix in page.prefixes if wanted(prefix[cut:])]
    return prefixes, [info for info in page.objects if wanted(info.key[cut:])]


def _lines(page: ListPage, wanted: NameFilter | None, cut: int) -> str:
    prefixes, objects = _chosen(page, wanted, cut)
    keys = [info.key for info in objects]
    if not "".join(keys).isprintable():
        keys = [one_line(key) for key in keys]
    # One format for all of them, with their fields in a row: half the time of one for each.
    fields: list[Any] = [""] * (3 * len(objects))
    fields[0::3] = [info.last_modified for info in objects]
    fields[1::3] = [info.size_bytes for info in objects]
    fields[2::3] = keys
    listed = "%-19.19sZ%14d  %s\n" * len(objects) % tuple(fields)
    return "".join([f"{'PRE':>34}  {one_line(prefix)}\n" for prefix in prefixes]) + listed


def _json_lines(bucket: str, page: ListPage, wanted: NameFilter | None, cut: int) -> str:
    prefixes, objects = _chosen(page, wanted, cut)
    lines = [json_line(bucket=bucket, prefix=prefix) for prefix in prefixes]
    lines.extend([json_line(bucket=bucket, **info._asdict()) for info in objects])
    return "".join([f"{line}\n" for line in lines])
