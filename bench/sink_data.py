"""What the sink is given before it starts: pages of listings, the headers of its objects, a certificate."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.sink_config import BLOBS_BUCKET, ETAG, OBJECTS_BUCKET

__all__ = ["Listed", "SinkDataError", "make_certificate", "pages", "write_headers", "write_pages"]

PAGE_KEYS = 1000
"""Keys to a page, the most that S3 gives."""
_PART_BYTES = 8 * 1024 * 1024  # in which a blob came, by its ETag
_CHUNK_BYTES = 1024 * 1024


class SinkDataError(Exception):
    """openssl is not there, or did not make a certificate."""


class Listed(NamedTuple):
    """An object in a listing. Keys are letters, digits and ``/-._``, so that they need no escapes anywhere."""

    key: str
    size_bytes: int = 1024
    etag: str = ETAG


def pages(bucket: str, contents: Sequence[Listed], *, encoded: bool) -> Iterator[str]:
    """The answers to ListObjectsV2, one after the other; ``encoded`` as to those who ask for keys in URL encoding."""
    for start in range(0, max(len(contents), 1), PAGE_KEYS):
        some = contents[start : start + PAGE_KEYS]
        more = start + PAGE_KEYS < len(contents)
        yield (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><Prefix>p/</Prefix><KeyCount>{len(some)}</KeyCount><MaxKeys>{PAGE_KEYS}</MaxKeys>"
            + ("<EncodingType>url</EncodingType>" if encoded else "")
            + f"<IsTruncated>{str(more).lower()}</IsTruncated>"
            + (f"<NextContinuationToken>page{start // PAGE_KEYS + 1}</NextContinuationToken>" if more else "")
            + "".join(
                f"<Contents><Key>{one.key}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;{one.etag}&quot;</ETag><Size>{one.size_bytes}</Size><StorageClass>STANDARD</StorageClass>"
                "</Contents>"
                for one in some
            )
            + "</ListBucketResult>"
        )


def write_pages(folder: Path, bucket: str, contents: Sequence[Listed]) -> None:
    """Files ``raw/0.xml`` and ``url/0.xml`` and so on; ``contents`` are put in the order of stores."""
    ordered = sorted(contents)
    for name, encoded in (("raw", False), ("url", True)):
        (folder / name).mkdir(parents=True)
        for number, page in enumerate(pages(bucket, ordered, encoded=encoded)):
            (folder / name / f"{number}.xml").write_text(page)


def write_headers(
    folder: Path, objects: Mapping[str, bytes], blobs: Mapping[str, Path]
) -> dict[str, list[Listed]]:
    """What nginx says of each object and blob, and what it lists: ETags as a store makes them, and the CRC of blobs.

    An object's ETag is its MD5; a blob has that of an upload in parts, and one CRC32 of the whole, as clients of today
    leave behind.
    """
    listed: dict[str, list[Listed]] = {OBJECTS_BUCKET: [], BLOBS_BUCKET: []}
    etags, sums = ["default '\"\"';"], ["default '';"]
    for key, body in objects.items():
        listed[OBJECTS_BUCKET].append(Listed(key, len(body), hashlib.md5(body, usedforsecurity=False).hexdigest()))
    for key, path in blobs.items():
        etag, crc32 = _summed_up(path)
        if key.startswith("p/"):  # pages hold what is below that prefix, which everybody asks for
            listed[BLOBS_BUCKET].append(Listed(key, path.stat().st_size, etag))
        sums.append(f'":/{BLOBS_BUCKET}/{key}" "{crc32}";')  # only where no range is asked for, as S3 does
        etags.append(f'"/{BLOBS_BUCKET}/{key}" \'"{etag}"\';')
    etags += [f'"/{OBJECTS_BUCKET}/{one.key}" \'"{one.etag}"\';' for one in listed[OBJECTS_BUCKET]]
    (folder / "etags.map").write_text("\n".join(etags) + "\n")
    (folder / "crc32.map").write_text("\n".join(sums) + "\n")
    return listed


def _summed_up(path: Path) -> tuple[str, str]:
    """ETag and CRC32 (Base64) of a file that came in parts."""
    crc32, digests, left = 0, b"", path.stat().st_size
    with open(path, "rb") as file:
        while left > 0:
            part = hashlib.md5(usedforsecurity=False)
            for _ in range(_PART_BYTES // _CHUNK_BYTES):
                chunk = file.read(_CHUNK_BYTES)
                part.update(chunk)
                crc32 = zlib.crc32(chunk, crc32)
            digests += part.digest()
            left -= _PART_BYTES
    etag = hashlib.md5(digests, usedforsecurity=False).hexdigest()
    return f"{etag}-{len(digests) // 16}", b64encode(crc32.to_bytes(4, "big")).decode()


def make_certificate(folder: Path) -> None:
    """``ca.pem``, and ``tls.pem`` with ``tls.key`` for 127.0.0.1 that it signed. Raises SinkDataError."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise SinkDataError("openssl is not installed; install it with: apt install openssl (Debian, Ubuntu)")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (folder / "san.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
    for command in (
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3", "-subj", "/CN=sink authority"],
        ["req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=127.0.0.1"],
        ["x509", "-req", "-in", "tls.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3",
         "-extfile", "san.ext", "-out", "tls.pem"],
    ):  # fmt: skip
        done = subprocess.run([openssl, *command], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SinkDataError(f"openssl {command[0]} ended with {done.returncode}: {done.stderr.strip()}")
