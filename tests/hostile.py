"""A client of its own process, short of memory, at endpoints that mean it ill.

Run as ``python tests/hostile.py TRANSPORT OPERATION ...`` with a JSON object of names and endpoints on standard input;
each endpoint is asked for an object (get) or a list, all at once. What became of it is printed as JSON: by name and
operation, the class of the error ("" for none), its text and the seconds; and "MiB", how much the process grew.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import S3EngineError
from s3engine.pool.load import dotted_name, open_transport
from s3engine.sinks import MemorySink
from s3engine.transport import Timeouts

TIMEOUTS = Timeouts(connect_s=5.0, stall_s=1.0, first_byte_s=1.0, attempt_s=1.5)
MIB = 1024 * 1024


def _ask(transport: str, url: str, operation: str) -> tuple[str, str, float]:
    began = time.monotonic()
    settings = TransportSettings(
        endpoint_url=url, credentials=Credentials("AKIDHOSTILE", "secret-of-the-test"), addressing_style="path"
    )
    api: Any = open_transport(dotted_name(transport), settings)
    try:
        if operation == "get":
            api.get_object("bucket", "key", MemorySink(), timeouts=TIMEOUTS)
        else:
            api.list_objects_v2("bucket", timeouts=TIMEOUTS)
    except S3EngineError as error:
        return type(error).__name__, str(error), time.monotonic() - began
    finally:
        api.close()
    return "", "", time.monotonic() - began


def main(transport: str, operations: list[str]) -> None:
    """See the module's docstring."""
    endpoints: dict[str, str] = json.load(sys.stdin)
    _ask(transport, "http://127.0.0.1:9", "list")  # whatever it takes to be there does not count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ThreadPoolExecutor(len(endpoints) * len(operations)) as pool:
        asked = {
            f"{name}/{operation}": pool.submit(_ask, transport, url, operation)
            for name, url in endpoints.items() for operation in operations
        }  # fmt: skip
        found: dict[str, Any] = {name: future.result() for name, future in asked.items()}
    found["MiB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (3072 * MIB, 3072 * MIB))
    main(sys.argv[1], sys.argv[2:])
