"""How long one attempt may take: the policies that turn an estimate into the four timers of ``transport.Timeouts``.

Pure values: no clock, no state, no I/O; picklable, so that the parent makes a policy and every worker has it. What is
learnt lives in the estimator, whose parameters (``gain`` ...) belong to the policy, because they suit one formula.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from s3engine.control.estimator import Estimate, OpClass
from s3engine.errors import ConfigError
from s3engine.transport import Timeouts

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from s3engine.frozen import dataclass

__all__ = ["AdaptiveTimeouts", "FirstByte", "SeedTimeouts", "TimeoutPolicy", "check_bounds"]


class TimeoutPolicy(Protocol):
    """Decides the timers of an attempt and what a timeout teaches. Must be picklable."""

    @property
    def gain(self) -> float:
        """Weight of a new sample in the averages of the estimator, above 0 to 1."""

    @property
    def deviation_gain(self) -> float:
        """Weight of a new sample in the mean deviations, above 0 to 1."""

    @property
    def minimum_bytes(self) -> int:
        """Bodies smaller than this teach nothing about bandwidth."""

    @property
    def start_bytes_per_s(self) -> float:
        """Bandwidth assumed while none is known."""

    @property
    def max_attempts(self) -> int | None:
        """Attempts per request, the first included; None leaves that to the engine's configuration."""

    def timeouts(self, op: OpClass, size_bytes: int, attempt: int, estimate: Estimate) -> Timeouts:
        """Timers for moving ``size_bytes`` in attempt number ``attempt``, counted from 0. Pure and quick."""

    def learns_from_timeout(self, issued: Timeouts, now: Timeouts) -> bool:
        """Whether a first-byte timeout may raise the estimate.

        ``issued`` is what the attempt had, ``now`` what attempt 0 of the same request would get at this moment.
        """


def check_bounds(owner: object, field: str, low: float, high: float) -> None:
    """Raise ConfigError unless the number ``owner.field`` is within ``low`` and ``high``, both inclusive."""
    value = getattr(owner, field)
    # bool is an int to Python, never a number in a configuration; NaN fails the comparison.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        name = f"{type(owner).__name__}.{field}"
        raise ConfigError(
            f"{name} is {value!r}; it must be a number from {low:.15g} to {high:.15g}", field=field, value=repr(value)
        )


def _same_epoch(issued: Timeouts, now: Timeouts) -> bool:
    # Attempts that were issued together die together. The first of them raises the timeout; the others died by the
    # lower one and say nothing about the new. Without this rule (aws-c-s3 has it: s3_client.c, upload timeouts) a
    # burst of 32 drives the estimate far beyond the truth.
    return issued.first_byte_s >= now.first_byte_s


class FirstByte(NamedTuple):
    """Bounds of the first-byte timer of a class: its value before enough is known, and the range of the learnt one."""

    start_s: float
    floor_s: float
    ceiling_s: float


# By OpClass. S3 answers in 0.2 s, 0.1 % of the answers take 5 s (aws-c-s3, s3_client.c). DELETE is up to 1000 keys:
# a store that is busy with a dozen of those is not helped by getting them again. COPY and COMPLETE work inside the
# store for minutes and may send white space meanwhile.
FIRST_BYTE: Final = (
    FirstByte(5.0, 1.0, 20.0),  # GET
    FirstByte(5.0, 1.0, 20.0),  # HEAD
    FirstByte(10.0, 1.0, 60.0),  # PUT
    FirstByte(10.0, 2.0, 30.0),  # LIST
    FirstByte(30.0, 5.0, 60.0),  # DELETE
    FirstByte(60.0, 30.0, 1800.0),  # COPY
    FirstByte(600.0, 30.0, 1800.0),  # COMPLETE
)
# A small upload is cheap to send again, so it is waited for like a GET.
FIRST_BYTE_SMALL_PUT: Final = FirstByte(5.0, 1.0, 20.0)

_LARGEST_EXPONENT: Final = 60  # keeps backoff**attempt finite whatever the attempt; the ceilings hold long before
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0  # settimeout() refuses what does not fit the system's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveTimeouts:
    """The default: each phase of an attempt has its own timer, learnt where the line decides, fixed where it does not.

    With ``p99 = mean + deviations*dev`` of the shared averages; fewer than ``minimum_samples`` samples: start values.

    ============ ======================= ====================================================== ==============
    timer        start                   learnt                                                 on retry
    ============ ======================= ====================================================== ==============
    connect      ``connect_s[0]``        never                                                  ``connect_s``
    stall        ``stall_s``             never                                                  x1.5, to 30 s
    first byte   FIRST_BYTE              1.5*p99; PUT: at least the time of sending it again,   x ``backoff``
                                         the start value while no large one was answered;
                                         COPY: + size*p99; within floor and ceiling
    attempt      30 s + size/64 KiB/s    max(30 s, 1.5*(p99 latency + size*p99 per byte))       x ``backoff``
    ============ ======================= ====================================================== ==============

    Each retry multiplies the timeout by ``backoff``, to at most twice the ceiling (first byte) and
    ``attempt_ceiling_s``. The attempt's timer always leaves room for connecting, the body at its mean speed and the
    first-byte timer, so that a slow transfer that moves lives, and one that stalls dies after ``stall_s``.
    """

    connect_s: tuple[float, ...] = (3.1, 6.0, 10.0)
    """TCP, proxy and TLS, by attempt, the last value for all later ones. 3.1 s: the SYNs sent at 0, 1 and 3 s."""
    stall_s: float = 10.0
    """No byte moves. 10 s span five lost retransmissions (0.2 + 0.4 + ... + 6.4 s)."""
    stall_backoff: float = 1.5
    stall_ceiling_s: float = 30.0
    backoff: float = 2.0
    """Each retry multiplies the first-byte and the attempt timeout by this."""
    multiplier: float = 1.5
    """Safety factor on what is learnt."""
    deviations: float = 4.0
    """K of RFC 6298: this many mean deviations above the mean count as the 99th percentile."""
    minimum_samples: int = 20
    start_bytes_per_s: float = 65_536.0
    """Bandwidth assumed while none is known."""
    attempt_floor_s: float = 30.0
    attempt_ceiling_s: float = _HOUR_S
    gain: float = 0.125
    """RFC 6298, alpha."""
    deviation_gain: float = 0.25
    """RFC 6298, beta."""
    minimum_bytes: int = 262_144
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError naming the field, its value and the bounds."""
        if not self.connect_s or not all(0.1 <= value <= _HOUR_S for value in self.connect_s):
            raise ConfigError(
                f"AdaptiveTimeouts.connect_s is {self.connect_s!r}; it must be one or more numbers from 0.1 to 3600",
                field="connect_s", value=repr(self.connect_s),
            )  # fmt: skip
        check_bounds(self, "stall_s", 0.1, _HOUR_S)
        check_bounds(self, "stall_backoff", 1.0, 10.0)
        check_bounds(self, "stall_ceiling_s", self.stall_s, _HOUR_S)
        check_bounds(self, "backoff", 1.0, 10.0)
        check_bounds(self, "multiplier", 1.0, 100.0)
        check_bounds(self, "deviations", 0.0, 100.0)
        check_bounds(self, "minimum_samples", 1, 10_000)
        check_bounds(self, "start_bytes_per_s", 1.0, 1e12)
        check_bounds(self, "attempt_floor_s", 0.1, _HOUR_S)
        check_bounds(self, "attempt_ceiling_s", self.attempt_floor_s, _DAY_S)
        check_bounds(self, "gain", 1e-6, 1.0)
        check_bounds(self, "deviation_gain", 1e-6, 1.0)
        check_bounds(self, "minimum_bytes", 0, 2**40)
        if self.max_attempts is not None:
            check_bounds(self, "max_attempts", 1, 1000)

    def timeouts(self, op: OpClass, size_bytes: int, attempt: int, estimate: Estimate) -> Timeouts:
        """See the table in the docstring of the class."""
        latency_known = estimate.latency_n >= self.minimum_samples
        transfer_known = estimate.transfer_n >= self.minimum_samples
        latency_p99_s = estimate.latency_mean_s + self.deviations * estimate.latency_dev_s
        if transfer_known:
            body_s = size_bytes * estimate.s_per_byte_mean
            body_p99_s = body_s + size_bytes * self.deviations * estimate.s_per_byte_dev
        else:
            body_s = 0.0
            body_p99_s = size_bytes / self.start_bytes_per_s

        small_put = op == OpClass.PUT and size_bytes < self.minimum_bytes
        start_s, floor_s, ceiling_s = FIRST_BYTE_SMALL_PUT if small_put else FIRST_BYTE[op]
        if latency_known:
            first_byte_s = self.multiplier * latency_p99_s
            if op == OpClass.PUT and not small_put:
                # Ski rental: an upload is not thrown away before waiting as long as sending it again would take.
                # While only small ones have been answered, nothing is known of how long a store works on a large one:
                # those milliseconds would end the first parts of a busy store at the floor, and send them again.
                first_byte_s = max(first_byte_s, body_s + estimate.latency_mean_s if transfer_known else start_s)
            elif transfer_known and op == OpClass.COPY:
                first_byte_s += body_p99_s
            first_byte_s = min(max(first_byte_s, floor_s), ceiling_s)
        else:
            first_byte_s = start_s

        if latency_known or transfer_known:
            attempt_s = self.multiplier * ((latency_p99_s if latency_known else first_byte_s) + body_p99_s)
        else:
            attempt_s = self.attempt_floor_s + body_p99_s
        # The deadline must not undercut the timers it contains.
        attempt_s = max(attempt_s, self.attempt_floor_s, self.connect_s[0] + body_s + first_byte_s)

        connect_s = self.connect_s[attempt] if attempt < len(self.connect_s) else self.connect_s[-1]
        stall_s = self.stall_s
        if attempt:
            exponent = min(attempt, _LARGEST_EXPONENT)
            grown = self.backoff**exponent
            # Twice the ceiling: an attempt that had the ceiling already must back off too.
            first_byte_s = min(first_byte_s * grown, 2.0 * ceiling_s)
            attempt_s *= grown
            stall_s = min(stall_s * self.stall_backoff**exponent, self.stall_ceiling_s)
        return Timeouts(connect_s, stall_s, first_byte_s, min(attempt_s, self.attempt_ceiling_s))

    def learns_from_timeout(self, issued: Timeouts, now: Timeouts) -> bool:
        """Only a timeout issued with at least the present value teaches (the epoch rule)."""
        return _same_epoch(issued, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedTimeouts:
    """The formula of the Rust crate s3-algo: one deadline in proportion to the size, raised with every retry.

    ``T = (base_timeout + timeout_fraction * size_bytes * s_per_byte) * backoff**attempt`` seconds, for the whole
    attempt and for each timer in it. What was wrong in the crate, and is mended here:

    * Its count of attempts was a copy that each attempt raised for itself, so ``T`` stayed the same on every retry and
      a line that became ten times slower failed for good. Here ``attempt`` counts.
    * Requests of 10 bytes taught, by total time over size, so latency poured into the bandwidth and timeouts of large
      objects came out up to 27 times too long. Here bodies below ``minimum_units_for_estimation`` teach nothing
      (their own size still counts in ``T``), and latency is not part of the sample.
    * ``avg_power`` weighed the old average where its documentation said the new sample. Here it is the new sample.

    The formula knows no latency: for operations without a body ``T`` is ``base_timeout * backoff**attempt``, from 0.5 s
    to 12.8 s, whatever the store takes.
    """

    base_timeout: float = 0.5
    """Seconds that every request gets: a round trip."""
    timeout_fraction: float = 1.5
    """Expected transfer time is multiplied by this."""
    backoff: float = 1.5
    """Each retry multiplies the timeout by this."""
    n_retries: int = 8
    """Retries after the first attempt."""
    avg_power: float = 0.7
    """Weight of the new sample in the average of seconds per byte."""
    seconds_per_unit: float = 1e-6
    """Seconds per byte while nothing is known: 1 MB/s."""
    minimum_units_for_estimation: int = 500_000
    """Bytes below which a request teaches nothing."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the field, its value and the bounds."""
        check_bounds(self, "base_timeout", 0.001, _HOUR_S)
        check_bounds(self, "timeout_fraction", 0.0, 1000.0)
        check_bounds(self, "backoff", 1.0, 10.0)
        check_bounds(self, "n_retries", 0, 999)
        check_bounds(self, "avg_power", 1e-6, 1.0)
        check_bounds(self, "seconds_per_unit", 1e-12, 1.0)
        check_bounds(self, "minimum_units_for_estimation", 0, 2**40)

    @property
    def gain(self) -> float:
        """Weight of a new sample: ``avg_power``."""
        return self.avg_power

    @property
    def deviation_gain(self) -> float:
        """The formula uses no deviation; RFC 6298's value, for those who look at the estimate."""
        return 0.25

    @property
    def minimum_bytes(self) -> int:
        """``minimum_units_for_estimation``; the unit is the byte."""
        return self.minimum_units_for_estimation

    @property
    def start_bytes_per_s(self) -> float:
        """``1 / seconds_per_unit``."""
        return 1.0 / self.seconds_per_unit

    @property
    def max_attempts(self) -> int | None:
        """The first attempt and ``n_retries`` more."""
        return self.n_retries + 1

    def timeouts(self, op: OpClass, size_bytes: int, attempt: int, estimate: Estimate) -> Timeouts:
        """The same formula for every class of operation."""
        s_per_byte = estimate.s_per_byte_mean if estimate.transfer_n > 0 else self.seconds_per_unit
        limit_s = self.base_timeout + self.timeout_fraction * size_bytes * s_per_byte
        limit_s = min(limit_s * self.backoff ** min(attempt, _LARGEST_EXPONENT), _DAY_S)
        return Timeouts(min(3.1, limit_s), limit_s, limit_s, limit_s)

    def learns_from_timeout(self, issued: Timeouts, now: Timeouts) -> bool:
        """The epoch rule, as for the default; the formula itself uses no latency."""
        return _same_epoch(issued, now)
