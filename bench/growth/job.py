"""One measured job in a process of its own: ``job.py FILE``, a JSON of what to do; prints what it took as JSON.

The engine is made and closed inside what is measured; the interpreter's start and imports are not in it.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from s3engine import Engine


def cpu_s() -> float:
    """CPU of this process and of those of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def sources(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """``count`` files, the same few again and again, each to a key of its own."""
    for number, path in enumerate(itertools.islice(itertools.cycle(job["files"]), job["count"])):
        yield path, f"p/f{number % 1000:03}/{number:07}.bin"


def run(engine: Engine, job: dict[str, Any]) -> int:
    """How many objects were done."""
    work, bucket = job["work"], job["bucket"]
    if work == "upload":
        summary = engine.upload(bucket, sources(job)).wait()
    elif work == "download":
        summary = engine.download(bucket, job["keys"], job["folder"]).wait()
    elif work == "delete":
        summary = engine.list(bucket, "p/").delete().wait()
    else:
        return sum(1 for _ in engine.list(bucket, "p/"))
    return summary.objects


with open(sys.argv[1], encoding="utf-8") as given:
    job = json.load(given)
wall_0_s, cpu_0_s = time.perf_counter(), cpu_s()
with Engine(endpoint_url=job["endpoint_url"], **job["config"]) as engine:
    done = run(engine, job)
print(json.dumps({"wall_s": time.perf_counter() - wall_0_s, "cpu_s": cpu_s() - cpu_0_s, "objects": done}))
