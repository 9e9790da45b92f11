"""How each kind of task is begun and ended: the same code for both lanes.

``prepare`` opens what is local, once per attempt; ``begin`` asks ``api`` for the operation, where ``api`` is a
transport (the call blocks and returns the result) or its exchanges (it returns an Exchange at once); ``end`` makes the
rest of the outcome out of the result. Between attempts the item keeps what a retry can go on with.
"""

from __future__ import annotations

from s3engine.pool.actions import bodiless, fetch, get, multipart, put
from s3engine.pool.item import Action

__all__ = ["ACTIONS"]

ACTIONS: dict[int, Action] = put.ACTIONS | get.ACTIONS | bodiless.ACTIONS | multipart.ACTIONS | fetch.ACTIONS
"""By Kind."""
