"""SHA-256 of every object below a prefix, as lines that sha256sum reads: hash_inventory.py BUCKET PREFIX > sums"""

import hashlib
import sys

from s3engine import Engine, FetchedObject


def sha256(found: FetchedObject) -> str:
    """Of a body of any size."""
    digest = hashlib.sha256()
    for chunk in found.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def main(bucket: str, prefix: str) -> int:
    """In the order of the listing; exit code 1 when an object could not be read."""
    failed = 0
    with Engine() as engine:
        for report, result in engine.map(sha256, engine.list(bucket, prefix), ordered=True):
            if report.ok:
                print(f"{result}  {report.key}")
            else:
                failed += 1
                print(f"{report.key}: {report.error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
