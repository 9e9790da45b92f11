"""Errors to verdicts, delays, the shared budget, and the decision made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine import errors
from s3engine.classify import error_for
from s3engine.control.retry import Budget, Decider, Decision, RetryPolicy, Verdict, classify, govern_budget
from s3engine.control.shared import BUDGET_CORRECTION, SharedBlock

NOW = 1000.0


@pytest.fixture
def block() -> Iterator[SharedBlock]:
    made = SharedBlock.create(3)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "SlowDown", errors.Throttled),
        (503, "SlowDownRead", errors.Throttled),
        (503, "SlowDownWrite", errors.Throttled),
        (503, "ServiceUnavailable", errors.Throttled),
        (503, "", errors.Throttled),
        (503, "InternalError", errors.ServerFault),
        (429, "", errors.Throttled),
        (400, "Throttling", errors.Throttled),
        (400, "ThrottlingException", errors.Throttled),
        (400, "RequestLimitExceeded", errors.Throttled),
        (400, "TooManyRequestsException", errors.Throttled),
        (509, "BandwidthLimitExceeded", errors.Throttled),
        (500, "", errors.ServerFault),
        (500, "InternalError", errors.ServerFault),
        (502, "", errors.ServerFault),
        (504, "", errors.ServerFault),
        (520, "", errors.ServerFault),
        (400, "RequestTimeout", errors.ServerFault),
        (408, "", errors.ServerFault),
        (400, "BadDigest", errors.ServerFault),
        (400, "XAmzContentSHA256Mismatch", errors.ServerFault),
        (409, "OperationAborted", errors.Conflict),
        (409, "ConditionalRequestConflict", errors.Conflict),
        (409, "", errors.Conflict),
        (409, "BucketNotEmpty", errors.InvalidRequest),
        (403, "RequestTimeTooSkewed", errors.ClockSkewed),
        (403, "RequestExpired", errors.ClockSkewed),
        (403, "RequestInTheFuture", errors.ClockSkewed),
        (400, "ExpiredToken", errors.CredentialsExpired),
        (400, "ExpiredTokenException", errors.CredentialsExpired),
        (400, "TokenRefreshRequired", errors.CredentialsExpired),
        (400, "InvalidToken", errors.CredentialsExpired),
        (301, "PermanentRedirect", errors.WrongRegion),
        (307, "TemporaryRedirect", errors.WrongRegion),
        (301, "", errors.WrongRegion),
        (307, "", errors.WrongRegion),
        (308, "", errors.WrongRegion),
        (400, "AuthorizationHeaderMalformed", errors.WrongRegion),
        (400, "IllegalLocationConstraintException", errors.InvalidRequest),
        (404, "NoSuchKey", errors.NotFound),
        (404, "", errors.NotFound),
        (401, "", errors.AccessDenied),
        (403, "", errors.AccessDenied),
        (400, "AccessDenied", errors.AccessDenied),
        (403, "InvalidAccessKeyId", errors.AccessDenied),
        (403, "SignatureDoesNotMatch", errors.AccessDenied),
        (403, "InvalidObjectState", errors.InvalidRequest),
        (412, "PreconditionFailed", errors.PreconditionFailed),
        (304, "", errors.PreconditionFailed),
        (416, "InvalidRange", errors.RangeNotSatisfiable),
        (405, "MethodNotAllowed", errors.NotSupported),
        (501, "NotImplemented", errors.NotSupported),
        (400, "NotImplemented", errors.NotSupported),
        (400, "EntityTooLarge", errors.InvalidRequest),
        (500, "InvalidURI", errors.InvalidRequest),
        (411, "", errors.InvalidRequest),
        (200, "InternalError", errors.ServerFault),
        (200, "NoSuchKey", errors.NotFound),
        (200, "InvalidPart", errors.InvalidRequest),
        (200, "", errors.ServerFault),
        (0, "AccessDenied", errors.AccessDenied),
    ],
)
def test_answer_to_error(status: int, code: str, expected: type[errors.RequestError]) -> None:
    """A known code decides, then the status; an error inside a 200 goes by its code, without one it is a fault."""
    assert error_for(status, code) is expected


@given(status=st.integers(0, 999), code=st.text(max_size=20))
def test_every_answer_has_a_class(status: int, code: str) -> None:
    """No status and no code, however odd, is without a class."""
    assert issubclass(error_for(status, code), errors.RequestError)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ConnectionLost("", stale=True), Verdict.RECONNECT),
        (errors.ConnectionLost(""), Verdict.TRANSIENT),
        (errors.ConnectFailed(""), Verdict.TRANSIENT),
        (errors.ConnectFailed("", permanent=True), Verdict.FINAL),
        (errors.ConnectTimeout(""), Verdict.TRANSIENT),
        (errors.ChecksumMismatch(""), Verdict.TRANSIENT),
        (errors.ChecksumMismatch("", permanent=True), Verdict.FINAL),
        (errors.StallTimeout(""), Verdict.TRANSIENT),
        (errors.TruncatedBody(""), Verdict.TRANSIENT),
        (errors.ServerFault(""), Verdict.TRANSIENT),
        (errors.Conflict(""), Verdict.TRANSIENT),
        (errors.Throttled(""), Verdict.THROTTLE),
        (errors.ClockSkewed("", offset_s=9.0), Verdict.CLOCK),
        (errors.CredentialsExpired(""), Verdict.CREDENTIALS),
        (errors.WrongRegion("", region="eu-west-1"), Verdict.REGION),
        (errors.WrongRegion(""), Verdict.FINAL),
        (errors.NotS3(""), Verdict.FINAL),
        (errors.NotFound(""), Verdict.FINAL),
        (errors.AccessDenied(""), Verdict.FINAL),
        (errors.SourceChanged(""), Verdict.FINAL),
        (errors.WorkerCrashed(""), Verdict.FINAL),
        (errors.ConfigError(""), Verdict.FINAL),
    ],
)
def test_error_to_verdict(error: errors.S3EngineError, expected: Verdict) -> None:
    """What may pass is tried again, what has a remedy gets it, the rest is final."""
    assert classify(error) is expected


@given(
    retry=st.integers(0, 5000), throttled=st.booleans(), chance=st.floats(0, 1, exclude_max=True),
    retry_after_s=st.none() | st.floats(-10, 1e6),
)  # fmt: skip
def test_delay_stays_in_bounds(retry: int, throttled: bool, chance: float, retry_after_s: float | None) -> None:
    """No delay is negative or above the cap, and Retry-After adds at most its extra."""
    policy = RetryPolicy()
    verdict = Verdict.THROTTLE if throttled else Verdict.TRANSIENT
    plain_s = policy.delay_s(retry, verdict, None, lambda: chance)
    delay_s = policy.delay_s(retry, verdict, retry_after_s, lambda: chance)

    assert 0.0 <= plain_s <= delay_s <= policy.cap_s
    assert delay_s <= plain_s + policy.retry_after_extra_s


@pytest.mark.parametrize(
    ("verdict", "longest"),
    [(Verdict.TRANSIENT, [0.05, 0.1, 0.2, 0.4, 0.8]), (Verdict.THROTTLE, [1.0, 2.0, 4.0, 8.0, 16.0])],
)
def test_delays_double(verdict: Verdict, longest: list[float]) -> None:
    """The longest delay doubles from 50 ms, or from 1 s when throttled, to 20 s; the shortest is 0."""
    policy = RetryPolicy()

    assert [policy.delay_s(retry, verdict, None, lambda: 1.0) for retry in range(5)] == pytest.approx(longest)
    assert policy.delay_s(20, verdict, None, lambda: 1.0) == 20.0
    assert policy.delay_s(4, verdict, None, lambda: 0.0) == 0.0


def test_retry_after_is_honoured_within_limits() -> None:
    """3 s are waited; of a blanket 60 s only the extra."""
    policy = RetryPolicy()

    assert policy.delay_s(0, Verdict.THROTTLE, 3.0, lambda: 0.5) == 3.0
    assert policy.delay_s(0, Verdict.THROTTLE, 60.0, lambda: 0.5) == 5.5


@pytest.mark.parametrize("bad", [{"max_attempts": 0}, {"cap_s": -1.0}, {"cost": 501}])
def test_policy_is_checked(bad: dict[str, Any]) -> None:
    """A field out of bounds is refused by name; a cost that could never be paid too."""
    with pytest.raises(errors.ConfigError, match=f"RetryPolicy.{next(iter(bad))} is"):
        RetryPolicy(**bad)


def test_budget_is_one_for_all_workers(block: SharedBlock) -> None:
    """What one worker spends is missing for the other, at once."""
    policy = RetryPolicy(budget_tokens=28)
    first, second = (Budget(block, worker, policy) for worker in (0, 1))

    assert first.try_spend(Verdict.TRANSIENT)
    assert second.try_spend(Verdict.TRANSIENT)
    assert not first.try_spend(Verdict.TRANSIENT)
    assert not second.try_spend(Verdict.THROTTLE)
    assert second.level == 0.0


def test_successes_refill_the_budget(block: SharedBlock) -> None:
    """Each clean success is a token, until the budget is full; a success after retries gives back their cost."""
    budget = Budget(block, 0, RetryPolicy())
    assert budget.try_spend(Verdict.TRANSIENT)
    assert budget.try_spend(Verdict.TRANSIENT)
    budget.refund(14)
    assert budget.level == 486.0
    for _ in range(100):
        budget.earn()
    budget.sync()

    assert budget.level == 500.0
    assert block.total(2) == 28.0


def test_free_verdicts_cost_nothing(block: SharedBlock) -> None:
    """A free retry is granted even by an empty budget."""
    budget = Budget(block, 0, RetryPolicy(budget_tokens=14))
    assert budget.try_spend(Verdict.TRANSIENT)

    assert budget.try_spend(Verdict.RECONNECT)
    assert budget.level == 0.0


@given(steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["spend", "earn", "refund", "sync", "govern"]))))
def test_level_never_exceeds_the_tokens(steps: list[tuple[int, str]]) -> None:
    """Whatever the workers do, nobody sees more than the tokens; the governor leaves no hidden surplus."""
    policy = RetryPolicy(budget_tokens=50)
    block = SharedBlock.create(3)
    budgets = [Budget(block, worker, policy) for worker in range(3)]
    for worker, step in steps:
        if step == "spend":
            budgets[worker].try_spend(Verdict.TRANSIENT)
        elif step == "earn":
            budgets[worker].earn()
        elif step == "refund":
            budgets[worker].refund(14)
        elif step == "sync":
            budgets[worker].sync()
        else:
            govern_budget(block, policy)
        assert 0.0 <= budgets[worker].level <= 50.0
    level = govern_budget(block, policy)
    spent = 0
    while budgets[0].try_spend(Verdict.TRANSIENT):
        spent += 14

    assert spent <= level <= 50.0
    assert block.control[BUDGET_CORRECTION] <= 0.0
    block.close()


def test_one_probe_per_second_for_all_workers(block: SharedBlock) -> None:
    """A probe of one worker keeps the others from probing for a second."""
    first, second = (Budget(block, worker, RetryPolicy()) for worker in (0, 1))

    assert first.probe_due(NOW)
    assert not second.probe_due(NOW + 0.9)
    assert second.probe_due(NOW + 1.0)
    assert not first.probe_due(NOW + 1.5)


def _decider(block: SharedBlock, policy: RetryPolicy) -> Decider:
    return Decider(policy, Budget(block, 0, policy), lambda: 0.5)


def test_final_errors_are_not_retried(block: SharedBlock) -> None:
    """A final error ends the item whatever attempts are left."""
    decision = _decider(block, RetryPolicy()).decide(errors.NotFound(""), attempt=0, free_used=0, now=NOW)

    assert decision == Decision(False, 0.0, Verdict.FINAL)


def test_transient_errors_are_retried_to_the_last_attempt(block: SharedBlock) -> None:
    """Eight attempts are one attempt and seven retries."""
    decider = _decider(block, RetryPolicy())
    decisions = [decider.decide(errors.ServerFault(""), attempt=k, free_used=0, now=NOW) for k in range(8)]

    assert [each.retry for each in decisions] == [True] * 7 + [False]
    assert decisions[1] == Decision(True, 0.05, Verdict.TRANSIENT, 14)


def test_retry_after_reaches_the_delay(block: SharedBlock) -> None:
    """The decision about a throttled request honours what the store asked for."""
    error = errors.Throttled("", retry_after_s=4.0)

    assert _decider(block, RetryPolicy()).decide(error, attempt=0, free_used=0, now=NOW).delay_s == 4.0


@pytest.mark.parametrize(
    ("error", "then"),
    [
        (errors.ConnectionLost("", stale=True), Verdict.TRANSIENT),
        (errors.ClockSkewed(""), Verdict.FINAL),
        (errors.CredentialsExpired(""), Verdict.FINAL),
        (errors.WrongRegion("", region="x"), Verdict.FINAL),
    ],
)
def test_free_retries_come_once(block: SharedBlock, error: errors.S3EngineError, then: Verdict) -> None:
    """The first is free, at once and even at the last attempt; the second is an ordinary failure."""
    decider = _decider(block, RetryPolicy())
    first = decider.decide(error, attempt=7, free_used=0, now=NOW)
    second = decider.decide(error, attempt=0, free_used=1 << first.verdict, now=NOW)

    assert (first.retry, first.delay_s, first.cost) == (True, 0.0, 0)
    assert second.verdict is then
    assert second.retry is (then is Verdict.TRANSIENT)


def test_an_empty_budget_fails_no_item(block: SharedBlock) -> None:
    """Without tokens one item a second goes as a probe, the others wait between 1 and 2 s and ask again."""
    decider = _decider(block, RetryPolicy(budget_tokens=14))
    paid, probe, waiting = (
        decider.decide(errors.ServerFault(""), attempt=0, free_used=0, now=NOW) for _ in range(3)
    )

    assert (paid.cost, paid.waiting) == (14, False)
    assert (probe.cost, probe.waiting) == (0, False)
    assert waiting == Decision(True, 1.5, Verdict.TRANSIENT, 0, True)


def test_a_waiting_item_is_admitted_when_tokens_are_back(block: SharedBlock) -> None:
    """Admission pays when it can, goes as the probe when one is due, and waits on otherwise."""
    policy = RetryPolicy(budget_tokens=14)
    budget = Budget(block, 0, policy)
    decider = Decider(policy, budget, lambda: 0.0)
    assert budget.try_spend(Verdict.TRANSIENT)
    probe = decider.admit(Verdict.TRANSIENT, now=NOW)
    waiting = decider.admit(Verdict.TRANSIENT, now=NOW + 0.1)
    budget.refund(14)
    paid = decider.admit(Verdict.TRANSIENT, now=NOW + 0.2)

    assert probe == Decision(True, 0.0, Verdict.TRANSIENT)
    assert waiting == Decision(True, 1.0, Verdict.TRANSIENT, waiting=True)
    assert paid == Decision(True, 0.0, Verdict.TRANSIENT, 14)
