"""All JSON lines below a prefix into one Parquet file: json_to_parquet.py BUCKET PREFIX FILE.parquet

Needs pyarrow. Each object is parsed in its worker's function process, out of the memory that it was received into; the
tables come back through shared memory, without a copy.
"""

import sys

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from s3engine import Engine, FetchedObject


def table(found: FetchedObject) -> pa.Table:
    """One object's lines."""
    return pyarrow.json.read_json(pa.BufferReader(pa.py_buffer(found.body)))


def main(bucket: str, prefix: str, path: str) -> int:
    """Exit code 1, and no file, when an object could not be read."""
    with Engine() as engine:
        pairs = list(engine.map(table, engine.list(bucket, prefix), ordered=True))
    bad = [report for report, _ in pairs if not report.ok]
    for report in bad:
        print(f"{report.key}: {report.error}", file=sys.stderr)
    if not bad:
        whole = pa.concat_tables([found for _, found in pairs], promote_options="default")
        pq.write_table(whole, path)
        print(f"{whole.num_rows} rows of {len(pairs)} objects in {path}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
