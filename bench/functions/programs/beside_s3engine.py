"""A function in a thread beside the sockets, or in a process: beside_s3engine.py URL BUCKET PREFIX WORK COUNT HOW.

HOW: "process" is the engine as it is. "thread" runs the same code of the function process in a thread of the worker:
what differs is who shares an interpreter. WORK: a function of counting.py, or so many milliseconds of pure Python.
"""

import json
import os
import socket
import sys
import threading
import time
from typing import Any

from counting import FUNCTIONS  # type: ignore[import-not-found]  # beside this file: found when it is run

from s3engine import Engine

endpoint_url, bucket, prefix, work, number, how = sys.argv[1:]


def do(found: Any) -> int:
    """The function."""
    if work in FUNCTIONS:
        total: int = FUNCTIONS[work](found.body)
        return total
    until = time.thread_time() + float(work) / 1e3
    turns = len(found.body)
    while time.thread_time() < until:
        turns += 1
    return turns


def in_threads() -> None:
    """Have the link start a thread where it would ask for a process. For workers that are forked after this."""
    from s3engine.channel import Channel
    from s3engine.functions.process import _Process
    from s3engine.pool.desk import Desk
    from s3engine.pool.function_link import FunctionLink

    def want(link: Any) -> None:
        if link._channel is None and not link._asked:
            ours, theirs = socket.socketpair()
            threading.Thread(target=_Process(Channel(theirs)).live, daemon=True).start()
            link.came(os.getpid(), ours.detach())

    def process_came(desk: Any, message: Any, now: float) -> None:
        os.close(desk._channel.fds.popleft())

    FunctionLink.want = want  # type: ignore[assignment,method-assign]  # what is compared
    Desk.process_came = process_came  # type: ignore[assignment,method-assign]  # what is compared


def main() -> None:
    """One batch that is not timed, then all of it."""
    if how == "thread":
        in_threads()
    keys = [f"{prefix}{at:06}" for at in range(int(number))]
    with Engine(endpoint_url=endpoint_url, workers=2, start_method="fork") as engine:
        for some in (keys[:8], keys):
            began_s = time.perf_counter()
            waited_s = []
            for report, result in engine.map(do, some, bucket=bucket):
                if not report.ok:
                    raise result
                waited_s.append(report.success_s)
            inside_s = time.perf_counter() - began_s
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    waited_s.sort()
    print(json.dumps({
        "inside_s": inside_s, "answer_s": waited_s[len(waited_s) // 2], "gil": gil,
        "python": ".".join(map(str, sys.version_info[:3])),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
