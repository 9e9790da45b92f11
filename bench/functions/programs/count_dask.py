"""Counts words with a Dask bag over s3fs: count_dask.py URL BUCKET PREFIX FUNCTION PROCESSES.

A partition of 250 keys is fetched by one call, several at a time; a bag of lines (``read_text``) took longer.
"""

import json
import sys

import dask
import dask.bag
import s3fs
from counting import FUNCTIONS  # type: ignore[import-not-found]  # beside this file: found when it is run

endpoint_url, bucket, prefix, function, processes = sys.argv[1:]
count = FUNCTIONS[function]
PARTITION = 250


def words(paths: list[str]) -> list[int]:
    """Of each object of a partition."""
    bodies = s3fs.S3FileSystem(endpoint_url=endpoint_url).cat(list(paths))
    return [count(body) for body in bodies.values()]


def main() -> None:
    """Sums up."""
    paths = s3fs.S3FileSystem(endpoint_url=endpoint_url).find(f"{bucket}/{prefix}")
    with dask.config.set(scheduler="processes", num_workers=int(processes)):
        numbers = dask.bag.from_sequence(paths, partition_size=PARTITION).map_partitions(words).compute()
    print(json.dumps({"total": sum(numbers), "objects": len(numbers)}))


if __name__ == "__main__":
    main()
