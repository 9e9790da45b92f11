"""The programs in ``examples/`` do what they say, as processes of their own."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from s3engine.embedded import EmbeddedServer
from tests.helpers import S3Probe

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(seaweed: EmbeddedServer, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one to its end."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], env=os.environ | seaweed.environment(),
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_they_are_short(path: Path) -> None:
    """Under forty lines each."""
    assert len(path.read_text().splitlines()) <= 40


def test_compress_logs(seaweed: EmbeddedServer, bucket: str, probe: S3Probe) -> None:
    """All logs are packed once; a second run leaves them."""
    for number in range(5):
        probe.put(bucket, f"logs/{number}.log", b"line\n" * number * 1000)
    done = run(seaweed, "compress_logs.py", bucket, "logs/", "packed/")
    assert done.returncode == 0, done.stderr
    assert {key: gzip.decompress(probe.get(bucket, key) or b"") for key in probe.list_keys(bucket, "packed/")} == {
        f"packed/{number}.log.gz": b"line\n" * number * 1000 for number in range(5)
    }
    assert "5 skipped" in run(seaweed, "compress_logs.py", bucket, "logs/", "packed/").stdout


def test_inventory_and_audit(seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """The sums are those of sha256sum, and the audit finds what was changed, lost and added."""
    bodies = {f"p/{number}": os.urandom(number * 1000) for number in range(6)}
    for key, body in bodies.items():
        probe.put(bucket, key, body)
    done = run(seaweed, "hash_inventory.py", bucket, "p/")
    assert done.stdout.splitlines() == [f"{hashlib.sha256(body).hexdigest()}  {key}" for key, body in bodies.items()]
    (tmp_path / "sums").write_text(done.stdout)
    assert run(seaweed, "checksum_audit.py", bucket, "p/", str(tmp_path / "sums")).returncode == 0
    probe.put(bucket, "p/3", b"changed")
    probe.put(bucket, "p/9", b"added")
    probe.delete(bucket, "p/5")
    done = run(seaweed, "checksum_audit.py", bucket, "p/", str(tmp_path / "sums"))
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()[:-1]) == ["p/3: differs", "p/5: missing", "p/9: not in the list"]


def test_thumbnails(seaweed: EmbeddedServer, bucket: str, probe: S3Probe) -> None:
    """Pictures become small ones; what is no picture is told."""
    packed = io.BytesIO()
    Image.new("RGB", (600, 300), (200, 30, 30)).save(packed, "PNG")
    probe.put(bucket, "photos/red.png", packed.getvalue())
    probe.put(bucket, "photos/none.png", b"no picture")
    done = run(seaweed, "thumbnails.py", bucket, "photos/", "thumbs/", "128")
    assert done.returncode == 1
    assert "photos/none.png" in done.stderr
    assert probe.list_keys(bucket, "thumbs/") == ["thumbs/red.jpg"]
    assert Image.open(io.BytesIO(probe.get(bucket, "thumbs/red.jpg") or b"")).size == (128, 64)


def test_word_count(seaweed: EmbeddedServer, bucket: str, probe: S3Probe) -> None:
    """The commonest words of all objects are told, and an object that is no JSON is named."""
    for number in range(250):
        lines = [{"text": "so it goes"}, {"text": f"so  it\tgoes {'on ' * (number % 3)}"}, {"text": ""}]
        probe.put(bucket, f"w/{number:03}.jsonl", "\n".join(map(json.dumps, lines)).encode())
    done = run(seaweed, "word_count.py", bucket, "w/", "4")
    assert done.stdout.splitlines() == ["500 goes", "500 it", "500 so", "249 on"], done.stderr
    probe.put(bucket, "w/bad.jsonl", b"{")
    done = run(seaweed, "word_count.py", bucket, "w/")
    assert done.returncode == 1
    assert "w/bad.jsonl" in done.stderr


def test_json_to_parquet(seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """All rows of all objects are in the file, in the order of the keys."""
    for number in range(20):
        lines = [json.dumps({"object": number, "row": row, "text": "x" * 1000}) for row in range(300)]
        probe.put(bucket, f"j/{number:03}.jsonl", "\n".join(lines).encode())
    done = run(seaweed, "json_to_parquet.py", bucket, "j/", str(tmp_path / "all.parquet"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"6000 rows of 20 objects in {tmp_path / 'all.parquet'}\n"
    rows = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert [(row["object"], row["row"]) for row in rows] == [(n, row) for n in range(20) for row in range(300)]
