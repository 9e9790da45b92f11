"""Counts words with boto3 and a ProcessPoolExecutor: count_boto3.py URL BUCKET PREFIX FUNCTION PROCESSES.

Each process has a client of its own, and gets sixteen keys at a time.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import boto3
from counting import FUNCTIONS  # type: ignore[import-not-found]  # beside this file: found when it is run

endpoint_url, bucket, prefix, function, processes = sys.argv[1:]
count = FUNCTIONS[function]
client: Any = None


def connect() -> None:
    """Once in each process."""
    global client
    client = boto3.client("s3", endpoint_url=endpoint_url)


def words(key: str) -> int:
    """Of one object."""
    number: int = count(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    return number


def main() -> None:
    """Sums up."""
    connect()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
    with ProcessPoolExecutor(int(processes), initializer=connect) as executor:
        numbers = list(executor.map(words, keys, chunksize=16))
    print(json.dumps({"total": sum(numbers), "objects": len(numbers)}))


if __name__ == "__main__":
    main()
