"""``python -m s3engine``."""

from __future__ import annotations

import sys

from s3engine.cli import main

if __name__ == "__main__":
    sys.exit(main())
