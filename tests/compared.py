"""Transports for tests of ``s3engine compare``, each with one fault, by dotted name: ``tests.compared:Liar``."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from s3engine.errors import NotSupported, RequestError
from s3engine.transport import CopyResult, DeleteFailure, GetResult, Headers, ListPage, PutResult, Sink, Timeouts
from s3engine_transports.raw.transport import RawTransport


class Blocking(RawTransport):
    """No fault: the raw transport in the lane of those that block."""

    capabilities = dataclasses.replace(RawTransport.capabilities, multiplexable=False)


class _Flipped:
    """A sink that gets each first byte changed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._first = True

    def begin(self, info: GetResult) -> None:
        self._sink.begin(info)

    def write(self, data: memoryview) -> None:
        changed = bytearray(data)
        if self._first and changed:
            changed[0] ^= 1
            self._first = False
        self._sink.write(memoryview(changed))


class Liar(Blocking):
    """Downloads other bytes than were stored."""

    def get_object(
        self, bucket: str, key: str, sink: Sink, *, first: int = 0, last: int = -1, if_match: str = "",
        headers: Headers = (), timeouts: Timeouts,
    ) -> GetResult:  # fmt: skip
        return super().get_object(
            bucket, key, _Flipped(sink), first=first, last=last, if_match=if_match, timeouts=timeouts
        )


class Forgetful(Blocking):
    """Says that keys were deleted, and deletes none."""

    def delete_objects(
        self, bucket: str, keys: list[str], *, etags: Sequence[str] = (), timeouts: Timeouts
    ) -> list[DeleteFailure]:
        return []

    def delete_object(self, bucket: str, key: str, *, if_match: str = "", timeouts: Timeouts) -> None:
        return


class Blind(Blocking):
    """Leaves the last key of each listing out."""

    def list_objects_v2(self, *args: Any, **keywords: Any) -> ListPage:
        page = super().list_objects_v2(*args, **keywords)
        return page._replace(objects=page.objects[:-1])


class Dying(Blocking):
    """Ends its process when there is something to list."""

    def list_objects_v2(self, *args: Any, **keywords: Any) -> ListPage:
        page = super().list_objects_v2(*args, **keywords)
        if page.objects:
            os.write(2, b"no more strength\n")
            os._exit(3)
        return page


class Hanging(Blocking):
    """Never comes back where there is something to list."""

    def list_objects_v2(self, *args: Any, **keywords: Any) -> ListPage:
        page = super().list_objects_v2(*args, **keywords)
        if page.objects:
            threading.Event().wait()
        return page


class Stuck(Blocking):
    """Never comes back from the third part of a large upload."""

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: Any, *, headers: Headers = (),
        trailer: str = "", timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        if number > 1:
            time.sleep(600)
        return super().upload_part(bucket, key, upload_id, number, body, timeouts=timeouts)


class Twofold(Blocking):
    """Begins each large upload twice, as when the first answer was lost; nothing fails."""

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Timeouts) -> str:
        super().create_multipart_upload(bucket, key, headers, timeouts=timeouts)
        return super().create_multipart_upload(bucket, key, headers, timeouts=timeouts)


class CopyLess(Blocking):
    """Has no copy, as some stores have none."""

    def copy_object(
        self, source_bucket: str, source_key: str, bucket: str, key: str, headers: Headers, *, if_match: str = "",
        timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        raise NotSupported("it has no copy", operation="CopyObject", bucket=bucket, key=key)


class Choosy(Blocking):
    """Uploads no key that ends in 3."""

    def put_object(
        self, bucket: str, key: str, body: Any, headers: Headers, *, trailer: str = "", timeouts: Timeouts
    ) -> PutResult:
        if key.endswith("3"):
            raise RequestError("it does not like threes", operation="PutObject", bucket=bucket, key=key)
        return super().put_object(bucket, key, body, headers, timeouts=timeouts)
