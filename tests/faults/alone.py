"""An operation of the table in a process of its own, to be killed: ``python -m tests.faults.alone SPECIFICATION``.

The specification is JSON; each outcome is printed as it comes: the name, a tab, and the class of the error or nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from s3engine.embedded import EmbeddedServer
from tests.faults.operations import BY_NAME, Cell
from tests.helpers import S3Probe


def specification(cell: Cell, operation: str, endpoint_url: str) -> str:
    """What another process needs to run the same."""
    return json.dumps({
        "operation": operation, "endpoint_url": endpoint_url, "bucket": cell.bucket,
        "victims_bucket": cell.victims_bucket, "prefix": cell.prefix, "folder": str(cell.folder), "names": cell.names,
    })  # fmt: skip


def main(text: str) -> None:
    """Run it. Credentials are the environment's."""
    from tests.faults.cell import engine_for  # not above: cell.py is not needed by who only writes a specification

    given: dict[str, Any] = json.loads(text)
    unused = EmbeddedServer()
    probe = S3Probe(given["endpoint_url"], unused.access_key, unused.secret_key)
    cell = Cell(
        probe, given["bucket"], given["victims_bucket"], given["prefix"], Path(given["folder"]), given["names"]
    )
    with engine_for(given["endpoint_url"], concurrency=2) as engine:
        for name, error in BY_NAME[given["operation"]].run(engine, cell):
            print(name, "" if error is None else type(error).__name__, sep="\t", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
