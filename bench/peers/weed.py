"""The same works against SeaweedFS, a real store: what is left of it in real life."""

from __future__ import annotations

import contextlib
import functools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness import CREDENTIALS, client_environment, group_cpu_s, make_files, run_process
from bench.peers.place import BLOCK_BYTES, Place, Sizes, make_large
from bench.sink import Request, memory_folder
from s3engine.embedded import EmbeddedServer

__all__ = ["SIZES", "WITHOUT", "Weed", "weed_place"]

SIZES = Sizes(small=2000, listed=5000, large_mib=256, many=16)
"""Fewer, so that all of it is over in minutes."""
WITHOUT = frozenset(("upload-late", "tls-up", "tls-down", "start"))
"""Works that need a server which does as it is told."""
_BUCKETS = ("bench", "objects", "listed", "sources", "copies", "large", "blobs")


class Weed:
    """What the works ask of a server, of SeaweedFS. It has no log: what is stored afterwards is looked at."""

    def __init__(self, server: EmbeddedServer, listed: Path) -> None:
        self.endpoint_url = server.endpoint_url
        self.late_endpoint_url = self.tls_endpoint_url = self.ca_file = ""
        self._group = server.process_group
        self._listed = listed

    def requests(self) -> list[Request]:
        """None is known."""
        return []

    def deleted(self) -> list[str]:
        """None is known."""
        return []

    def cpu_s(self) -> float:
        """CPU of the server's processes so far."""
        return group_cpu_s(self._group)

    def run(self, *words: str) -> None:
        """The command line of s3engine, with no clock running. Raises RunFailed."""
        command = [sys.executable, "-m", "s3engine", *words, "--endpoint-url", self.endpoint_url]
        run_process(command, client_environment())

    def fill(self, bucket: str, folder: Path, prefix: str = "p/") -> None:
        """Upload a folder, with no clock running. Raises RunFailed."""
        self.run("cp", "-r", str(folder), f"s3://{bucket}/{prefix}", "--quiet")

    def before(self, verb: str) -> None:
        """What a run is to find: nothing where it writes, everything where it deletes."""
        if verb == "delete":
            self.fill("listed", self._listed)
        for bucket in {"upload": ("bench", "large"), "put": ("large",), "copy": ("copies",)}.get(verb, ()):
            self.run("rm", "-r", f"s3://{bucket}/", "--quiet")

    @functools.cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=self.endpoint_url, region_name="us-east-1", aws_access_key_id=CREDENTIALS[0],
            aws_secret_access_key=CREDENTIALS[1], config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip

    def stored(self, bucket: str) -> dict[str, int]:
        """Sizes by key, as boto3 lists them."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", ())}

    def read(self, bucket: str, key: str, start: int, size_bytes: int) -> bytes:
        """So many bytes of an object from there on, as boto3 gets them."""
        asked = f"bytes={start}-{start + size_bytes - 1}"
        said: bytes = self._client.get_object(Bucket=bucket, Key=key, Range=asked)["Body"].read()
        return said


@contextlib.contextmanager
def weed_place(sizes: Sizes = SIZES) -> Iterator[Place]:
    """SeaweedFS with everything in it, in memory if there is room. Raises ConfigError, RunFailed."""
    where = memory_folder(6 * sizes.large_mib * BLOCK_BYTES)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s3engine-peers-", dir=where)))
        folder, sums = stack.enter_context(make_files(sizes.small, min(100, sizes.small), 1024))
        one, many, listed = scratch / "large" / "one.bin", scratch / "many", scratch / "listed"
        make_large(one, sizes.large_mib)
        for number in range(sizes.many):
            make_large(many / f"{number:03}.bin", sizes.many_mib, seed=1 + number)
        for number in range(sizes.listed):
            path = listed / f"f{number // 1000:03}" / f"{number:06}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(1024))
        store = scratch / "store"
        server = stack.enter_context(EmbeddedServer(str(store), 0, *CREDENTIALS))
        weed = Weed(server, listed)
        for bucket in _BUCKETS:
            weed.run("mb", f"s3://{bucket}")
        weed.fill("objects", Path(folder))
        weed.fill("listed", listed)
        for number in range(-(-sizes.small // 1000)):
            weed.fill("sources", listed / f"f{number:03}", f"p/f{number:03}/")
        weed.fill("blobs", many)
        weed.run("cp", str(one), "s3://blobs/one.bin", "--quiet")
        keys_file = scratch / "keys"
        keys_file.write_text("\n".join("p/" + name for name in sums))
        yield Place(weed, sizes, Path(folder), sums, many, one, keys_file, scratch)
