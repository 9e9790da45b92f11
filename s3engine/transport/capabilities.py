"""What a transport can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from s3engine.frozen import dataclass

__all__ = ["TIMERS", "Capabilities"]

TIMERS = frozenset(("connect", "stall", "first_byte", "attempt"))
"""The timers of :class:`s3engine.transport.Timeouts`, without their unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a transport can do, as an attribute of its class, so that it is known before anything is opened.

    The engine refuses or goes around what is not there, in the open. A call that would need it raises NotSupported
    before anything is sent; nothing is ever left out in silence.
    """

    timers: frozenset[str] = TIMERS
    """Which of TIMERS bound every call, each by its own value. One that is missing may be late by any time, but never
    beyond ``attempt_s`` when "attempt" is there."""
    if_match_get: bool = True
    if_match_copy: bool = True
    """Of copy_object and upload_part_copy. Without: the engine copies what is there when the copy is made."""
    multipart: bool = True
    """The calls from create_multipart_upload to list_multipart_uploads. Without: put_object takes bodies of any size,
    and the engine never cuts an upload into parts."""
    copy_parts: bool = True
    """upload_part_copy. Without: no copy of objects above 5 GiB."""
    copy_headers: bool = True
    """copy_object takes headers. Without: the engine refuses a template for copies."""
    copy_between_buckets: bool = True
    exact_keys: bool = True
    """Every legal key can be addressed. Without: a call for one that cannot raises InvalidRequest."""
    error_details: bool = True
    """Errors tell ``retry_after_s``, ``request_id``, ``region``, ``offset_s`` and whether a lost connection was
    ``stale``. Without: a retry waits its own time, one after a connection that had been closed is paid for, and a
    bucket in another region is final."""
    complete_listings: bool = True
    """A listing that the store breaks off (more to come, but no token) is an error. Without: it looks complete."""
    refuses_redirects: bool = True
    """A redirect is never followed. Without: data may come from, or go to, whatever host the endpoint names."""
    buckets: bool = True
    """create_bucket and delete_bucket."""
    if_match_delete: bool = True
    """``if_match`` of delete_object, ``etags`` of delete_objects. Whether the *store* heeds them is another matter."""
    checksums: bool = True
    """put_object and upload_part take ``content-md5`` and ``x-amz-checksum-*`` headers, complete_multipart_upload sends
    what its parts and headers say, get_object and head_object can ask for stored checksums. Without: the engine checks
    uploads by the ETag that comes back."""
    trailers: bool = False
    """put_object and upload_part compute a checksum while they send (``trailer``)."""
    clock_offset: bool = True
    """set_clock_offset is heeded. Without: a machine whose clock is wrong fails with ClockSkewed."""
    fork: bool = True
    """Works in a process forked from one where it was in use. Without: workers come from a fork server."""
    interruptible: bool = False
    """A call under way can be ended from another thread (:mod:`s3engine.interrupt`). Without: after the second Ctrl-C
    a call that blocks in a thread goes on until a timer ends it. Of no account where a loop drives the connections."""
    multiplexable: bool = False
    """See :class:`s3engine.transport.MultiplexableTransport`."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(name of a field above, why it is not there), for people."""

    def reason(self, name: str) -> str:
        """Why ``name`` is not there."""
        return dict(self.reasons).get(name, f"not among its capabilities ({name})")
