"""Heads of requests that are alike but for key, checksum and signature: their constant parts made once a second.

What a batch sends by the thousand differs in little: so the canonical request and the head become two formats, and the
signature starts from hashes that have taken in the signing key and the scope already. That is a third of the time of
making each head anew; what comes out is the same, byte for byte, which the tests hold it to.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from s3engine.credentials import Credentials
from s3engine.transport import Headers
from s3engine_transports.common import check_headers
from s3engine_transports.raw.routes import Route
from s3engine_transports.raw.sigv4 import canonical_value, signing_key

__all__ = ["Stencil", "cut", "is_plain_value"]

_sha256 = hashlib.sha256
_INNER = bytes(byte ^ 0x36 for byte in range(256))  # https://www.rfc-editor.org/rfc/rfc2104#section-2
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_BLOCK_BYTES = 64  # of SHA-256

is_plain_value = re.compile("[!-~]+").fullmatch
"""Values that go into a request as they are: no space to fold or trim, nothing to encode, nothing to refuse."""


class Stencil:
    """One kind of request within one second. ``second``, ``route`` and ``credentials`` tell for which it is good."""

    __slots__ = ("_canonical", "_head", "_inner", "_outer", "credentials", "hashed", "route", "second", "sized")

    def __init__(
        self, canonical: bytes, head: bytes, inner: Any, outer: Any, hashed: bool, sized: bool, second: int,
        route: Route, credentials: Credentials,
    ) -> None:  # fmt: skip
        self._canonical = canonical
        self._head = head
        self._inner = inner
        self._outer = outer
        self.hashed = hashed
        self.sized = sized
        self.second = second
        self.route = route
        self.credentials = credentials

    def head(self, path: bytes, values: tuple[bytes, ...], payload_hash: bytes, length: int) -> bytes:
        """The head of a request.

        Args:
            path: The encoded key.
            values: Of the headers that vary, in the order of their names.
            payload_hash: Only looked at if ``hashed``.
            length: Of the body; only looked at if ``sized``.
        """
        inner = self._inner.copy()
        outer = self._outer.copy()
        if self.hashed:
            canonical = self._canonical % (path, *values, payload_hash, payload_hash)
            inner.update(_sha256(canonical).hexdigest().encode())
            outer.update(inner.digest())
            return self._head % (path, *values, payload_hash, outer.hexdigest().encode(), length)
        inner.update(_sha256(self._canonical % (path, *values)).hexdigest().encode())
        outer.update(inner.digest())
        if self.sized:
            return self._head % (path, *values, outer.hexdigest().encode(), length)
        return self._head % (path, *values, outer.hexdigest().encode())


def cut(
    method: str, constant: Headers, varying: tuple[str, ...], payload_hash: str, sized: bool, amz_date: str,
    second: int, route: Route, credentials: Credentials, agent: str,
) -> Stencil | None:  # fmt: skip
    """The stencil of requests that have ``constant`` headers, and ``varying`` ones, given by name.

    ``payload_hash`` is "" where each request has a hash of its own, ``sized`` says that each has a body. None for what
    has to be made one by one: a header that stands twice, or an order of headers in which the ones that vary are not
    where they are expected.
    Raises ConfigError for headers that cannot be sent.
    """
    check_headers(constant)
    check_headers(tuple((name, "") for name in varying))
    hashed = not payload_hash
    names = [name for name, _ in constant] + list(varying)
    ours = ("host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token")
    if len(set(names)) < len(names) or any(name in ours for name in names) or list(varying) != sorted(varying):
        return None
    if hashed and any(name > "x-amz-content-sha256" for name in varying):
        return None
    signed = [("host", _literal(route.host))]
    signed += [(name, _literal(value)) for name, value in constant]
    signed += [(name, "%b") for name in varying]
    signed.append(("x-amz-content-sha256", payload_hash or "%b"))
    signed.append(("x-amz-date", amz_date))
    if credentials.token:
        signed.append(("x-amz-security-token", _literal(credentials.token)))
    signed.sort()
    signed_names = ";".join([name for name, _ in signed])
    if "%" in signed_names:
        return None
    lines = "\n".join([f"{name}:{canonical_value(value)}" for name, value in signed])
    base = _literal(route.base)
    canonical = f"{method}\n{base}%b\n\n{lines}\n\n{signed_names}\n{payload_hash or '%b'}"
    scope = f"{amz_date[:8]}/{route.region}/s3/aws4_request"
    lines = "\r\n".join([f"{name}: {value}" for name, value in signed])
    said = "content-length: %d\r\n" if sized else "content-length: 0\r\n" if method in ("PUT", "POST") else ""
    head = (
        f"{method} {_literal(route.absolute)}{base}%b HTTP/1.1\r\n{lines}\r\nauthorization: AWS4-HMAC-SHA256 "
        f"Credential={_literal(credentials.access_key)}/{_literal(scope)}, SignedHeaders={signed_names}, "
        f"Signature=%b\r\n{said}{_literal(agent)}{_literal(route.extra)}\r\n"
    )
    key = signing_key(credentials.secret_key, amz_date[:8], route.region).ljust(_BLOCK_BYTES, b"\0")
    inner = _sha256(key.translate(_INNER))
    inner.update(f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n".encode())
    return Stencil(
        canonical.encode(), head.encode(), inner, _sha256(key.translate(_OUTER)), hashed, sized, second, route,
        credentials,
    )  # fmt: skip


def _literal(text: str) -> str:
    """``text`` as it stands in a format."""
    return text.replace("%", "%%")
