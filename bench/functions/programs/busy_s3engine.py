"""So many milliseconds of pure Python on each object: busy_s3engine.py URL BUCKET PREFIX MS COUNT WORKERS.

Prints how long the batch took from its first line to its last report, and how much CPU the functions had.
"""

import json
import sys
import time
from typing import Any

from s3engine import Engine

endpoint_url, bucket, prefix, milliseconds, number, workers = sys.argv[1:]
busy_s = float(milliseconds) / 1e3


def busy(found: Any) -> int:
    """Turns until so much CPU is used up."""
    until = time.process_time() + busy_s
    turns = len(found.body)
    while time.process_time() < until:
        turns += 1
    return turns


def main() -> None:
    """All of it, the engine's start and end included."""
    began_s = time.perf_counter()
    keys = (f"{prefix}{at:06}" for at in range(int(number)))
    with Engine(endpoint_url=endpoint_url, workers=int(workers)) as engine:
        cpu_s, objects = 0.0, 0
        for report, result in engine.map(busy, keys, bucket=bucket):
            if not report.ok:
                raise result
            cpu_s += report.cpu_s
            objects += 1
    print(json.dumps({"inside_s": time.perf_counter() - began_s, "function_cpu_s": cpu_s, "objects": objects}))


if __name__ == "__main__":
    main()
