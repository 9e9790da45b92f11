"""The record of a job, in a file that outlives it: what was planned, what is done, what failed and why.

``store`` knows the file, ``records`` what an item looks like in it, ``identity`` which job it belongs to, ``run`` goes
around a job while it runs, ``book`` is what programs and the command line read.
"""

from __future__ import annotations

from s3engine.journal.book import Failed, Journal, JournalCounts

__all__ = ["Failed", "Journal", "JournalCounts"]
