"""Mutations without a guide: repeatable from a seed, for runs in the tests and where atheris is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

MAX_BYTES = 4096
_TOKENS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"HTTP/1.1 ", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"-1", b"18446744073709551616", b"9" * 30, b"1e9", b"0x10", "\N{ARABIC-INDIC DIGIT THREE}".encode(),
    b"100 Continue",
    b"204", b"206", b"Content-Range: bytes 0-9/*\r\n", b"ETag: \"e\"\r\n", b"<", b">", b"</", b"/>", b"&amp;", b"&#13;",
    b"&x;", b"<![CDATA[", b"]]>", b"<!--", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<?xml version='1.0' encoding='",
    b"utf-16", b"<Contents>", b"<Key>", b"<IsTruncated>true</IsTruncated>", b"<Error><Code>", b"%2F", b"%", b"+",
    b"s3://",
    b"s3:", b"//", b"/../", b"..", b"\xff\xfe", b"\xed\xa0\x80", b" ", b"\t", b":", b";",
)  # fmt: skip


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """One to six changes: bits, bytes, tokens, pieces of the same or of another seed, cuts."""
    work = bytearray(data)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(work) + 1)
        end = min(len(work), at + random.choice((1, 1, 2, 4, 16, 64)))
        match random.randrange(7):
            case 0 if at < len(work):
                work[at] ^= 1 << random.randrange(8)
            case 1 if at < len(work):
                work[at] = random.randrange(256)
            case 2:
                del work[at:end]
            case 3:
                work[at:at] = random.choice(_TOKENS)
            case 4:
                work[at:at] = work[at:end] * random.choice((1, 1, 2, 8))
            case 5:
                other = random.choice(others)
                start = random.randrange(len(other) + 1)
                work[at:end] = other[start : start + random.randrange(200)]
            case 6:
                work[at:end] = random.choice(_TOKENS)
    return bytes(work[:MAX_BYTES])


def cases(seeds: Sequence[bytes], random: Random) -> Iterator[bytes]:
    """The seeds, then mutations of them without end; some are changed again."""
    yield from seeds
    pool = list(seeds)
    while True:
        case = mutated(random.choice(pool), seeds, random)
        yield case
        if random.random() < 0.02:
            if len(pool) < len(seeds) + 500:
                pool.append(case)
            else:
                pool[random.randrange(len(seeds), len(pool))] = case
