"""S3 Inventory."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import ChecksumMismatch, ConfigError
from s3engine.inputs import files_from, objects_from
from s3engine.inputs import inventory as inventory_module
from s3engine.transport import ObjectInfo
from tests.tables import parquet, table


class Store:
    """Stands for the engine: a folder of buckets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []

    def put(self, bucket: str, key: str, data: bytes) -> dict[str, str]:
        path = self.folder / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"key": key, "MD5checksum": hashlib.md5(data).hexdigest()}

    def fetch(self, bucket: str, key: str, folder: str) -> str:
        self.fetched.append(key)
        return str(shutil.copy(self.folder / bucket / key, os.path.join(folder, "data")))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that ``engine=`` leads to."""
    store = Store(tmp_path / "store")
    monkeypatch.setattr(inventory_module, "fetch_with", lambda engine: engine.fetch)
    monkeypatch.setattr("s3engine.inputs.fetch_with", lambda engine: engine.fetch)
    return store


def manifest(store: Store, listed: list[dict[str, str]], **values: Any) -> str:
    said = {
        "sourceBucket": "bbb", "destinationBucket": "arn:aws:s3:::inv", "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag", "files": listed, **values,
    }  # fmt: skip
    store.put("inv", "x/manifest.json", json.dumps(said).encode())
    return "s3://inv/x/manifest.json"


def test_inventory_is_read_file_by_file(store: Store) -> None:
    """Keys are decoded, what is not below the prefix is not meant; a mark spares the files before it."""
    one = store.put("inv", "d/1.csv.gz", gzip.compress(b'"bbb","p/a+%2B","3","2026","e1"\n"bbb","q/z","1","",""\n'))
    two = store.put("inv", "d/2.csv.gz", gzip.compress(b'"bbb","p/c","4","2026-01-01","e2"\n'))
    given: Any = objects_from(manifest(store, [one, two]), "bbb", "p/", engine=store)  # type: ignore[arg-type]
    given.check()
    store.fetched.clear()
    pairs = list(given.marked())
    assert [item for item, _ in pairs] == [
        ObjectInfo("p/a +", 3, "e1", "2026"), ObjectInfo("p/c", 4, "e2", "2026-01-01")
    ]  # fmt: skip
    assert store.fetched == ["d/1.csv.gz", "d/2.csv.gz"]
    store.fetched.clear()
    assert list(given.marked(pairs[1][1])) == []
    assert store.fetched == ["d/2.csv.gz"]


def test_inventory_of_parquet(store: Store, tmp_path: Path) -> None:
    """The files tell their columns themselves; keys are plain."""
    data = parquet(tmp_path, {"bucket": ["bbb"], "key": ["a%20b"], "size": [3], "e_tag": ["e"]}).read_bytes()
    path = manifest(store, [store.put("inv", "d/1.parquet", data)], fileFormat="Parquet", fileSchema="message x {}")
    assert list(objects_from(path, "bbb", engine=store)) == [ObjectInfo("a%20b", 3, "e")]  # type: ignore[arg-type]


def test_inventory_that_is_not_whole(store: Store) -> None:
    """A file with another MD5 than the manifest says is not used."""
    one = store.put("inv", "d/1.csv.gz", gzip.compress(b'"bbb","a"\n'))
    path = manifest(store, [{**one, "MD5checksum": "0" * 32}], fileSchema="Bucket, Key")
    with pytest.raises(ChecksumMismatch, match="another MD5 than its manifest says"):
        list(objects_from(path, "bbb", engine=store))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fileFormat": "ORC"}, "made of ORC files; CSV and Parquet"),
        ({"sourceBucket": "other"}, "of the bucket 'other', not 'bbb'"),
        ({"files": [{}]}, "is no manifest.json of S3 Inventory: 'key' is missing"),
    ],
)
def test_inventory_that_cannot_be_used(store: Store, values: dict[str, Any], said: str) -> None:
    """It is refused before anything is done."""
    with pytest.raises(ConfigError, match=said):
        objects_from(manifest(store, [], **values), "bbb", engine=store)  # type: ignore[arg-type]


def test_inventory_names_no_files(tmp_path: Path) -> None:
    """It cannot be an input of an upload; nor can it be read without an engine."""
    path = table(tmp_path, "{}", "manifest.json")
    with pytest.raises(ConfigError, match="names objects and no files"):
        files_from(path, "/d")
    with pytest.raises(ConfigError, match=r"no manifest.json of S3 Inventory: 'fileFormat' is missing"):
        objects_from(path, "bbb")
