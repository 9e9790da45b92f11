"""Names of what fixtures of conftest.py make."""

from __future__ import annotations

from collections.abc import Callable

from s3engine import Engine
from tests.faults import FaultProxy

Through = Callable[..., tuple[Engine, FaultProxy]]
"""Called with a plan (None for none) and settings of the engine."""
Made = Callable[..., Engine]
"""The same."""
