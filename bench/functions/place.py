"""SeaweedFS with objects of JSON lines in it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.harness import CREDENTIALS, RunFailed, group_cpu_s
from bench.sink import memory_folder
from s3engine import BytesSource, Engine
from s3engine.embedded import EmbeddedServer

__all__ = ["BODY_BYTES", "BUCKET", "DISTINCT", "Objects", "bodies", "objects_of", "seaweed"]

BODY_BYTES = 100 * 1024
BUCKET = "bench"
DISTINCT = 50  # bodies; more keys share them
_VOCABULARY = 5000
_ENDINGS = ("", "", "", "s", "ed", "ing", "ly")


class Objects(NamedTuple):
    """Where they are."""

    endpoint_url: str
    process_group: int
    """Of the server."""
    prefixes: dict[int, str]
    """By how many objects are below each."""

    def server_cpu_s(self) -> float:
        """CPU of the server's processes so far."""
        return group_cpu_s(self.process_group)


def bodies(count: int = DISTINCT, size_bytes: int = BODY_BYTES) -> list[bytes]:
    """JSON lines of so many bytes, always the same: words as often as in a language (Zipf)."""
    chance = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [
        "".join(chance.choices(letters, k=chance.randint(2, 8))) + chance.choice(_ENDINGS) for _ in range(_VOCABULARY)
    ]
    weights = [1 / (rank + 1) for rank in range(_VOCABULARY)]
    found = []
    for number in range(count):
        lines: list[bytes] = []
        room = size_bytes
        while room:
            text = " ".join(chance.choices(words, weights, k=40))
            line = json.dumps({"id": f"{number}-{len(lines)}", "text": text}).encode() + b"\n"
            if len(line) + 100 > room:  # the last one, made to fit
                empty = json.dumps({"id": f"{number}-{len(lines)}", "text": ""}).encode() + b"\n"
                line = empty[:-3] + text.encode()[: room - len(empty)].ljust(room - len(empty)) + empty[-3:]
            lines.append(line)
            room -= len(line)
        found.append(b"".join(lines))
    return found


def objects_of(prefix: str, count: int) -> Iterator[BytesSource]:
    """What is stored below a prefix."""
    some = bodies(min(count, DISTINCT))
    return (BytesSource(some[number % len(some)], f"{prefix}{number:06}.jsonl") for number in range(count))


@contextlib.contextmanager
def seaweed(*counts: int) -> Iterator[Objects]:
    """A server with so many objects below a prefix each, in memory if there is room. Raises ConfigError, RunFailed."""
    where = memory_folder(sum(counts) * BODY_BYTES)
    with tempfile.TemporaryDirectory(prefix="s3engine-functions-", dir=where) as folder:
        store = Path(folder) / "store"
        with EmbeddedServer(str(store), 0, *CREDENTIALS) as server:
            prefixes = {count: f"of-{count}/" for count in counts}
            os.environ.update(server.environment())
            with Engine() as engine:
                engine.make_bucket(BUCKET)
                for count, prefix in prefixes.items():
                    summary = engine.upload(BUCKET, objects_of(prefix, count)).wait()
                    if not summary.ok:
                        raise RunFailed(f"the objects could not be stored: {summary}")
            yield Objects(server.endpoint_url, server.process_group, prefixes)
