"""``python -m s3engine``."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from s3engine.cli import program
    except KeyboardInterrupt:
        sys.stderr.write("s3engine: interrupted\n")
        sys.exit(130)
    program()
