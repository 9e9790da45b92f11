"""What a store does with the checksums that are sent with an upload, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from s3engine.checksums import ALGORITHMS

__all__ = ["AMAZON", "Abilities", "endpoint_name", "is_amazon", "is_loopback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """Found by a probe (:mod:`s3engine.integrity.probe`), or known. The default is what is known of nobody."""

    verifies: tuple[str, ...] = ()
    """Algorithms (:data:`s3engine.checksums.ALGORITHMS`) whose header makes the store refuse other bytes."""
    trailers: bool = False
    """It compares a checksum that follows the body (STREAMING-UNSIGNED-PAYLOAD-TRAILER), and stores the body alone."""
    full_object: bool = False
    """For an upload in parts it keeps one CRC of the whole object (``x-amz-checksum-type: FULL_OBJECT``)."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"verifies": list(self.verifies), "trailers": self.trailers, "full_object": self.full_object}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Abilities:
        """Back from JSON. Raises ValueError for anything that is not ours."""
        verifies, trailers, full_object = values.get("verifies"), values.get("trailers"), values.get("full_object")
        if not isinstance(verifies, list) or not all(name in ALGORITHMS for name in verifies):
            raise ValueError("verifies")
        if not isinstance(trailers, bool) or not isinstance(full_object, bool):
            raise ValueError("trailers, full_object")
        return cls(verifies=tuple(verifies), trailers=trailers, full_object=full_object)


# https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
AMAZON = Abilities(verifies=ALGORITHMS, trailers=True, full_object=True)


def is_amazon(endpoint_url: str) -> bool:
    """Whether requests go to Amazon itself."""
    host = urlsplit(endpoint_url).hostname or ""
    return not endpoint_url or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def is_loopback(endpoint_url: str) -> bool:
    """Whether requests stay on this machine."""
    host = urlsplit(endpoint_url).hostname or ""
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")


def endpoint_name(endpoint_url: str) -> str:
    """The endpoint as it may be written down: without a user's name and password."""
    parts = urlsplit(endpoint_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
