"""What can be asked of an upload, a copy or a new object: sources and the request template. Frozen values."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeAlias
from urllib.parse import urlencode

from s3engine.errors import ConfigError
from s3engine.transport import Headers

__all__ = ["ObjectHeaders", "Template", "content_type_headers", "is_secret", "made_by"]

_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHeaders:
    """What goes with an object besides its body; "" and empty mean: not sent. Values are checked when made.

    Everything that S3 knows as a request header and that has no field here goes into ``extra``, lower-case names.
    """

    content_type: str = ""
    """Guessed from the name where it is not given."""
    cache_control: str = ""
    content_disposition: str = ""
    content_encoding: str = ""
    content_language: str = ""
    expires: str = ""
    storage_class: str = ""
    """STANDARD, STANDARD_IA, INTELLIGENT_TIERING, GLACIER ..."""
    acl: str = ""
    """A canned ACL: private, public-read, bucket-owner-full-control ..."""
    sse: str = ""
    """Server-side encryption: AES256 or aws:kms."""
    sse_kms_key_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """User metadata, without the ``x-amz-meta-`` before each name. ASCII; stores may change the case of names."""
    tags: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for setting in ("metadata", "tags", "extra"):
            given = getattr(self, setting)
            if not isinstance(given, Mapping):
                raise ConfigError(f"{setting} must be texts by name, a dict, not {given!r}")
            for name, value in given.items():
                if not (isinstance(name, str) and isinstance(value, str)):
                    raise ConfigError(f"{setting} must be texts by name, not {name!r}: {_shown(name, value)}")
        for name, value in self.as_headers():
            if not isinstance(value, str):
                raise ConfigError(f"header {name!r} must be text, not {value!r}")
            if not _token(name):
                raise ConfigError(f"{name!r} is no header name: letters, digits, hyphens and the like, in ASCII")
            if not (value.isascii() and value.isprintable()):
                text = f"header {name!r} must be printable ASCII, not {_shown(name, value)}; encode it (RFC 2047)"
                raise ConfigError(text)

    def __repr__(self) -> str:
        """What is set; keys of the customer's own encryption are masked."""
        extra = {name: "***" if is_secret(name) else value for name, value in self.extra.items()}
        found = {field.name: getattr(self, field.name) for field in fields(self)} | {"extra": extra}
        return f"ObjectHeaders({', '.join(f'{name}={value!r}' for name, value in found.items() if value)})"

    @property
    def has_secret(self) -> bool:
        """Whether a key of the customer's own encryption is among them: it is written down nowhere."""
        return any(map(is_secret, self.extra))

    def as_headers(self) -> Headers:
        """Pairs with lower-case names, as a transport takes them."""
        named = (
            ("content-type", self.content_type), ("cache-control", self.cache_control),
            ("content-disposition", self.content_disposition), ("content-encoding", self.content_encoding),
            ("content-language", self.content_language), ("expires", self.expires),
            ("x-amz-storage-class", self.storage_class), ("x-amz-acl", self.acl),
            ("x-amz-server-side-encryption", self.sse),
            ("x-amz-server-side-encryption-aws-kms-key-id", self.sse_kms_key_id),
            ("x-amz-tagging", urlencode(dict(self.tags)) if self.tags else ""),
        )  # fmt: skip
        headers = [(name, value) for name, value in named if value]
        headers.extend((f"x-amz-meta-{name.lower()}", value) for name, value in self.metadata.items())
        headers.extend((name.lower(), value) for name, value in self.extra.items())
        return tuple(headers)


def is_secret(name: object) -> bool:
    """Whether a header of this name, in any case of letters, holds a key of the customer's own encryption."""
    return isinstance(name, str) and name.lower().endswith("-customer-key")


def _shown(name: object, value: object) -> str:
    return "***" if is_secret(name) else repr(value)


Template: TypeAlias = "ObjectHeaders | Callable[..., ObjectHeaders] | None"
"""Headers for all objects of a batch, or a function of the source that gives those of each (run in the parent)."""


def made_by(template: Callable[..., ObjectHeaders], source: object) -> ObjectHeaders:
    """What a template that is a function gives for ``source``. Raises ConfigError when that is no ObjectHeaders."""
    made = template(source)
    if not isinstance(made, ObjectHeaders):
        raise ConfigError(f"the template must return ObjectHeaders, not {type(made).__name__}")
    return made


def content_type_headers(path: str, headers: Headers, guess: bool) -> Headers:
    """``headers`` with a content type guessed from the name, unless there is one or none is wished."""
    if not guess or any(name == "content-type" for name, _ in headers):
        return headers
    kind, encoding = mimetypes.guess_type(path)
    # A compressed file is served as what it is, so that no client unpacks it on the way.
    return (*headers, ("content-type", kind if kind and not encoding else "application/octet-stream"))
