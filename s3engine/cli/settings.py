"""What becomes of options that verbs share: a Config, a filter of names. Without click: ``ls`` starts without it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from s3engine.cli.interrupts import interrupts

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from s3engine.config import Config

__all__ = ["NameFilter", "config_from", "name_filter", "settings_from"]

NameFilter: TypeAlias = "Callable[[str], bool]"
_SETTINGS = ("endpoint_url", "profile", "region", "ca_bundle", "transport", "workers", "concurrency", "checksum")


def settings_from(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings said anywhere: option, else --config file, else ``S3ENGINE_*``. Raises ConfigError, naming the place.

    ``AWS_*`` comes after all of these; the engine looks there for what is left.
    """
    from s3engine.config import Config

    settings = Config.from_environment()
    Config.from_mapping(settings, "S3ENGINE_* variables")
    path = values.get("config_file")
    if path is not None:
        Config.from_toml(path)  # so that what is wrong in the file is told with its name
        settings |= _read_toml(path)
    options = {name: values[name] for name in _SETTINGS if values.get(name) is not None}
    if values.get("no_sign_request"):
        options["anonymous"] = True
    if values.get("no_verify_ssl"):
        options["verify_tls"] = False
    if values.get("no_verify"):
        options["verify_downloads"] = False
    Config.from_mapping(options, "command line")
    return {**settings, **options}


def config_from(values: Mapping[str, Any]) -> Config:
    """The Config from ``engine_options``. Raises ConfigError."""
    from s3engine.config import Config
    from s3engine.pool.load import dotted_name

    config = Config.from_mapping(settings_from(values), "settings")
    dotted_name(config.transport)  # an unknown name is told before anything is begun
    interrupts.grace_s = config.shutdown_grace_s
    return config


def _read_toml(path: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with open(path, "rb") as file:
        values: dict[str, Any] = tomllib.load(file)
    return values


def name_filter(include: tuple[str, ...], exclude: tuple[str, ...]) -> NameFilter | None:
    """Whether a name, relative to the source, is meant; None when all are.

    Shell globs as in :mod:`fnmatch`, upper and lower case told apart. A name that matches an ``exclude`` is out. Else,
    where there is any ``include``, it is in when it matches one of them. The order on the command line says nothing.
    """
    if not include and not exclude:
        return None
    wanted = _any_of(include) if include else None
    unwanted = _any_of(exclude) if exclude else None

    def matches(name: str) -> bool:
        if unwanted is not None and unwanted(name):
            return False
        return wanted is None or wanted(name) is not None

    return matches


def _any_of(globs: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    import fnmatch
    import re

    return re.compile("|".join(fnmatch.translate(glob) for glob in globs)).match
