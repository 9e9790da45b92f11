"""A stand: runs cells of the table one by one, in a process of its own: ``python -m tests.faults.stand SPECIFICATION``.

A line of standard input names a cell, the line of standard output that answers it is its row; both are JSON. What a
cell prints goes to standard error. SIGUSR1 prints the stacks of all threads there. The end of standard input ends it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from s3engine.embedded import EmbeddedServer, free_ports
from tests.faults.cases import CASES
from tests.faults.cell import Row, Stage, no_fault, run_cell
from tests.faults.events import EVENTS
from tests.faults.operations import BY_NAME

BY_FAULT = {case.name: (case, around, run) for case, around, run in [
    (no_fault(), None, None), *((case, None, None) for case in CASES), *EVENTS,
]}  # fmt: skip
"""Every fault, and none, with what happens beside it and what runs in place of the operation."""


class Task(NamedTuple):
    """A cell by its names."""

    fault: str
    operation: str
    objects: int

    @property
    def own_server(self) -> bool:
        """Whether its fault strikes the server, so that it cannot be that of others."""
        return BY_FAULT[self.fault][0].own_server


def specification(port: int, folder: Path, name: str) -> str:
    """What a stand needs: the port of the common server, a folder, and a name that no other has."""
    return json.dumps({"port": port, "folder": str(folder), "name": name})


def _row(stage: Stage, task: Task) -> Row:
    """Run the cell; what keeps it from being run to its end is told by its row."""
    case, around, run = BY_FAULT[task.fault]
    try:
        return run_cell(stage, BY_NAME[task.operation], case, task.objects, around=around, run=run)
    except Exception as error:  # noqa: BLE001 - one cell is not the table
        traceback.print_exc()
        return Row(task.fault, task.operation, task.objects, not_run=f"{type(error).__name__}: {error}")


def main(text: str) -> None:
    """Run what standard input names. Credentials are the environment's."""
    faulthandler.register(signal.SIGUSR1)
    given: dict[str, Any] = json.loads(text)
    folder = Path(given["folder"])
    folder.mkdir(parents=True)
    common = Stage(EmbeddedServer(port=given["port"]), folder, prefix=f"{given['name']}-")
    own: Stage | None = None
    with ExitStack() as stack, os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            task = Task(*json.loads(line))
            if task.own_server and own is None:
                server = EmbeddedServer(str(folder / "server"), port=free_ports(1)[0])
                own = Stage(stack.enter_context(server), folder)
            row = _row(own if own is not None and task.own_server else common, task)
            print(json.dumps(row.as_dict()), file=answers, flush=True)


__all__ = ["BY_FAULT", "Task", "specification"]
if __name__ == "__main__":
    main(sys.argv[1])
