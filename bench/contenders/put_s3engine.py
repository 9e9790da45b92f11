"""Upload a folder with s3engine's library: put_s3engine.py ENDPOINT_URL BUCKET PREFIX FOLDER IN_FLIGHT.

Prints as JSON what the batch took inside this process and its workers, from the engine's making to its end.
"""

import json
import resource
import sys
import time

from s3engine import Engine, files_recursive


def cpu_s() -> float:
    """CPU of this process and of those of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


endpoint_url, bucket, prefix, folder, in_flight = sys.argv[1:]
wall_0_s, cpu_0_s = time.perf_counter(), cpu_s()
with Engine(endpoint_url=endpoint_url, concurrency=int(in_flight)) as engine:
    summary = engine.upload(bucket, files_recursive(folder, prefix)).wait()
print(json.dumps({
    "batch_wall_s": time.perf_counter() - wall_0_s, "batch_cpu_s": cpu_s() - cpu_0_s, "objects": summary.objects,
    "retries": summary.retries,
}))  # fmt: skip
sys.exit(0 if summary.ok else 1)
