"""What the engine refuses as input before a worker is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from s3engine.engine import Engine
from s3engine.errors import ConfigError

CALLS: list[Callable[[Engine, Any], object]] = [
    lambda engine, text: engine.delete("bucket", text),
    lambda engine, text: engine.delete("bucket", text, max_delete=3),
    lambda engine, text: engine.download("bucket", text, "out"),
    lambda engine, text: engine.copy("bucket", text, "other", move=True),
    lambda engine, text: engine.upload("bucket", text),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("text", ["a/b", b"a/b"])
def test_one_text_is_no_list_of_its_letters(call: Callable[[Engine, Any], object], text: str | bytes) -> None:
    """A text is iterable; what was meant is one key and not ``a``, ``/`` and ``b``."""
    with Engine(endpoint_url="http://127.0.0.1:9", anonymous=True, workers=1) as engine:
        with pytest.raises(ConfigError, match=r"the one text b?'a/b'; give a list"):
            call(engine, text)
        assert engine.worker_pids == ()
