"""The raw transport with listings of few keys to a page, so that few objects make many pages."""

from __future__ import annotations

import os
from typing import Any

from s3engine.transport import ListPage, Timeouts
from s3engine_transports.raw import RawTransport

__all__ = ["KEYS", "SmallPages", "TwentyKeys"]

KEYS = int(os.environ.get("TESTS_PAGE_KEYS", "10"))


class SmallPages(RawTransport):
    """Pages of ten keys, or of ``TESTS_PAGE_KEYS``."""

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *, max_keys: int = KEYS, timeouts: Timeouts, **options: Any
    ) -> ListPage:
        """One page."""
        return super().list_objects_v2(bucket, prefix, max_keys=KEYS, timeouts=timeouts, **options)


class TwentyKeys(RawTransport):
    """Pages of twenty keys."""

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *, max_keys: int = 20, timeouts: Timeouts, **options: Any
    ) -> ListPage:
        """One page."""
        return super().list_objects_v2(bucket, prefix, max_keys=20, timeouts=timeouts, **options)
