"""Pack all logs below a prefix with gzip: compress_logs.py BUCKET logs/ packed/

Each object becomes one of the same name and ".gz" below the target. What is there already is left as it is, so the
program may be run again.
"""

import sys

from s3engine import Engine
from s3engine.transforms import Gzip


def main(bucket: str, prefix: str, target: str) -> int:
    """Exit code 1 when an object could not be packed."""
    with Engine() as engine:
        batch = engine.list(bucket, prefix).transform(
            Gzip(), key=lambda info: f"{target}{info.key.removeprefix(prefix)}.gz", existing="keep"
        )
        for report in batch:
            if report.error is not None:
                print(f"{report.key}: {report.error}", file=sys.stderr)
        print(batch.summary())
    return 0 if batch.summary().ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
