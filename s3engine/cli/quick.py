"""A command line of ``ls`` without click, whose import takes longer than the listing.

Only what is said in full: any option that is not in these tables, any abbreviation, doubt or mistake, and ``--help``,
are left to click, which has the texts. That both say the same is held by a test.
"""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False  # as of typing, whose import takes a while
if TYPE_CHECKING:
    from typing import Any

__all__ = ["values_of_ls"]

_TEXTS = {
    "--endpoint-url": "endpoint_url", "--profile": "profile", "--region": "region", "--ca-bundle": "ca_bundle",
    "--transport": "transport", "--config": "config_file",
}  # fmt: skip
_NUMBERS = {"--workers": "workers", "-n": "concurrency", "--concurrency": "concurrency"}
_FLAGS = {
    "-r": "recursive", "--recursive": "recursive", "--json": "as_json", "--no-sign-request": "no_sign_request",
    "--no-verify-ssl": "no_verify_ssl",
}  # fmt: skip
_LISTS = {"--include": "include", "--exclude": "exclude"}


def values_of_ls(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The values of ``ls`` (those of click, by name), or None: let click see."""
    values: dict[str, Any] = {name: None for table in (_TEXTS, _NUMBERS) for name in table.values()}
    values |= dict.fromkeys(_FLAGS.values(), False)
    lists: dict[str, list[str]] = {name: [] for name in _LISTS.values()}
    uris = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            uris.append(argument)
            continue
        if argument in _FLAGS:
            values[_FLAGS[argument]] = True
            continue
        option, equals, value = argument.partition("=") if argument.startswith("--") else (argument, "", "")
        if not equals:
            value = next(rest, "-")
            if value.startswith("-"):
                return None
        if option in _TEXTS:
            values[_TEXTS[option]] = value
        elif option in _LISTS:
            lists[_LISTS[option]].append(value)
        elif option in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 10:
            values[_NUMBERS[option]] = int(value)
        else:
            return None
    if len(uris) != 1 or not uris[0]:
        return None
    return values | {name: tuple(globs) for name, globs in lists.items()} | {"uri": uris[0]}
