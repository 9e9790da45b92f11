"""The engine: the public face of the pool."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from s3engine.config import Config
from s3engine.control.estimator import OpClass
from s3engine.errors import ConfigError, InvalidRequest, NotFound
from s3engine.given import callable_or, flag, folder_path, seconds, sound_objects, sound_sources, template_or, text
from s3engine.listing import JournalPath, ObjectListing
from s3engine.paths import normal_path
from s3engine.places import placed
from s3engine.runtime import Runtime
from s3engine.transport import Capabilities, HeadResult, ObjectInfo, UploadInfo
from s3engine.uri import S3Uri, check_bucket, check_key

# The pool and the jobs are imported with the first batch: listing, buckets and `s3engine ls` start in half the time.
if TYPE_CHECKING:
    from concurrent.futures import Future

    from s3engine.batch import Batch, Progress
    from s3engine.existing import Existing
    from s3engine.functions.transform import Function
    from s3engine.jobs.delete import DeleteConditions
    from s3engine.mapped import MappedBatch
    from s3engine.operations import Template
    from s3engine.sources import Rejected, Source
    from s3engine.submitting import Submissions

__all__ = ["Engine"]

_NO_PARTS = 1 << 62  # a threshold that no object reaches


class Engine:
    """Uploads, lists, downloads, copies, moves and deletes very many objects through worker processes.

    Settings come as keywords or as a :class:`Config`; ``S3ENGINE_*`` and ``AWS_*`` variables and the AWS
    configuration files fill in what is not said. Raises ConfigError for a wrong setting, NoCredentials when there are
    none. Workers start with the first batch (listing needs none). Use it as a context manager: leaving it waits for
    all batches, or cancels them when an exception is under way. Safe to use from several threads; not picklable.
    """

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        if config is None:
            config = Config.from_mapping({**Config.from_environment(), **settings}, "Engine()")
        elif not isinstance(config, Config):
            raise ConfigError(f"Engine() takes a Config, or settings by name, not {config!r}")
        elif settings:
            config = config.replace(**settings)
        self.config = config
        self._runtime = Runtime(config)
        self._delete_conditions: dict[str, DeleteConditions] = {}
        self._submitting = threading.Lock()
        self._submissions: dict[tuple[Function, str], Submissions] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What the transport can do. Imports its class, opens nothing."""
        return self._runtime.capabilities

    # ---- operations

    def upload(
        self, bucket: str, sources: Iterable[Source | tuple[str, str] | Rejected], *, template: Template = None,
        progress: Progress | None = None, guess_content_type: bool = True, remove_sources: bool = False,
        journal: JournalPath = None, existing: Existing | str | None = None, transform: Function | None = None,
    ) -> Batch:  # fmt: skip
        """Upload files and bytes.

        ``sources``: FileSource, BytesSource or plain (path, key) pairs, from any iterator (read in a thread of the
        engine, at its pace). ``template`` gives headers for all, or is a function of the source. With
        ``remove_sources`` a file is removed when its object is stored (a move). Raises ConfigError (also for a
        ``checksum`` that cannot be computed or sent, and, as all operations, for one text instead of a list),
        EngineClosed.

        With ``journal``, here as in all operations, what is planned, done and failed is kept in that file: the same
        call with the same journal does only what is not done (see :mod:`s3engine.journal` and docs/journal.md). Raises
        JournalMismatch when it belongs to another job, JournalInUse, JournalError.

        ``existing`` says what becomes of objects that are there already: "keep", "if-size-differs" or "if-source-newer"
        (see :class:`s3engine.Existing`; default: they are replaced). The whole bucket, or ``Existing.prefix`` of it, is
        listed to its end before anything is sent; a listing that fails ends the batch. What is left out has a report
        with ``skipped``. Writes are conditional on what was found, where the store can do that: an object that was
        made or changed since is kept, and fails with PreconditionFailed.

        ``transform`` is a function, or a :class:`s3engine.Transform`: what it makes of each source is stored instead
        (see :meth:`transform`). No source can be removed then.
        """
        from s3engine.jobs.upload import UploadJob

        check_bucket(bucket)
        given = sound_sources(sources)
        flag("remove_sources", remove_sources)
        template_or(template)
        if transform is not None:
            from s3engine.transforming import transformed

            return transformed(
                self, self._runtime, "upload", transform, given, "", bucket, _key, progress, journal, _policy(existing),
                template=template, input=sources, guess_content_type=guess_content_type, move=remove_sources,
            )  # fmt: skip
        checks = self._runtime.upload_checks
        policy = _policy(existing)
        threshold_bytes = self.config.multipart_threshold_bytes if self.capabilities.multipart else _NO_PARTS
        return self._runtime.begin(
            lambda emit, items: UploadJob(
                items if policy is None else policy.uploads(self, bucket, items), bucket, emit,
                template=template, threshold_bytes=threshold_bytes,
                part_bytes=self.config.part_size_bytes, remove_source=remove_sources,
                guess_content_type=guess_content_type, checks=checks, ask_checksums=self.capabilities.checksums,
                grace_s=self.config.shutdown_grace_s,
            ),
            progress, given, journal,
            operation="move" if remove_sources else "upload", bucket=bucket, headers=template,
            guess_content_type=str(guess_content_type), input=sources, existing=str(policy or ""),
        )  # fmt: skip

    def download(
        self, bucket: str, objects: Iterable[str | ObjectInfo | Rejected], folder: str | os.PathLike[str], *,
        path: Callable[[ObjectInfo], str] | None = None, progress: Progress | None = None,
        remove_objects: bool = False, max_delete: int | str | None = None, unconditional: bool = False,
        journal: JournalPath = None, existing: Existing | str | None = None, transform: Function | None = None,
    ) -> Batch:  # fmt: skip
        """Download objects into files below ``folder``, each under a temporary name until it is whole.

        ``path`` maps an object to its path relative to ``folder`` (default: its key). A key that has no safe place
        there fails with UnsafeKey. With ``remove_objects`` an object is deleted when its file is there (a move), if it
        still is the one that came: see ``delete``, also for ``max_delete``. ``existing`` as in ``upload``; files are
        looked at one by one, after the listing came to its end. ``transform`` as in ``upload``: what it makes of each
        object is written instead.
        """
        from s3engine.jobs.download import DownloadJob

        check_bucket(bucket)
        given = sound_objects(objects, bucket)
        folder = folder_path(folder)
        callable_or("path", path)
        flag("remove_objects", remove_objects)
        flag("unconditional", unconditional)
        policy = _policy(existing)
        if transform is not None:
            from s3engine.transforming import transformed

            return transformed(
                self, self._runtime, "download", transform, given, bucket, bucket, path or _key, progress, journal,
                policy, folder=folder, input=objects, move=remove_objects,
            )  # fmt: skip
        return self._runtime.begin(
            lambda emit, items: DownloadJob(
                items if policy is None else policy.downloads(self, bucket, items, folder, path or _key),
                bucket, folder, path or _key, emit,
                threshold_bytes=self.config.multipart_threshold_bytes, part_bytes=self.config.part_size_bytes,
                move=remove_objects, conditions=self._conditions(bucket, unconditional) if remove_objects else None,
                verify=self.config.verify_downloads, ask_checksums=self.capabilities.checksums,
                fsync=self.config.fsync == "always" or (self.config.fsync == "auto" and remove_objects),
                sync_first=self.config.fsync == "auto" and not remove_objects,
            ),
            progress, _limited(given, max_delete if remove_objects else None, policy), journal,
            operation="move" if remove_objects else "download", bucket=bucket, input=objects,
            folder=normal_path(folder), path=path or _key, existing=str(policy or ""),
        )  # fmt: skip

    def copy(
        self, source_bucket: str, objects: Iterable[str | ObjectInfo | Rejected], bucket: str, *,
        key: Callable[[ObjectInfo], str] | None = None, template: Template = None, progress: Progress | None = None,
        move: bool = False, max_delete: int | str | None = None, unconditional: bool = False,
        journal: JournalPath = None, existing: Existing | str | None = None,
    ) -> Batch:  # fmt: skip
        """Copy objects inside the store, with their metadata unless ``template`` replaces it.

        ``key`` maps an object to the key of its copy (default: the same). With ``move`` a source is deleted once its
        copy is known to be whole, if it still is the object that was copied: see ``delete``. Raises ConfigError when
        the transport cannot do it: see ``capabilities``; ``max_delete`` (of a move) as in ``delete``, ``existing`` as
        in ``upload``.
        """
        from s3engine.jobs.copy import CopyJob

        check_bucket(source_bucket)
        check_bucket(bucket)
        given = sound_objects(objects, source_bucket)
        callable_or("key", key)
        flag("move", move)
        flag("unconditional", unconditional)
        template_or(template)
        able = self.capabilities
        if bucket != source_bucket and not able.copy_between_buckets:
            raise self._runtime.cannot("copy from one bucket to another", "copy_between_buckets")
        if template is not None and not able.copy_headers:
            raise self._runtime.cannot("give a copy other headers than its source has", "copy_headers")
        policy = _policy(existing)
        return self._runtime.begin(
            lambda emit, items: CopyJob(
                items if policy is None else policy.copies(self, source_bucket, items, bucket, key or _key),
                source_bucket, bucket, key or _key, emit, template=template,
                threshold_bytes=self.config.copy_threshold_bytes if able.copy_parts else _NO_PARTS,
                part_bytes=self.config.copy_part_size_bytes, pinned=able.if_match_copy, move=move,
                conditions=self._conditions(source_bucket, unconditional) if move else None,
                verify=self.config.verify_downloads, ask_checksums=able.checksums,
            ),
            progress, _limited(given, max_delete if move else None, policy), journal,
            operation="move" if move else "copy", source_bucket=source_bucket, bucket=bucket, key=key or _key,
            headers=template, input=objects, existing=str(policy or ""),
        )  # fmt: skip

    def delete(
        self, bucket: str, objects: Iterable[str | ObjectInfo | Rejected], *, progress: Progress | None = None,
        max_delete: int | str | None = None, unconditional: bool = False, journal: JournalPath = None,
    ) -> Batch:  # fmt: skip
        """Delete keys, 1000 to a request. A key that is not there is no error, as in S3.

        An ObjectInfo with an ETag is deleted only if the object still has it, where the store can do that; one that was
        written again is kept and fails with PreconditionFailed. ``unconditional`` deletes whatever is there. When the
        input raises, nothing more is begun: what was taken from it and not begun is Cancelled.

        ``max_delete``, a number or a percentage ("25%", of all objects below the prefix of a listing, before filters):
        all is counted first, from a listing read to its end, and when it is more, nothing is deleted and the batch ends
        with DeleteLimitExceeded.
        """
        from s3engine.jobs.delete import DeleteJob

        check_bucket(bucket)
        given = sound_objects(objects, bucket)
        flag("unconditional", unconditional)
        conditions = self._conditions(bucket, unconditional)
        return self._runtime.begin(
            lambda emit, items: DeleteJob(items, bucket, emit, conditions=conditions), progress,
            _limited(given, max_delete), journal, operation="delete", bucket=bucket, input=objects,
        )  # fmt: skip

    def map(
        self, function: Function, objects: Iterable[str | ObjectInfo | Rejected], *,
        bucket: str = "", ordered: bool = False, initializer: Callable[[], Any] | None = None,
        finalizer: Callable[[Any], object] | None = None, timeout_s: float | None = None,
        progress: Progress | None = None,
    ) -> MappedBatch:  # fmt: skip
        """Call ``function`` on each object, in processes that stand beside the workers; see docs/functions.md.

        The batch iterates over pairs of a report and what the function returned, or the error: as they come, or with
        ``ordered`` in the order of the input. ``bucket`` may be left out where the objects tell it: a listing, or URLs
        (``s3://bucket/key``). The function gets a :class:`s3engine.FetchedObject`; it may be anything that pickle or
        cloudpickle takes. ``initializer`` is called once in each process, before the first object; what it returns is
        ``state`` of the objects, and goes to ``finalizer`` at the end.

        A function that raises, ends its process or takes longer than ``timeout_s`` for an object costs that object: see
        :class:`s3engine.FunctionError`. ConfigError for a function that cannot travel or is async; when it cannot be
        had in the other process, iterating and ``wait()`` raise FunctionUnusable.
        """
        from s3engine.functions.transform import Transform
        from s3engine.jobs.map import MapJob
        from s3engine.places import with_bucket

        flag("ordered", ordered)
        given_function = Transform.of(function)
        own = (initializer, finalizer, timeout_s)
        if own != (None, None, None):
            given_function = Transform(given_function.function, *own)
        call = given_function.call()
        bucket, objects = with_bucket(bucket, objects)
        check_bucket(bucket)
        given = sound_objects(objects, bucket)
        return self._runtime.begin_map(
            lambda batch: MapJob(
                given, bucket, call, batch._emit, batch._keep, verify=self.config.verify_downloads,
                ask_checksums=self.capabilities.checksums,
            ),
            progress, ordered=ordered,
        )  # fmt: skip

    def submit(self, function: Function, object: str | ObjectInfo, *, bucket: str = "") -> Future[Any]:
        """Call ``function`` on one object: a :class:`concurrent.futures.Future` of what it returns.

        ``object`` is a URL, or a key or ObjectInfo of ``bucket``. All objects of one function and bucket go through one
        batch, which is there until the engine is closed (that waits for them). A future raises what the report of
        :meth:`map` would have, and cannot be cancelled. Raises ConfigError, EngineClosed.
        """
        from s3engine.submitting import Submissions

        bucket, item = placed(bucket, object)
        check_bucket(bucket)
        with self._submitting:
            known = self._submissions.get((function, bucket))
            if known is None:
                known = Submissions(lambda objects: self.map(function, objects, bucket=bucket))
                self._submissions[function, bucket] = known
        return known.submit(item)

    def transform(
        self, source_bucket: str, objects: Iterable[str | ObjectInfo | Rejected], function: Function, bucket: str, *,
        key: Callable[[ObjectInfo], str] | None = None, template: Template = None, progress: Progress | None = None,
        journal: JournalPath = None, existing: Existing | str | None = None,
    ) -> Batch:  # fmt: skip
        """Store what a function makes of objects: get, run, put, in the processes that have the sockets.

        ``function`` gets a :class:`s3engine.FetchedObject` and returns the new body: bytes, a file, an iterable of
        bytes (what does not fit in memory goes in parts while it is made), a :class:`s3engine.Output` with its own key
        and headers, an iterable of these for many, or None for none. A :class:`s3engine.Transform` is a function with
        what it needs: an initializer, a limit of time. ``key`` maps an object to the key of what is made of it
        (default: the same); without ``template`` that has the source's content type, encoding and metadata.
        ``existing`` as in ``upload`` ("if-size-differs" says nothing here, and is refused).
        """
        from s3engine.transforming import transformed

        check_bucket(source_bucket)
        check_bucket(bucket)
        given = sound_objects(objects, source_bucket)
        callable_or("key", key)
        template_or(template)
        return transformed(
            self, self._runtime, "transform", function, given, source_bucket, bucket, key or _key, progress, journal,
            _policy(existing), template=template, input=objects,
        )  # fmt: skip

    def _conditions(self, bucket: str, unconditional: bool) -> DeleteConditions | None:
        """What is known of deletes by ETag there; None when they are not to be tried."""
        from s3engine.jobs.delete import DeleteConditions

        if unconditional or not self.capabilities.if_match_delete:
            return None
        return self._delete_conditions.setdefault(bucket, DeleteConditions())

    def list(self, bucket: str, prefix: str = "", *, delimiter: str = "") -> ObjectListing:
        """A lazy listing of all objects whose keys begin with ``prefix``; nothing is asked until it is iterated.

        ``bucket`` may be a URL with both, ``s3://bucket/prefix``.
        """
        if isinstance(bucket, str) and bucket.startswith("s3://") and not prefix:
            bucket, prefix = S3Uri.parse(bucket)
        check_bucket(bucket)
        prefix, delimiter = text("prefix", prefix), text("delimiter", delimiter)
        return ObjectListing(self, self._runtime.call, bucket, prefix, delimiter=delimiter)

    # ---- single calls, with retries

    def head(self, bucket: str, key: str) -> HeadResult:
        """Metadata of one object, by its key or URL. Raises NotFound."""
        bucket, key = placed(bucket, key)
        check_bucket(bucket)
        check_key(key)
        found: HeadResult = self._runtime.call(
            OpClass.HEAD, bucket, lambda api, t: api.head_object(bucket, key, timeouts=t)
        )
        return found

    def make_bucket(self, bucket: str) -> None:
        """CreateBucket. Raises InvalidRequest or Conflict when it exists or the name is bad."""
        self._runtime.call(OpClass.PUT, bucket, lambda api, t: api.create_bucket(check_bucket(bucket), timeouts=t))

    def head_bucket(self, bucket: str) -> None:
        """Raises NotFound or AccessDenied when the bucket cannot be used."""
        self._runtime.call(OpClass.HEAD, bucket, lambda api, t: api.head_bucket(check_bucket(bucket), timeouts=t))

    def remove_bucket(self, bucket: str) -> None:
        """DeleteBucket, only if it is empty: some stores would delete it with all it holds. Raises InvalidRequest."""
        page = self._runtime.call(
            OpClass.LIST, bucket,
            lambda api, t: api.list_objects_v2(check_bucket(bucket), max_keys=1, timeouts=t),
        )  # fmt: skip
        if page.objects:
            raise InvalidRequest(
                f"bucket {bucket!r} is not empty; delete what it holds first (s3engine rm -r s3://{bucket}/)",
                operation="DeleteBucket", bucket=bucket, code="BucketNotEmpty",
            )  # fmt: skip
        self._runtime.call(OpClass.DELETE, bucket, lambda api, t: api.delete_bucket(bucket, timeouts=t))

    def uploads(self, bucket: str, prefix: str = "") -> Iterator[UploadInfo]:
        """The multipart uploads below ``prefix`` that are neither completed nor aborted, listed as they are read.

        They are no objects: no listing shows them, and their parts are kept (and charged for) until somebody aborts
        them. Raises ServerFault when the store lists uploads that are not below ``prefix``, before any of that page
        comes out, or pages without end; else what the requests raise.
        """
        from s3engine.uploads import unfinished

        return unfinished(self._runtime.call, check_bucket(bucket), text("prefix", prefix))

    def abort_upload(self, bucket: str, upload: UploadInfo) -> None:
        """Abort one that ``uploads`` gave. Raises NotFound when there is none of this key and id, ConfigError."""
        if not isinstance(upload, UploadInfo):
            raise ConfigError(f"abort_upload() takes what uploads() gives, an UploadInfo, not {upload!r}")
        self._runtime.call(OpClass.DELETE, bucket, functools.partial(_abort_upload, check_bucket(bucket), upload))

    def abort_uploads(self, bucket: str, prefix: str, *, older_than_s: float = 0.0) -> int:
        """Abort the unfinished uploads below ``prefix``; returns how many.

        With ``older_than_s`` only those that were begun at least so long ago; those of which the store tells no time
        are left alone then. Raises what ``uploads`` raises, and aborts nothing of that page.
        """
        from s3engine.uploads import age_of

        seconds("older_than_s", older_than_s)
        aborted = 0
        for upload in self.uploads(bucket, prefix):
            age_s = age_of(upload, self.now_s())
            if older_than_s > 0 and (age_s is None or age_s < older_than_s):
                continue
            with contextlib.suppress(NotFound):  # gone by itself in the meantime
                self.abort_upload(bucket, upload)
                aborted += 1
        return aborted

    def now_s(self) -> float:
        """Seconds since 1970, by the store's clock where it was found to differ from ours by minutes."""
        return time.time() + self._runtime.clock_offset_s

    # ---- life

    @property
    def ready(self) -> bool:
        """Whether the workers were started and each has opened its transport, or it is known that none ever will."""
        supervisor = self._runtime.supervisor
        return supervisor is not None and supervisor.ready

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers; none before the first batch."""
        supervisor = self._runtime.supervisor
        return () if supervisor is None or self._runtime.closed else tuple(supervisor.pids)

    def start(self) -> None:
        """Start the workers now rather than with the first batch."""
        self._runtime.start()

    def close(self, *, cancel: bool = False) -> None:
        """Wait for all batches (or cancel them), then end the workers. A second call does nothing."""
        ended: set[int] = set()
        while True:  # who waits for a future may submit another function meanwhile
            with self._submitting:
                submissions = [one for one in self._submissions.values() if id(one) not in ended]
            if not submissions:
                break
            for one in submissions:
                if cancel:
                    one.cancel()
                one.end()
                ended.add(id(one))
        self._runtime.close(cancel=cancel)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(cancel=kind is not None)


def _policy(existing: Existing | str | None) -> Existing | None:
    """Raises ConfigError for one that is none."""
    if existing is None:
        return None
    from s3engine.existing import Existing

    return Existing.of(existing)


def _limited(
    objects: Iterable[str | ObjectInfo | Rejected], max_delete: int | str | None, policy: Existing | None = None
) -> Iterable[str | ObjectInfo | Rejected]:
    """``objects``, counted first if there is a limit; all of a listing before any of it, where it is compared.

    Raises ConfigError for a limit that is none.
    """
    if max_delete is None:
        if policy is not None and isinstance(objects, ObjectListing):
            from s3engine.spool import all_or_nothing

            return all_or_nothing(objects)
        return objects
    from s3engine.limits import DeleteLimit, within

    return within(objects, DeleteLimit.parse(max_delete))


def _key(info: ObjectInfo) -> str:
    return info.key


def _abort_upload(bucket: str, upload: UploadInfo, api: Any, timeouts: Any) -> None:
    api.abort_multipart_upload(bucket, upload.key, upload.upload_id, timeouts=timeouts)
