"""Errors travel between processes whole."""

from __future__ import annotations

import pickle

import pytest

from s3engine import errors

ALL = [getattr(errors, name) for name in errors.__all__]
REQUEST_ERRORS = [cls for cls in ALL if issubclass(cls, errors.RequestError)]


@pytest.mark.parametrize("cls", ALL)
def test_every_error_survives_pickling(cls: type[errors.S3EngineError]) -> None:
    """Class, message and every attribute come out of a pickle as they went in."""
    context = {"bucket": "b", "key": "a/ö", "status": 503, "retry_after_s": 1.5, "stale": True, "region": "eu"}
    error = cls("it went wrong", **context)
    back = pickle.loads(pickle.dumps(error))

    assert type(back) is cls
    assert str(back) == back.message == "it went wrong"
    assert {name: getattr(back, name) for name in context} == context


@pytest.mark.parametrize("cls", ALL)
def test_an_error_is_pickled_again(cls: type[errors.S3EngineError]) -> None:
    """What came out of a pickle can go through another one: worker to parent to the caller's own pool."""
    once = pickle.loads(pickle.dumps(cls("x", key="k")))
    twice = pickle.loads(pickle.dumps(once))

    assert (type(twice), twice.message, twice.key) == (cls, "x", "k")


@pytest.mark.parametrize("cls", REQUEST_ERRORS)
def test_unknown_context_reads_as_empty(cls: type[errors.RequestError]) -> None:
    """A request error has all its attributes, empty when nothing is known."""
    error = cls("x")

    assert (error.operation, error.bucket, error.key, error.code, error.request_id) == ("", "", "", "", "")
    assert (error.status, error.retry_after_s) == (0, None)


def test_all_names_every_error() -> None:
    """``__all__`` lists exactly the error classes of the module."""
    defined = {
        name for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.S3EngineError)
    }  # fmt: skip

    assert set(errors.__all__) == defined


def test_one_root_catches_all() -> None:
    """Every error is an S3EngineError; those about settings are ValueErrors too."""
    assert all(issubclass(cls, errors.S3EngineError) for cls in ALL)
    assert issubclass(errors.ConfigError, ValueError)
