"""Which keys obstore can send as they are, and which folder it has to list for a prefix.

To obstore a key is a path: it refuses empty segments, ``.``, ``..`` and ASCII control characters, and it takes one
``/`` off either end without a word. A put of ``a/`` would write ``a``, and one of ``/`` would go to the bucket itself.
"""

from __future__ import annotations

import re

from s3engine.errors import InvalidRequest
from s3engine_transports.common import Answer

__all__ = ["after_all_before_slash", "after_all_names", "check_key", "folder_of", "is_exact", "is_surrogate"]

_odd = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|(?:^|/)\.{0,2}(?:/|\Z)").search
is_surrogate = re.compile(r"[\ud800-\udfff]").search
"""Whether a text cannot be sent as UTF-8."""

after_all_names = "\U0010ffff"
"""In byte order: behind every name in a folder, but for those nobody makes."""

after_all_before_slash = ".\U0010ffff"
"""In byte order: behind every key that begins with a character below ``/``, but for those nobody makes."""


def is_exact(key: str) -> bool:
    """Whether obstore sends this key as it is."""
    return not _odd(key)


def check_key(request: Answer, key: str) -> None:
    """Raise InvalidRequest for a key that would not arrive exactly."""
    if not _odd(key):
        return
    if not key:
        why = "the key is empty"
    elif is_surrogate(key):
        why = f"the key {key!r} is not Unicode; give it another"
    else:
        why = (
            f"obstore cannot address the key {key!r} (empty segment, '.', '..', '/' at an end, or a control "
            "character); use another transport, e.g. raw"
        )
    raise InvalidRequest(f"{request.describe()}: {why}", **request.where())


def folder_of(request: Answer, prefix: str) -> str:
    """The folder, without its last ``/``, that holds all keys with this prefix; "" is the bucket.

    Raises InvalidRequest when obstore cannot list it.
    """
    folder, slash, _ = prefix.rpartition("/")
    if is_surrogate(prefix):
        raise InvalidRequest(
            f"{request.describe()}: the prefix {prefix!r} is not Unicode; give another", **request.where()
        )
    if slash and not is_exact(folder):
        raise InvalidRequest(
            f"{request.describe()}: obstore cannot list the prefix {prefix!r} (empty segment, '.', '..', or a control "
            "character); use another transport, e.g. raw",
            **request.where(),
        )  # fmt: skip
    return folder
