"""Values made by ``s3engine.frozen`` are what dataclasses would have made."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine import frozen
from s3engine.config import Config, TransportSettings
from s3engine.control.retry import RetryPolicy
from s3engine.control.timeouts import AdaptiveTimeouts, SeedTimeouts
from s3engine.credentials import Credentials
from s3engine.transport import Capabilities

CLASSES = (AdaptiveTimeouts, Capabilities, Config, RetryPolicy, SeedTimeouts, TransportSettings)


class _Place:
    """Both have one text."""

    x: int
    y: str = "why"
    z: list[int] = frozen.field(default_factory=list)
    hidden: float = frozen.field(default=1.5, repr=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError(self.x)


def _twin(kw_only: bool) -> tuple[Any, Any]:
    """The class by frozen, and by dataclasses."""
    namespace = {name: value for name, value in vars(_Place).items() if name not in ("__dict__", "__weakref__")}
    ours = frozen.dataclass(frozen=True, slots=True, kw_only=kw_only)(type("_Place", (), dict(namespace)))
    namespace |= {"z": dataclasses.field(default_factory=list), "hidden": dataclasses.field(default=1.5, repr=False)}
    theirs: Any = dataclasses.dataclass(frozen=True, slots=True, kw_only=kw_only)(type("_Place", (), dict(namespace)))
    return ours, theirs


def _made(cls: Any, *args: Any, **values: Any) -> Any:
    try:
        return cls(*args, **values)
    except (TypeError, ValueError) as error:
        return type(error)


@given(
    st.booleans(), st.lists(st.integers(-1, 2), max_size=5),
    st.dictionaries(st.sampled_from(["x", "y", "z", "hidden", "other"]), st.integers(-1, 2)),
)  # fmt: skip
def test_the_same_values_come_out(kw_only: bool, args: list[int], values: dict[str, int]) -> None:
    """Whatever it is called with, by place and by name: the same fields, repr and equality, or the same error."""
    ours, theirs = (_made(cls, *args, **values) for cls in _twin(kw_only))
    if isinstance(theirs, type):
        assert ours is theirs
        return
    assert repr(ours) == repr(theirs)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert [entry.name for entry in dataclasses.fields(ours)] == [entry.name for entry in dataclasses.fields(theirs)]
    assert ours == copy.copy(ours) == dataclasses.replace(ours) == frozen.replace(ours)
    assert ours != theirs
    assert ours != frozen.replace(ours, y="another")


def test_shape_of_the_class() -> None:
    """Text, slots, names for patterns and parameters with their defaults are those of a dataclass."""
    for kw_only in (False, True):
        ours, theirs = _twin(kw_only)
        assert ours.__doc__ == theirs.__doc__
        assert ours.__slots__ == theirs.__slots__
        assert ours.__match_args__ == theirs.__match_args__
        mine, other = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        assert [(one.name, one.kind) for one in mine.values()] == [(one.name, one.kind) for one in other.values()]
        assert dataclasses.is_dataclass(ours)


@pytest.mark.parametrize("cls", CLASSES)
def test_values_of_the_project(cls: Any) -> None:
    """They are dataclasses to dataclasses, travel by pickle, and compare and hash by their fields."""
    value = cls()
    assert pickle.loads(pickle.dumps(value)) == value == cls(**{one.name: getattr(value, one.name)
                                                               for one in dataclasses.fields(value)})  # fmt: skip
    assert hash(value) == hash(cls())
    assert not hasattr(value, "__dict__")


def test_frozen_and_slotted() -> None:
    """No field can be set or deleted, and none be added; a class that inherits may have more of its own."""
    value = Credentials("key", "secret")
    for name in ("token", "another"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, "x")
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(value, name)

    class More(RetryPolicy):
        pass

    more: Any = More(cost=3)
    more.note = "own"
    with pytest.raises(dataclasses.FrozenInstanceError):
        more.cost = 4
    assert (more.note, more.cost) == ("own", 3)
    assert more != RetryPolicy(cost=3)


def test_a_dataclass_may_inherit() -> None:
    """A policy of somebody's own is made of one of ours as of any dataclass."""

    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Patient(AdaptiveTimeouts):
        patience_s: float = 5.0

    made = Patient(stall_s=12.0)
    assert (made.stall_s, made.patience_s, made.backoff) == (12.0, 5.0, AdaptiveTimeouts().backoff)
    assert [one.name for one in dataclasses.fields(made)][-1] == "patience_s"
    with pytest.raises(TypeError, match="non-frozen"):
        dataclasses.dataclass(type("Loose", (AdaptiveTimeouts,), {}))


@dataclasses.dataclass(frozen=True)
class Mine(Config):
    """A configuration with a setting more, as an application may have."""

    extra: int = 0


class Plain(Config):
    """One that is no dataclass of its own."""


def test_what_inherits_keeps_its_values() -> None:
    """Copies, pickles and changed copies of a class that inherits have its own fields too."""
    mine = Mine(workers=3, extra=7)
    for copied in (copy.copy(mine), copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert copied == mine
        assert (copied.workers, copied.extra) == (3, 7)
    assert mine.replace(workers=4).workers == 4
    plain = Plain(workers=3)
    object.__setattr__(plain, "note", "x")
    assert vars(pickle.loads(pickle.dumps(plain))) == {"note": "x"}


def test_settings_of_what_inherits() -> None:
    """A class that inherits takes its own settings and those it inherits, by name and from the environment."""
    assert Mine.from_mapping({"workers": 2, "extra": 5}, "here") == Mine(workers=2, extra=5)
    assert Mine.from_environment({"S3ENGINE_WORKERS": "2", "S3ENGINE_EXTRA": "5"}) == {"workers": 2, "extra": 5}


def test_a_default_that_is_made_shows_as_one() -> None:
    """A signature shows a default that a function makes as dataclasses show it."""
    assert repr(inspect.signature(Config).parameters["workers"].default) == "<factory>"
