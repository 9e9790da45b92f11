"""Which checksum an upload carries, and how: out of what is wished, what the store does and what the transport can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from s3engine.checksums import ALGORITHMS, COMBINABLE
from s3engine.checksums import available as _available
from s3engine.errors import ConfigError
from s3engine.integrity.abilities import Abilities
from s3engine.transport import Capabilities

__all__ = ["Checking", "check_setting", "choose"]

_CHEAPEST_FIRST = ("crc32", "crc64nvme", "crc32c", "sha256")
# CRC32 goes before the two of awscrt: that costs 60 ms to import, and zlib's does 3 to 4 GB/s.


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """What workers do about the bytes of one batch. Algorithms are names of ``checksums.ALGORITHMS``, "" for none."""

    whole: str = ""
    """The algorithm for objects that go in one request."""
    parts: str = ""
    """The algorithm for parts of large objects."""
    verified: tuple[str, ...] = ()
    """Those that the store is known to compare."""
    sent: bool = True
    """The transport takes the header. Without it a checksum is only compared with the ETag that comes back."""
    trailers: bool = False
    """Parts (and whole bodies that are too large to be held) get their checksum behind them."""
    full_object: bool = False
    """The store keeps one CRC of a whole object that was uploaded in parts."""
    signed: bool = False
    """The signature covers the body's SHA-256, so a body is read before it is sent."""


def check_setting(setting: str, capabilities: Capabilities, transport: str) -> None:
    """Raises ConfigError when the algorithm ``setting`` cannot be computed here or not be sent by the transport."""
    if setting in ("auto", "none"):
        return
    if not capabilities.checksums:
        raise ConfigError(
            f"checksum {setting!r}: the transport {transport!r} cannot send one: {capabilities.reason('checksums')}. "
            "Use checksum='auto' (--checksum auto), which compares what comes back, or transport='raw'"
        )
    if not _available(setting):
        raise ConfigError(
            f"checksum {setting!r} needs awscrt: pip install 's3engine[crt]', or take another: crc32, sha256, md5"
        )


def choose(
    setting: str, abilities: Abilities, capabilities: Capabilities, *, signed: bool,
    available: Callable[[str], bool] = _available,
) -> Checking:  # fmt: skip
    """What to do at a store of these abilities.

    Args:
        setting: auto, none, or an algorithm, which is then taken as it is.
        abilities: What is known of the store; ``Abilities()`` when nothing is. Then MD5 it is: S3 has compared
            Content-MD5 from its first day, and most stores give it back as the ETag, which proves it.
        capabilities: Of the transport.
        signed: Signatures cover the body, so that its SHA-256 is computed anyway.
        available: Whether an algorithm can be computed here.
    """
    if setting == "none":
        return Checking(signed=signed)
    if not capabilities.checksums:
        return Checking(whole="md5", parts="md5", sent=False, signed=signed)
    if setting in ALGORITHMS:
        whole = parts = setting
    else:
        found = [name for name in _CHEAPEST_FIRST if name in abilities.verifies and available(name)]
        whole = parts = found[0] if found else "md5"
        if signed and "sha256" in found:
            # One pass for signature and checksum. Of parts a CRC is worth its third of the time of a SHA-256: it
            # describes the whole object, and a download can be held to it.
            whole = "sha256"
            parts = parts if abilities.full_object and parts in COMBINABLE else "sha256"
    return Checking(
        whole=whole, parts=parts, verified=abilities.verifies, signed=signed,
        trailers=capabilities.trailers and abilities.trailers and not signed,
        # CRC64NVME has no other form: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
        full_object=parts == "crc64nvme" or (abilities.full_object and parts in COMBINABLE),
    )  # fmt: skip
