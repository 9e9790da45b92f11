"""Uses a transport in another process: ``python -m s3engine.testing.conformance.elsewhere MODE``.

Standard input has a line of JSON (``sys.path``) and the pickled order. Exit code 0: it worked.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from typing import Any

__all__ = ["main"]

CHILD_TIMEOUT_S = 30


def main(mode: str) -> int:
    """Do as the mode says; what goes wrong is raised."""
    sys.path[:] = json.loads(sys.stdin.buffer.readline())
    dotted, settings, bucket, key = pickle.load(sys.stdin.buffer)
    from s3engine.pool.load import load_transport, open_transport

    if mode == "fresh":
        _use(open_transport(dotted, settings), bucket, key)
        return 0
    load_transport(dotted)
    ours = None
    if mode == "fork-after-use":
        ours = open_transport(dotted, settings)
        _round_trip(ours, bucket, key)
    pid = os.fork()
    if pid == 0:
        signal.alarm(CHILD_TIMEOUT_S)  # a hang is what is looked for
        code = 1
        try:
            _use(open_transport(dotted, settings), bucket, key + "-child")
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    if ours is not None:
        _round_trip(ours, bucket, key + "-parent")
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        print(f"the child was ended by signal {os.WTERMSIG(status)} (14: it hung)", file=sys.stderr)
        return 1
    if ours is not None:
        _use(ours, bucket, key)
    return os.waitstatus_to_exitcode(status)


def _use(api: Any, bucket: str, key: str) -> None:
    try:
        _round_trip(api, bucket, key)
    finally:
        api.close()


def _round_trip(api: Any, bucket: str, key: str) -> None:
    from s3engine.testing.conformance.core import T, fetch

    body = os.urandom(5000)
    api.put_object(bucket, key, body, (), timeouts=T)
    if fetch(api, bucket, key)[0] != body:
        raise RuntimeError("another body came back")


if __name__ == "__main__":
    # Without the interpreter's own end: libraries with threads of their own have been seen to abort in it.
    code = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(code)
