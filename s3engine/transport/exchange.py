"""The operations of S3 free of I/O: what a transport may offer besides, so that a loop can drive its connections."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

from s3engine.transport.values import Body

__all__ = ["Exchange", "Exchanges", "Link", "MultiplexableTransport"]

R_co = TypeVar("R_co", covariant=True)


class Exchange(Protocol[R_co]):
    """One request and its answer, free of I/O: a driver sends ``head`` and ``body`` and feeds what comes back."""

    endpoint: Any
    """Hashable; exchanges of equal endpoint may share a connection. Opaque to the driver."""
    head: bytes
    body: Body
    started: bool
    """A byte of the answer has come."""
    # Optional: ``trailer``, an algorithm of s3engine.checksums. The driver then sends a FilePart in the framing of
    # s3engine.chunked, and leaves the checksum of its bytes in ``checksum``.
    reusable: bool
    """After completion: the connection may carry another exchange."""

    def feed(self, data: memoryview) -> bool:
        """Take received bytes (b"" at end of stream); True when the answer is whole.

        Raises NotS3, TruncatedBody, ConnectionLost, SinkError.
        """

    def result(self) -> R_co:
        """The answer's value, once whole. Raises the RequestError that the answer stands for."""


class Link(Protocol):
    """An open connection, as a transport hands it to a driver: connected, TLS done, non-blocking."""

    sock: Any

    def close(self) -> None:
        """Close the socket."""

    def park(self) -> None:
        """Give the idle connection back to the transport's pool."""


class Exchanges(Protocol):
    """The same operations as :class:`s3engine.transport.Transport`.

    Each returns an :class:`Exchange` instead of blocking.
    """

    def __getattr__(self, name: str) -> Any: ...


@runtime_checkable
class MultiplexableTransport(Protocol):
    """What the loop lane needs beyond :class:`s3engine.transport.Transport`."""

    @property
    def exchanges(self) -> Any:
        """An object with the operations of Transport; each returns an Exchange of its result."""

    def open_link(self, endpoint: Any, timeout_s: float) -> Link:
        """Connect; blocks, so drivers call it from a helper thread. Raises ConnectFailed, ConnectTimeout."""

    # Optional: ``begin_link(endpoint)``, a Link whose socket is still connecting, or None where only ``open_link`` can.
    # It has ``connected`` besides (at once), ``failed()``, asked when the socket is writable, ``too_late(timeout_s)``,
    # the error for one that never was, and ``used``. After a failure the driver asks ``open_link``: that says why.
