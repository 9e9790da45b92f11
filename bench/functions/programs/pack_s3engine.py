"""Packs large objects with gzip, from a bucket into another: pack_s3engine.py URL BUCKET PREFIX COUNT TO_BUCKET."""

import json
import sys

from s3engine import Engine
from s3engine.transforms import Gzip

endpoint_url, bucket, prefix, number, to_bucket = sys.argv[1:]


def main() -> None:
    """All of it."""
    keys = [f"{prefix}{at:03}.bin" for at in range(int(number))]
    # Not by MD5: the sink's ETags of what comes in parts are made up.
    with Engine(endpoint_url=endpoint_url, checksum="crc32") as engine:
        summary = engine.transform(bucket, keys, Gzip(), to_bucket, key=lambda found: f"{found.key}.gz").wait()
    print(json.dumps({"ok": summary.ok, "objects": summary.objects}))


if __name__ == "__main__":
    main()
