"""Hold all objects below a prefix to SHA-256 sums, as sha256sum writes them: checksum_audit.py BUCKET PREFIX sums

They name keys. Told is what differs, what is missing in the bucket, and what the list does not know.
"""

import sys

from hash_inventory import sha256

from s3engine import Engine


def main(bucket: str, prefix: str, path: str) -> int:
    """Exit code 1 when anything is not as the list says."""
    with open(path, encoding="utf-8") as file:
        wanted = {line.rstrip("\n")[66:]: line[:64] for line in file}
    wrong = 0
    with Engine() as engine:
        for report, result in engine.map(sha256, engine.list(bucket, prefix)):
            expected = wanted.pop(report.key, None)
            if report.error is not None or result != expected:
                wrong += 1
                print(f"{report.key}: {report.error or ('differs' if expected else 'not in the list')}")
    for key in wanted:
        print(f"{key}: missing")
    print(f"{wrong + len(wanted)} of what was looked at is not as {path} says")
    return 1 if wrong or wanted else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
