"""Finding out what a store does with checksums, without leaving an object behind.

Parts of a few bytes are sent into multipart uploads that are aborted at the end: one with the right checksum, which the
store must take, and one with a wrong one, which a store that compares refuses. It refuses with a code that is about
checksums, or twice with the same other one: any other 400 may be a proxy's, or chance.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from s3engine import checksums
from s3engine.control.estimator import OpClass
from s3engine.errors import (
    Cancelled,
    ConnectFailed,
    ConnectTimeout,
    InvalidRequest,
    NetworkError,
    NotFound,
    NotS3,
    NotSupported,
    S3EngineError,
    ServerFault,
)
from s3engine.integrity.abilities import Abilities
from s3engine.integrity.lost import abort_lost
from s3engine.transport import Headers

__all__ = ["Call", "probe"]

Call = Callable[[OpClass, str, Callable[[Any, Any], Any]], Any]
"""``call(class, bucket, function(api, timeouts))``: one call of a transport, with the engine's retries."""

_BODY = b"s3engine looks whether checksums are compared\n"
_MD5 = hashlib.md5(_BODY, usedforsecurity=False).hexdigest()
_WRONG = b"another body altogether"
_REFUSED_FOR_A_CHECKSUM = frozenset(
    ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch")
)
_FULL_OBJECT = ("x-amz-checksum-type", "FULL_OBJECT")


def probe(
    call: Call, bucket: str, key: str, *, signed: bool, trailers: bool, stopped: Callable[[], bool] = lambda: False
) -> Abilities:
    """Ask the store. Raises the S3EngineError that kept it from an answer (AccessDenied, NetworkError ...).

    Args:
        call: Makes the requests, from several threads: some fifteen, small ones, four at a time.
        bucket: Where.
        key: Under which key the uploads are begun; one that may be written to, the first of a batch.
        signed: SHA-256 is worth knowing about, since bodies are hashed for their signature.
        trailers: The transport can send trailers, and is not kept from it by signing.
        stopped: Asked before each request. Once it is true nothing more is asked, what was begun is aborted, and
            Cancelled is raised; another S3EngineError when something may be left.
    """
    asking = _Asking(call, bucket, key, stopped)
    try:
        found = _probe(asking, signed=signed, trailers=trailers)
    finally:
        left = asking.clean_up()
        if left is not None and stopped():
            raise left
    return found


def _probe(asking: _Asking, *, signed: bool, trailers: bool) -> Abilities:
    crc32 = (("x-amz-checksum-algorithm", "CRC32"),)
    sha256 = (("x-amz-checksum-algorithm", "SHA256"),)

    def describes_whole() -> bool:
        # There is no SHA-256 of a whole out of those of parts: who takes that does not look.
        return asking.takes((*crc32, _FULL_OBJECT)) and not any(asking.takes((*sha256, _FULL_OBJECT)) for _ in range(2))

    with asking.upload(()) as plain:  # alone: a store that will not be asked is asked once
        questions = {
            "md5": lambda: asking.compares((), "md5", plain), "crc32": lambda: asking.compares(crc32, "crc32"),
            "whole": describes_whole,
        }  # fmt: skip
        if signed:
            questions["sha256"] = lambda: asking.compares(sha256, "sha256")
        # Each is some four requests, one after another, and items wait for the answers.
        answers = asking.together(questions)
    follows = trailers and answers["crc32"] and asking.compares_trailer(crc32, "crc32")
    return Abilities(
        verifies=tuple(name for name in ("md5", "crc32", "sha256") if answers.get(name)), trailers=follows,
        full_object=answers["whole"] and answers["crc32"],
    )  # fmt: skip


def _nothing(code: str) -> None:
    """A refusal is no result."""


class _Asking:
    def __init__(self, call: Call, bucket: str, key: str, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._call = call
        self._bucket = bucket
        self._key = key
        self._ids: set[str] = set()
        self._lost: list[S3EngineError] = []  # of requests for an upload whose answer never came
        self._failed: list[BaseException] = []  # of questions that are asked together
        self._ending = threading.Lock()
        self._began = time.monotonic()

    def together(self, questions: Mapping[str, Callable[[], bool]]) -> dict[str, bool]:
        """The answers, each asked in a thread of its own. The first failure ends the others, and is raised."""
        answers: dict[str, bool] = {}

        def find(name: str, ask: Callable[[], bool]) -> None:
            try:
                answers[name] = ask()
            except BaseException as error:  # noqa: BLE001  (raised below, in the thread that asked)
                self._failed.append(error)

        threads = [threading.Thread(target=find, args=one, daemon=True) for one in questions.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failed:
            raise self._failed[0]
        return answers

    def clean_up(self) -> S3EngineError | None:
        """Uploads whose ids never came are looked for and aborted; returns what kept it from that, nobody's failure."""
        if self._lost:
            try:
                abort_lost(
                    self._call, self._bucket, self._key, self._ids, len(self._lost), time.monotonic() - self._began
                )
            except S3EngineError as error:
                return error
        return None

    def _create(self, api: Any, headers: Headers, timeouts: Any) -> str:
        try:
            upload_id: str = api.create_multipart_upload(self._bucket, self._key, headers, timeouts=timeouts)
        except (NetworkError, ServerFault) as error:
            if not isinstance(error, (ConnectFailed, ConnectTimeout)):
                self._lost.append(error)
            if isinstance(error, ServerFault) and error.status == 200 and not error.code:
                # Not worth the waits of retries: the uploads that follow would wait with it.
                raise NotS3(f"{error.message}; whether checksums are compared is not known", **error._context) from None
            raise
        self._ids.add(upload_id)
        return upload_id

    def _once(self, op: OpClass, function: Callable[[Any, Any], Any], refused: Callable[[str], Any] = _nothing) -> Any:
        """The result, or what ``refused`` makes of the code of a refusal.

        That is not tried again: a wrong checksum counts as a passing fault.
        """

        def ask(api: Any, timeouts: Any) -> Any:
            if self._stopped() or self._failed:
                raise Cancelled("the store is not asked any further")
            try:
                return function(api, timeouts)
            except (InvalidRequest, NotSupported) as error:
                return refused(error.code)
            except ServerFault as error:
                # By its code: RequestTimeout, say, is a 400 too, and no answer to what was asked.
                if error.code in _REFUSED_FOR_A_CHECKSUM:
                    return refused(error.code)
                raise

        return self._call(op, self._bucket, ask)

    @contextmanager
    def upload(self, headers: Headers) -> Iterator[str]:
        """An upload that is aborted in the end; "" when the store refuses it with these headers."""
        upload_id = self._once(
            OpClass.PUT,
            lambda api, timeouts: self._create(api, headers, timeouts),
        )  # fmt: skip
        try:
            yield upload_id or ""
        finally:
            if upload_id:
                # One after another: of two at a time SeaweedFS keeps one waiting for a second.
                with self._ending, suppress(NotFound):  # some drop the whole upload for one bad part
                    self._call(
                        OpClass.DELETE, self._bucket,
                        lambda api, timeouts: api.abort_multipart_upload(
                            self._bucket, self._key, upload_id, timeouts=timeouts
                        ),
                    )  # fmt: skip

    def takes(self, headers: Headers) -> bool:
        """Whether an upload can be begun with these headers."""
        with self.upload(headers) as upload_id:
            return bool(upload_id)

    def _part(
        self, upload_id: str, number: int, headers: Headers = (), trailer: str = "",
        refused: Callable[[str], Any] = _nothing,
    ) -> Any:  # fmt: skip
        return self._once(
            OpClass.PUT,
            lambda api, timeouts: api.upload_part(
                self._bucket, self._key, upload_id, number, _BODY, headers=headers, trailer=trailer, timeouts=timeouts
            ),
            refused,
        )

    def _refusal(self, upload_id: str, number: int, headers: Headers = (), trailer: str = "") -> str:
        """The code by which the store refuses a part; "" when it takes it, or names none."""
        answer = self._part(upload_id, number, headers, trailer, refused=str)
        return answer if isinstance(answer, str) else ""

    def _refuses(self, named: Headers, ask: Callable[[str], str], begun: str | None = None) -> bool:
        """Whether a wrong checksum is refused for what it is. ``ask(upload id)`` tells the code of the refusal.

        ``begun``: an upload for the first look; "" for one that was refused.
        """

        def code() -> str:
            with self.upload(named) as upload_id:
                return ask(upload_id) if upload_id else ""

        first = code() if begun is None else ask(begun) if begun else ""
        return bool(first) and (first in _REFUSED_FOR_A_CHECKSUM or code() == first)

    def compares(self, named: Headers, algorithm: str, begun: str | None = None) -> bool:
        """Whether, in uploads begun with ``named``, the right value in the header is taken and a wrong one refused.

        ``begun`` is such an upload, if there is one already.
        """
        name = checksums.header_name(algorithm)
        right, wrong = (checksums.compute(algorithm, data).partition(":")[2] for data in (_BODY, _WRONG))

        def ask(upload_id: str) -> str:
            if self._part(upload_id, 1, ((name, right),)) is None:
                return ""
            # Last, since one bad part costs the whole upload at some stores.
            return self._refusal(upload_id, 1, ((name, wrong),))

        return self._refuses(named, ask, begun)

    def compares_trailer(self, named: Headers, algorithm: str) -> bool:
        """The same behind the body. The part must be the body alone: some stores keep the framing with it."""

        def ask(upload_id: str) -> str:
            taken = self._part(upload_id, 2, trailer=algorithm)
            if taken is None or taken.etag != _MD5:
                return ""
            return self._refusal(upload_id, 2, trailer=checksums.compute(algorithm, _WRONG))

        return self._refuses(named, ask)
