"""The one mapping from an answer of the store (HTTP status, S3 error code) to an error class.

At the bottom, beside the errors, because transports raise by it. Codes come from the S3 API reference ("List of error
codes") and from what other stores send in their place. The code decides where it is known, then the status: a store may
put an error into a 200 (CopyObject, CompleteMultipartUpload, single keys of DeleteObjects), and statuses differ between
stores for one code.
"""

from __future__ import annotations

from typing import Final

from s3engine.errors import (
    AccessDenied,
    ClockSkewed,
    Conflict,
    CredentialsExpired,
    InvalidRequest,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RangeNotSatisfiable,
    RequestError,
    ServerFault,
    Throttled,
    WrongRegion,
)

__all__ = ["error_for"]

_CODES_BY_CLASS: Final[dict[type[RequestError], tuple[str, ...]]] = {
    # SlowDownRead and SlowDownWrite are MinIO's; the rest is what SDKs of AWS take for throttling.
    Throttled: (
        "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "RequestLimitExceeded",
        "BandwidthLimitExceeded", "RequestThrottled", "RequestThrottledException", "PriorRequestNotComplete",
    ),
    # RequestTimeout is a 400: the store waited in vain for our body. BadDigest and its relatives: the body was changed
    # or cut on its way, so sending it again is right. InvalidDigest should be a malformed one, which we do not send;
    # SeaweedFS says it of a trailer that does not match, MinIO XAmzContentChecksumMismatch.
    ServerFault: (
        "InternalError", "RequestTimeout", "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch", "IncompleteBody",
    ),
    Conflict: ("OperationAborted", "ConditionalRequestConflict"),
    ClockSkewed: ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"),
    CredentialsExpired: ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"),
    WrongRegion: ("PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed"),
    NotFound: ("NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NoSuchVersion", "NotFound"),
    AccessDenied: (
        "AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "InvalidAccessKeyId",
        "SignatureDoesNotMatch", "Unauthorized",
    ),
    PreconditionFailed: ("PreconditionFailed", "NotModified"),
    RangeNotSatisfiable: ("InvalidRange",),
    NotSupported: ("NotImplemented", "MethodNotAllowed"),
    # A 403, but not about who is asking: the object is archived. A key that is refused, also as one of DeleteObjects.
    InvalidRequest: ("InvalidObjectState", "InvalidURI", "KeyTooLongError"),
}  # fmt: skip
_BY_CODE: Final = {code: cls for cls, codes in _CODES_BY_CLASS.items() for code in codes}
_THROTTLE_PREFIXES: Final = ("Throttling", "Throttled", "TooManyRequests")

_BY_STATUS: Final[dict[int, type[RequestError]]] = {
    301: WrongRegion, 307: WrongRegion, 308: WrongRegion,
    304: PreconditionFailed, 412: PreconditionFailed,
    401: AccessDenied, 403: AccessDenied,
    404: NotFound,
    405: NotSupported, 501: NotSupported,
    408: ServerFault,
    416: RangeNotSatisfiable,
    # aws-c-s3 takes any 503 for SlowDown; 509 is what some gateways send for BandwidthLimitExceeded.
    429: Throttled, 503: Throttled, 509: Throttled,
}  # fmt: skip


def error_for(status: int, code: str) -> type[RequestError]:
    """The class to raise for an answer.

    Args:
        status: HTTP status; 0 or 200 when the error stood in a good answer.
        code: ``<Code>`` of the answer's XML; "" when it had none. A good status without a code counts as a 500: an
            empty or cut answer where a result was due.

    Two cases need more than this knows: SignatureDoesNotMatch with a ``Date`` far from our clock is ClockSkewed, and
    an answer that is no S3 answer at all is NotS3.
    """
    cls = _BY_CODE.get(code)
    if cls is not None:
        return cls
    if code.startswith(_THROTTLE_PREFIXES):
        return Throttled
    cls = _BY_STATUS.get(status)
    if cls is not None:
        return cls
    if status >= 500 or (status < 300 and not code):
        return ServerFault
    if status == 409 and not code:
        # Which conflict is unknown; the lasting ones (BucketNotEmpty, BucketAlreadyExists) always have a code.
        return Conflict
    return InvalidRequest
