"""One job with s3engine's library: with_s3engine.py JOB URL BUCKET PREFIX PATH [times=N] [SETTING=VALUE ...].

Jobs: upload, download, list, delete, copy, put, get. Prints as JSON what the job took inside this process and its
workers, from the engine's making to its end, and what its workers alone took of it, of that their user time.
"""

import itertools
import os
import resource
import sys
import time
from typing import Any

from s3engine import Engine, FileSource, files_recursive

job, endpoint_url, bucket, prefix, path, *given = sys.argv[1:]


def used_s(who: int) -> tuple[float, float]:
    """User time and CPU of this process, or of those of its children that have ended."""
    usage = resource.getrusage(who)
    return usage.ru_utime, usage.ru_utime + usage.ru_stime


def run(engine: Engine) -> tuple[int, int, bool]:
    """Objects, retries, and whether all went well."""
    if job == "list":
        return sum(1 for _ in engine.list(bucket, prefix)), 0, True
    if job == "upload":
        again = (files_recursive(path, prefix + (f"{number}/" if number else "")) for number in range(times))
        batch = engine.upload(bucket, itertools.chain.from_iterable(again))
    elif job == "put":
        batch = engine.upload(bucket, [FileSource(path, prefix)])
    elif job == "download":
        batch = engine.list(bucket, prefix).download(path)
    elif job == "get":
        batch = engine.download(bucket, [prefix], os.path.dirname(path), path=lambda one: os.path.basename(path))
    elif job == "delete":
        batch = engine.list(bucket, prefix).delete()
    else:
        target, _, start = path.partition("/")
        batch = engine.list(bucket, prefix).copy(target, key=lambda one: start + one.key[len(prefix) :])
    summary = batch.wait()
    return summary.objects, summary.retries, summary.ok


settings: dict[str, Any] = {
    name: int(value) if value.isdigit() else value for name, _, value in (one.partition("=") for one in given)
}
times = int(settings.pop("times", 1))  # an upload, under as many prefixes
started_s, own, theirs = time.perf_counter(), used_s(resource.RUSAGE_SELF), used_s(resource.RUSAGE_CHILDREN)
with Engine(endpoint_url=endpoint_url, **settings) as engine:
    objects, retries, ok = run(engine)
wall_s = time.perf_counter() - started_s
own_now, theirs_now = used_s(resource.RUSAGE_SELF), used_s(resource.RUSAGE_CHILDREN)


def tell() -> None:
    """Print it, with what a program would not import for the job."""
    import json

    print(json.dumps({
        "inside_wall_s": wall_s, "parent_cpu_s": own_now[1] - own[1], "workers_cpu_s": theirs_now[1] - theirs[1],
        "workers_user_s": theirs_now[0] - theirs[0], "objects": objects, "retries": retries,
    }))  # fmt: skip


tell()
sys.exit(0 if ok else 1)
