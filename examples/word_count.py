"""The commonest words in the field "text" of JSON lines below a prefix: word_count.py BUCKET PREFIX [HOW_MANY]

Needs pyarrow, which parses the memory that an object was received into."""

import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from s3engine import Engine, FetchedObject


def words(found: FetchedObject) -> pa.Table:
    """How often each word is in one object."""
    lines = pyarrow.json.read_json(pa.BufferReader(pa.py_buffer(found.body)))
    every = pc.list_flatten(pc.utf8_split_whitespace(lines["text"]))
    counts = pc.value_counts(every.filter(pc.not_equal(every, "")))  # an empty text has one word, the empty one
    return pa.table({"word": counts.field("values"), "count": counts.field("counts")})


def merged(tables: list[pa.Table]) -> pa.Table:
    """One of many."""
    return pa.concat_tables(tables).group_by("word").aggregate([("count", "sum")]).rename_columns(["word", "count"])


def main(bucket: str, prefix: str, how_many: str = "10") -> None:
    """Raises what the first object that cannot be counted fails with."""
    tables = [pa.table({"word": pa.array([], pa.string()), "count": pa.array([], pa.int64())})]
    with Engine() as engine:
        for report, result in engine.map(words, engine.list(bucket, prefix)):
            tables.append(result if report.ok else sys.exit(f"{report.key}: {report.error}"))
            tables = [merged(tables)] if len(tables) == 200 else tables
    for row in merged(tables).sort_by([("count", "descending"), ("word", "ascending")]).to_pylist()[: int(how_many)]:
        print(row["count"], row["word"])


if __name__ == "__main__":
    main(*sys.argv[1:])
