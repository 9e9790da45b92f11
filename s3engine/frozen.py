"""Frozen values of the start path: what ``@dataclass(frozen=True, slots=True)`` makes, without importing dataclasses.

That import, of inspect with it, and the code that it compiles for each class take a quarter of the time of a listing.
A class here has the same fields, constructor, comparison, repr and pickle; the functions of :mod:`dataclasses` take it,
and find its fields when they first ask. Type checkers are told that it is a dataclass:

    if TYPE_CHECKING:
        from dataclasses import dataclass, field
    else:
        from s3engine.frozen import dataclass, field

Only what the project's own values need: fields with defaults, no base class with fields, no ClassVar. Values that are
made by the thousand are better off with dataclasses.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as of typing, whose import takes a while
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeVar

    Value = TypeVar("Value")

__all__ = ["dataclass", "field", "replace"]


class _None:
    """No default; in a signature, one that is made anew each time."""

    def __repr__(self) -> str:
        return "<factory>"


_NONE = _None()


class _Field:
    __slots__ = ("default", "factory", "repr")

    def __init__(self, default: Any, factory: Any, shown: bool) -> None:
        self.default = default
        self.factory = factory
        self.repr = shown


def field(*, default: Any = _NONE, default_factory: Any = _NONE, repr: bool = True) -> Any:
    """As of :mod:`dataclasses`."""
    return _Field(default, default_factory, repr)


def replace(value: Value, **changes: Any) -> Value:
    """As of :mod:`dataclasses`, for a value of a class made here."""
    slots: tuple[str, ...] = type(value).__slots__  # type: ignore[attr-defined]  # dataclass() below gives it them
    return type(value)(**{**{name: getattr(value, name) for name in slots}, **changes})


def dataclass(
    *, frozen: bool, slots: bool, kw_only: bool = False, repr: bool = True
) -> Callable[[type[Any]], type[Any]]:
    """As of :mod:`dataclasses`; ``frozen`` and ``slots`` must be True."""
    assert frozen
    assert slots

    def make(cls: type[Any]) -> type[Any]:
        namespace = dict(vars(cls))
        fields: dict[str, _Field] = {}
        for name in namespace.get("__annotations__", ()):
            default = namespace.pop(name, _NONE)
            fields[name] = default if type(default) is _Field else _Field(default, _NONE, True)
        for name in ("__dict__", "__weakref__"):
            namespace.pop(name, None)
        names = tuple(fields)
        methods = _methods(cls, fields) | {
            "__slots__": names, "__init__": _init(cls, fields, kw_only), "__match_args__": () if kw_only else names,
            "__dataclass_fields__": (twin := _Twin(fields, kw_only)), "__dataclass_params__": _Params(twin),
        }  # fmt: skip
        if not repr or "__repr__" in namespace:
            del methods["__repr__"]
        metaclass: Any = type(cls)
        made: type[Any] = metaclass(cls.__name__, cls.__bases__, namespace | methods)
        made.__qualname__ = cls.__qualname__
        return made

    return make


def _init(cls: type[Any], fields: dict[str, _Field], kw_only: bool) -> Any:
    """The constructor, with its names and defaults in its signature; the one function that has to be compiled."""
    scope: dict[str, Any] = {"_set": object.__setattr__, "_none": _NONE}
    parameters, lines = [], []
    for number, (name, own) in enumerate(fields.items()):
        given = name
        if own.factory is not _NONE:
            scope[f"_{number}"] = own.factory
            parameters.append(f"{name}=_none")
            given = f"_{number}() if {name} is _none else {name}"
        elif own.default is not _NONE:
            scope[f"_{number}"] = own.default
            parameters.append(f"{name}=_{number}")
        else:
            parameters.append(name)
        lines.append(f" _set(self, {name!r}, {given})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec(f"def __init__(self, {'*, ' if kw_only else ''}{', '.join(parameters)}):\n" + "\n".join(lines), scope)
    made = scope["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    return made


def _methods(cls: type[Any], fields: dict[str, _Field]) -> dict[str, Any]:
    names = tuple(fields)
    shown = [name for name in names if fields[name].repr]

    def values(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def state(self: Any) -> Any:
        own = values(self)
        if type(self).__dict__.get("__slots__") == names:
            return own
        # Of a class that inherits: what it has besides, in slots or without.
        slots = [name for one in type(self).__mro__ for name in one.__dict__.get("__slots__", ())]
        more = {name: getattr(self, name) for name in slots if name not in fields and hasattr(self, name)}
        return own, {**getattr(self, "__dict__", {}), **more}

    def restore(self: Any, state: Any) -> None:
        own, more = (state, {}) if type(state) is list else state
        for name, value in (*zip(names, own, strict=True), *more.items()):
            object.__setattr__(self, name, value)

    def equal(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def digest(self: Any) -> int:
        return hash(tuple(values(self)))

    def text(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join([f'{name}={getattr(self, name)!r}' for name in shown])})"

    def refuse_set(self: Any, name: str, value: Any) -> None:
        if type(self).__qualname__ == cls.__qualname__ or name in fields:
            _refuse("assign to", name)
        object.__setattr__(self, name, value)  # of a class that inherits

    def refuse_delete(self: Any, name: str) -> None:
        if type(self).__qualname__ == cls.__qualname__ or name in fields:
            _refuse("delete", name)
        object.__delattr__(self, name)

    return {
        "__getstate__": state, "__setstate__": restore, "__eq__": equal, "__hash__": digest, "__repr__": text,
        "__setattr__": refuse_set, "__delattr__": refuse_delete,
    }  # fmt: skip


def _refuse(what: str, name: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot {what} field {name!r}")


class _Twin:
    """``__dataclass_fields__``: of a class of the same fields that dataclasses itself makes, when somebody asks."""

    def __init__(self, fields: dict[str, _Field], kw_only: bool) -> None:
        self._fields = fields
        self._kw_only = kw_only
        self._made: Any = None

    def __get__(self, value: Any, owner: type[Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.of(owner).__dataclass_fields__
        return found

    def of(self, owner: type[Any]) -> Any:
        """The class itself; ``owner`` is the one that was made here, or inherits from it."""
        if self._made is None:
            import dataclasses

            own = next(cls for cls in owner.__mro__ if cls.__dict__.get("__dataclass_fields__") is self)
            namespace: dict[str, Any] = {"__annotations__": dict(own.__annotations__), "__module__": own.__module__}
            for name, field_ in self._fields.items():
                keywords: dict[str, Any] = {"repr": field_.repr}
                if field_.factory is not _NONE:
                    keywords["default_factory"] = field_.factory
                elif field_.default is not _NONE:
                    keywords["default"] = field_.default
                namespace[name] = dataclasses.field(**keywords)
            plain = type(own.__name__, (), namespace)
            self._made = dataclasses.dataclass(frozen=True, kw_only=self._kw_only)(plain)
        return self._made


class _Params:
    """``__dataclass_params__``: what dataclasses asks a class for that another dataclass inherits from."""

    def __init__(self, twin: _Twin) -> None:
        self._twin = twin

    def __get__(self, value: Any, owner: type[Any]) -> Any:
        return self._twin.of(owner).__dataclass_params__
