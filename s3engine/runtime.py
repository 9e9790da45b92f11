"""What an engine runs on: its workers, a connection of the parent's own, and the batches under way."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from s3engine._version import __version__
from s3engine.config import Config, TransportSettings, check_place
from s3engine.control.estimator import OpClass
from s3engine.control.retry import RetryPolicy
from s3engine.control.shared import SharedBlock
from s3engine.control.timeouts import AdaptiveTimeouts
from s3engine.credentials import CredentialSource, load_settings
from s3engine.errors import ConfigError, EngineClosed
from s3engine.frozen import replace
from s3engine.given import callable_or
from s3engine.pool.caller import Caller
from s3engine.pool.load import capabilities_of, dotted_name, open_transport
from s3engine.transport import Capabilities

# The pool and the jobs are imported with the first batch: listing, buckets and `s3engine ls` start in half the time.
if TYPE_CHECKING:
    from s3engine.batch import Batch, Progress
    from s3engine.integrity.finding import UploadChecks
    from s3engine.jobs.base import Job
    from s3engine.journal import Journal
    from s3engine.journal.run import JournalRun
    from s3engine.listing import JournalPath
    from s3engine.mapped import MappedBatch
    from s3engine.pool.supervisor import Supervisor
    from s3engine.report import RequestReport

__all__ = ["Runtime", "transport_settings"]


class Runtime:
    """See the module. Opened without workers and without a connection; safe to use from several threads."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._credentials = CredentialSource(profile=config.profile, anonymous=config.anonymous)
        self._transport_name = dotted_name(config.transport)
        self._transport_settings = transport_settings(config, self._credentials)
        policy = config.timeout_policy if config.timeout_policy is not None else AdaptiveTimeouts()
        self._timeout_policy = policy
        self._retry_policy = RetryPolicy(
            max_attempts=policy.max_attempts or config.max_attempts, base_s=config.retry_base_s,
            throttle_base_s=config.retry_throttle_base_s,
        )  # fmt: skip
        self._block = SharedBlock.create(config.workers + 1)  # the last slot is the parent's own
        self._lock = threading.RLock()
        self.supervisor: Supervisor | None = None
        """None before the first batch."""
        self._caller: Caller | None = None
        self._batches: list[Batch] = []
        self.closed = False

    @functools.cached_property
    def capabilities(self) -> Capabilities:
        """What the transport can do. Imports its class, opens nothing."""
        return capabilities_of(self._transport_name)

    @functools.cached_property
    def upload_checks(self) -> UploadChecks:
        """How uploads are checked there, as far as it is known."""
        from s3engine.integrity.finding import UploadChecks

        config = self._config
        return UploadChecks(config.checksum, self._transport_settings, config.transport, self.capabilities, self.call)

    def cannot(self, what: str, name: str) -> ConfigError:
        """What the transport says it cannot do, by the name of its capability."""
        text = f"the transport {self._config.transport!r} cannot {what}: {self.capabilities.reason(name)}"
        return ConfigError(f"{text}. Use another one: transport='raw', --transport raw")

    @property
    def clock_offset_s(self) -> float:
        """What was found to be missing from our clock; 0.0 when it is right, or not known."""
        return self._caller.clock_offset_s if self._caller is not None else 0.0

    def start(self) -> None:
        """Start the workers now rather than with the first batch."""
        with self._lock:
            self._started()

    def close(self, *, cancel: bool) -> None:
        """Wait for all batches (or cancel them), then end the workers. A second call does nothing."""
        with self._lock:
            if self.closed:
                return
            batches = list(self._batches)
        try:
            for batch in batches:
                if cancel:
                    batch.cancel()
                batch._discard = True
                batch._wake()
            for batch in batches:
                batch._wait_over(None)
        except BaseException:
            for batch in batches:
                batch.cancel()
            for batch in batches:
                batch._wait_over(None)
            raise
        finally:
            with self._lock:
                self.closed = True
            if self.supervisor is not None:
                self.supervisor.stop()
            if self._caller is not None:
                self._caller.transport.close()
            self._block.close()

    def _started(self, functions: bool = False) -> Supervisor:
        if self.closed:
            raise EngineClosed("this engine was closed; make a new one")
        if self.supervisor is None:
            from s3engine.pool.supervisor import Supervisor
            from s3engine.pool.worker import WorkerSettings

            config = self._config
            settings = WorkerSettings(
                index=0, n_slots=config.workers + 1, limit=1, transport=self._transport_name,
                transport_settings=self._transport_settings, lane=config.lane,
                timeout_policy=self._timeout_policy, retry_policy=self._retry_policy,
                give_up_after_s=config.give_up_after_s, function_buffer_bytes=config.function_buffer_bytes,
                function_memory_bytes=config.function_memory_bytes,
            )  # fmt: skip
            self.supervisor = Supervisor(
                settings, min(config.workers, config.concurrency), concurrency=config.concurrency,
                start_method=self._start_method(),
                block=self._block, credentials=self._credentials, max_parts_in_flight=config.max_parts_in_flight,
                grace_s=config.shutdown_grace_s, functions=functions,
            )  # fmt: skip
        return self.supervisor

    def _start_method(self) -> str:
        wanted = self._config.start_method
        if self.capabilities.fork or wanted not in ("auto", "fork"):
            return wanted
        if wanted == "fork":
            raise self.cannot("be used by forked workers", "fork")
        return "forkserver"

    def begin(
        self, make: Callable[[Callable[[RequestReport], None], Iterable[Any]], Job], progress: Progress | None,
        items: Iterable[Any], journal: JournalPath, functions: bool = False, **identity: Any,
    ) -> Batch:  # fmt: skip
        """Begin the job that ``make`` makes of where its reports go and of the items. ``identity`` is the journal's."""
        from s3engine.batch import Batch

        callable_or("progress", progress)
        if journal is not None and not isinstance(journal, (str, os.PathLike)) and not hasattr(journal, "failed_only"):
            raise ConfigError(f"journal must be a path or a Journal, not {type(journal).__name__}")
        with self._lock:
            supervisor = self._started(functions)
            batch = Batch(lambda: supervisor.cancel(job), progress, self._config.max_buffered_reports)
            run = None
            if journal is not None:
                run = _journal_run(journal, self._transport_settings, items, identity, batch._emit)
            try:
                job = make(batch._emit, items) if run is None else make(run.emit, run.items())
                job.paused = lambda: batch._full
                job.turned = batch._turned
                if run is None:
                    job.emit_alike = batch._emit_alike
                else:
                    run.attach(job, batch._turned, self._config.concurrency)
                batch._attach(supervisor.wake)
                # First, since it may refuse: a batch that is listed is waited for by close().
                supervisor.submit(job, lambda: _over(job, batch, run))
            except BaseException:
                if run is not None:
                    run.abandon()
                raise
            self._batches = [one for one in self._batches if not one.over]
            self._batches.append(batch)
        return batch

    def begin_map(
        self, make: Callable[[MappedBatch], Job], progress: Progress | None, *, ordered: bool
    ) -> MappedBatch:  # fmt: skip
        """Begin the job that ``make`` makes of the batch that gets its reports and results."""
        from s3engine.mapped import MappedBatch

        callable_or("progress", progress)
        with self._lock:
            supervisor = self._started(functions=True)
            batch = MappedBatch(
                lambda: supervisor.cancel(job), progress, self._config.max_buffered_reports, ordered=ordered
            )
            job = make(batch)
            job.paused = lambda: batch._full
            job.turned = batch._turned
            if ordered:
                job.may_begin = batch._may_begin
            batch._attach(supervisor.wake)
            supervisor.submit(job, lambda: _over(job, batch, None))
            self._batches = [one for one in self._batches if not one.over]
            self._batches.append(batch)
        return batch

    def call(self, op: OpClass, bucket: str, function: Callable[[Any, Any], Any]) -> Any:
        """``function(transport, timeouts)`` over the parent's own connection, with retries. Raises EngineClosed."""
        with self._lock:
            if self.closed:
                raise EngineClosed("this engine was closed; make a new one")
            if self._caller is None:
                settings = replace(self._transport_settings, single=True)
                self._caller = Caller(
                    open_transport(self._transport_name, settings), self._block, self._config.workers,
                    self._timeout_policy, self._retry_policy, self._credentials,
                    give_up_after_s=self._config.give_up_after_s,
                )  # fmt: skip
            caller = self._caller
        return caller.call(op, bucket, lambda timeouts: function(caller.transport, timeouts))


def _journal_run(
    journal: str | os.PathLike[str] | Journal, settings: TransportSettings, items: Iterable[Any],
    identity: dict[str, Any], emit: Callable[[RequestReport], None],
) -> JournalRun:  # fmt: skip
    from s3engine.journal import Journal
    from s3engine.journal.identity import described, endpoint_name
    from s3engine.journal.run import JournalRun

    journal = journal if isinstance(journal, Journal) else Journal(journal)
    texts = {"endpoint": endpoint_name(settings.endpoint_url, settings.region)}
    source = identity.pop("input")
    texts |= {name: described(value) for name, value in identity.items()}
    texts |= journal.command
    if not journal.command or isinstance(getattr(source, "identity", None), str):
        texts["input"] = described(source)  # else a command says it better than the class of an iterator
    # What neither it nor a command says must be seen from the items.
    own = getattr(source, "identity", None)
    told = isinstance(source, (list, tuple)) or (own is None and journal.command) or own
    stamp = getattr(source, "stamp", "")  # a list in a file may have been written anew
    untold = source if stamp else None if told else source if hasattr(items, "all_of_job") else items
    return JournalRun(
        journal, {name: text for name, text in texts.items() if text}, items, emit, untold=untold,
        stamp=stamp, below=getattr(source, "below", None),
    )  # fmt: skip


def transport_settings(config: Config, source: CredentialSource | None = None) -> TransportSettings:
    """What a transport is opened with: the config, filled up from ``AWS_*`` variables and the AWS configuration.

    Raises ConfigError, NoCredentials.
    """
    source = source or CredentialSource(profile=config.profile, anonymous=config.anonymous)
    aws = load_settings(source, profile=config.profile)
    try:
        check_place("" if config.endpoint_url else aws.endpoint_url, "" if config.region else aws.region)
    except ConfigError as error:
        raise ConfigError(f"{error} (from an AWS_* variable or the files of the AWS CLI)") from None
    if config.ca_bundle and config.verify_tls and not os.path.exists(config.ca_bundle):
        # Here, since over plain HTTP no transport would look at it.
        raise ConfigError(f"the CA bundle {config.ca_bundle!r} does not exist")
    return TransportSettings(
        endpoint_url=config.endpoint_url or aws.endpoint_url,
        region=config.region or aws.region or "us-east-1",
        credentials=source.current(),
        addressing_style=config.addressing_style or aws.addressing_style or "auto",
        payload_signing=config.payload_signing,
        ca_bundle=config.ca_bundle or aws.ca_bundle,
        verify_tls=config.verify_tls,
        max_connections=-(-config.concurrency // config.workers),
        user_agent=f"s3engine/{__version__}",
    )


def _over(job: Job, batch: Batch, run: JournalRun | None) -> None:
    if run is not None:
        run.abandon()
    batch._end(job.failure)
