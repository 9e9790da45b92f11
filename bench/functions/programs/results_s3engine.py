"""Results of so many bytes, sent in the message or by memory: results_s3engine.py URL BUCKET KEY BYTES COUNT HOW.

HOW: "message" or "memory", whatever the size. Prints the wall time of the batch without the engine's start.
"""

import json
import sys
import time
from typing import Any

import s3engine.functions.results
from s3engine import Engine

endpoint_url, bucket, key, size, number, how = sys.argv[1:]
# Before the processes are forked, so that they have it too.
s3engine.functions.results.LARGE_BYTES = 1 << 40 if how == "message" else 0
body = bytes(int(size))


def give(found: Any) -> bytearray:
    """No bytes object, of which there would be one copy less."""
    return bytearray(body)


def main() -> None:
    """A first batch is not timed."""
    with Engine(endpoint_url=endpoint_url, start_method="fork") as engine:
        for count in (100, int(number)):
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            for report, result in engine.map(give, [key] * count, bucket=bucket):
                if not report.ok or len(result) != len(body):
                    raise RuntimeError(report)
            inside_s, parent_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    print(json.dumps({"inside_s": inside_s, "parent_cpu_s": parent_cpu_s}))


if __name__ == "__main__":
    main()
