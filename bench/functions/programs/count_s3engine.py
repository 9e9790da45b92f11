"""Counts words with s3engine: count_s3engine.py URL BUCKET PREFIX FUNCTION WORKERS."""

import json
import sys
from typing import Any

from counting import FUNCTIONS  # type: ignore[import-not-found]  # beside this file: found when it is run

from s3engine import Engine

endpoint_url, bucket, prefix, function, workers = sys.argv[1:]
count = FUNCTIONS[function]


def words(found: Any) -> int:
    """Of one object."""
    number: int = count(found.body)
    return number


def main() -> None:
    """Sums up."""
    total = objects = 0
    cpu_s = 0.0
    with Engine(endpoint_url=endpoint_url, workers=int(workers)) as engine:
        for report, result in engine.map(words, engine.list(bucket, prefix)):
            if not report.ok:
                raise result
            total += result
            objects += 1
            cpu_s += report.cpu_s
    print(json.dumps({"total": total, "objects": objects, "function_cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
