"""Counts words with fast-s3 and a ProcessPoolExecutor: count_fast_s3.py URL BUCKET PREFIX FUNCTION PROCESSES HOW.

HOW: "there" (each process fetches slices of the keys with a Fetcher of its own), or "here" (one Fetcher, whose bodies
are sent to the processes). fast-s3 lists nothing: obstore does it.
"""

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from counting import FUNCTIONS  # type: ignore[import-not-found]  # beside this file: found when it is run
from fast_s3 import Fetcher

endpoint_url, bucket, prefix, function, processes, how = sys.argv[1:]
count = FUNCTIONS[function]
SLICE = 250


def fetcher(keys: list[str]) -> Fetcher:
    """Gives the objects in no order."""
    return Fetcher(
        keys, endpoint_url=endpoint_url, aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1", bucket_name=bucket,
        concurrency=16, addressing_style="path",
    )  # fmt: skip


def words(keys: list[str]) -> list[int]:
    """Of each of some objects."""
    return [count(found.content) for found in fetcher(keys)]


def listed() -> list[str]:
    """All keys."""
    from obstore.store import S3Store

    store = S3Store(
        bucket, endpoint=endpoint_url, region="us-east-1", virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )  # fmt: skip
    return [found["path"] for page in store.list(prefix, chunk_size=1000) for found in page]


def main() -> None:
    """Sums up."""
    keys = listed()
    # Not forked: the libraries' threads would not be in the children.
    with ProcessPoolExecutor(int(processes), multiprocessing.get_context("spawn")) as executor:
        if how == "there":
            slices = [keys[at : at + SLICE] for at in range(0, len(keys), SLICE)]
            numbers = [number for some in executor.map(words, slices) for number in some]
        else:
            numbers = list(executor.map(count, (found.content for found in fetcher(keys))))
    print(json.dumps({"total": sum(numbers), "objects": len(numbers)}))


if __name__ == "__main__":
    main()
