"""``s3engine compare``: the same job with each transport, in interleaved rounds, against the user's own endpoint.

    rounds.py  starts a fresh process per run, in rotating order, and sees to it that nothing is left in the store
      job.py   what that process does: upload, list, download, copy, delete; each step timed
        checks.py  whether what was reported as done is so      tally.py  adds the reports of a step up
        usage.py  CPU and memory of a process and all that it started
      cleanup.py  looks at, and empties, the prefix of this comparison, with the raw transport
    values.py  what is measured      record.py  the JSON file
    figures.py medians, percentiles, who was fastest      table.py, picture.py, shapes.py  what people look at

Everything that a run makes lies below ``PREFIX/s3engine-compare-<random>/``; nothing else is ever touched.
"""
