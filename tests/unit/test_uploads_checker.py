"""A worker tells right bytes from wrong ones by what the store says, and does not call right what nobody checked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from s3engine import checksums
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ChecksumMismatch, SourceChanged, SourceError
from s3engine.integrity.choice import Checking
from s3engine.pool.item import Item, WorkerContext
from s3engine.pool.messages import Context, Kind
from s3engine.pool.room import NoRoom, Room
from s3engine.pool.uploads import Checker, checksum_of_parts, confirmed, contradiction, read_part
from s3engine.transport import CompletedPart, FilePart, PutResult
from s3engine_transports.raw import RawTransport

BODY = b"0123456789"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
OTHER = "f" * 32
CRC = checksums.compute("crc32", BODY)
ROOM = 64 * 1024 * 1024
SIGNING = RawTransport(TransportSettings(endpoint_url="http://h:9", credentials=Credentials("A", "S"))).exchanges


def item(own: tuple[tuple[str, str], ...] | None = None) -> Item:
    made = Item((1, 1, Kind.PUT_BYTES, "k", len(BODY), (BODY, own)), WorkerContext(Context(id=1, bucket="b")))
    made.body = BODY
    return made


def checker(room_bytes: int = ROOM, **values: Any) -> Checker:
    return Checker(Checking(**values), Room(room_bytes))


def sent(one: Checker, algorithm: str, what: Item | None = None) -> Item:
    what = what or item()
    one.headers(what, (), algorithm)
    return what


@pytest.mark.parametrize("algorithm", ["crc32", "sha256", "md5", "crc32c", "crc64nvme"])
def test_header_of_each_algorithm(algorithm: str) -> None:
    """Name and value of the header are those of the algorithm; a header of the caller's own is left alone."""
    one, what = checker(whole=algorithm), item()
    name, value = checksums.header_name(algorithm), checksums.compute(algorithm, BODY).partition(":")[2]
    assert one.headers(what, (("a", "b"),), algorithm) == (("a", "b"), (name, value))
    assert what.checksum == f"{algorithm}:{value}"
    assert one.headers(what, ((name, "own"),), algorithm) == ((name, "own"),)


def test_what_a_store_compares_is_verified_by_it() -> None:
    """A checksum the store is known to compare proves; one that it may just store does not."""
    known, unknown = checker(whole="crc32", verified=("crc32",)), checker(whole="crc32")
    for said in ("", CRC):
        assert known.proven(sent(known, "crc32"), PutResult(OTHER, checksum=said)) == (CRC, "crc32")
        assert unknown.proven(sent(unknown, "crc32"), PutResult(OTHER, checksum=said)) == (CRC, "length only")
    for one in (known, unknown):
        with pytest.raises(ChecksumMismatch, match="crc32:AAAAAA=="):
            one.proven(sent(one, "crc32"), PutResult(OTHER, checksum="crc32:AAAAAA=="))


def test_etag_that_is_the_md5_proves() -> None:
    """Once ETags were seen to be MD5s another one is a mismatch, whatever the store says that it compares."""
    for verified in ((), ("md5",)):
        one = checker(whole="md5", verified=verified)
        assert one.proven(sent(one, "md5"), PutResult(MD5))[1] == "md5"
        for _ in range(3):
            with pytest.raises(ChecksumMismatch, match=MD5):
                one.proven(sent(one, "md5"), PutResult(OTHER))


def test_first_etag_that_is_none_is_doubted_once() -> None:
    """Nothing is known of the ETags: the object is sent again, and then they are taken for something else."""
    one, what = checker(whole="md5"), item()
    with pytest.raises(ChecksumMismatch):
        one.proven(sent(one, "md5", what), PutResult(OTHER))
    assert one.proven(sent(one, "md5", what), PutResult("e" * 32))[1] == "length only"
    assert one.proven(sent(one, "md5"), PutResult(OTHER))[1] == "length only"


def test_not_every_object_in_flight_is_doubted() -> None:
    """The first eight objects with such ETags are sent again, not the hundreds that are in flight with them."""
    one, refused = checker(whole="md5"), 0
    for _ in range(100):
        try:
            assert one.proven(sent(one, "md5"), PutResult(OTHER))[1] == "length only"
        except ChecksumMismatch:
            refused += 1
    assert refused == 8
    assert one.proven(sent(one, "md5"), PutResult(MD5))[1] == "md5"
    with pytest.raises(ChecksumMismatch):
        one.proven(sent(one, "md5"), PutResult(OTHER))


def test_a_flipped_first_object_is_noticed() -> None:
    """The doubt was right: the second attempt shows the MD5, and ETags are MD5s from then on."""
    one, what = checker(whole="md5"), item()
    with pytest.raises(ChecksumMismatch):
        one.proven(sent(one, "md5", what), PutResult(OTHER))
    assert one.proven(sent(one, "md5", what), PutResult(MD5))[1] == "md5"
    with pytest.raises(ChecksumMismatch):
        one.proven(sent(one, "md5"), PutResult(OTHER))


@pytest.mark.parametrize("etag", ["", "abc", f"{OTHER}-2", "F" * 32])
def test_other_forms_say_nothing(etag: str) -> None:
    """An ETag that is no MD5 by its form neither proves nor disproves."""
    one = checker(whole="md5")
    one.proven(sent(one, "md5"), PutResult(MD5))
    assert one.proven(sent(one, "md5"), PutResult(etag))[1] == "length only"


def test_encrypted_objects_have_other_etags() -> None:
    """With SSE-KMS an ETag looks like an MD5 and is none; the store's own comparison still counts."""
    own = (("x-amz-server-side-encryption", "aws:kms"),)
    for verified, by in (((), "length only"), (("md5",), "md5")):
        one = checker(whole="md5", verified=verified)
        one.proven(sent(one, "md5"), PutResult(MD5))
        assert one.proven(sent(one, "md5", item(own)), PutResult(OTHER))[1] == by


def test_nothing_computed_nothing_known() -> None:
    """Without a checksum: "length only"."""
    one = checker()
    assert one.headers(item(), (), "") == ()
    assert one.proven(item(), PutResult(MD5)) == ("", "length only")


# ---- bodies from files


def part(path: Path, **changes: Any) -> FilePart:
    path.write_bytes(b"xx" + BODY)
    return FilePart(str(path), 2, len(BODY), path.stat().st_mtime_ns, len(BODY) + 2)._replace(**changes)


def test_held_behind_or_sent_as_it_is(tmp_path: Path) -> None:
    """Into memory for a header or a signature, framed for a trailer, by sendfile when nothing is computed."""
    planned = part(tmp_path / "f")
    for values, algorithm, whole, held, trailer in (
        ({"signed": True}, "crc32", False, True, ""),
        ({"signed": True}, "", False, True, ""),
        ({"trailers": True}, "crc32", False, False, "crc32"),
        ({"trailers": True}, "crc32", True, True, ""),  # some stores note aws-chunked with the object
        ({"trailers": True}, "md5", False, True, ""),
        ({}, "", False, False, ""),
    ):
        what = item()
        checker(**values).hold(what, planned, algorithm, whole=whole)
        assert (what.body == BODY) is held
        assert (what.body == planned) is not held
        assert (what.trailer, what.held_bytes) == (trailer, len(BODY) if held else 0)


@pytest.mark.parametrize("size", [1, 256 * 1024, 600_000])
@pytest.mark.parametrize("algorithm", ["", "crc32", "sha256", "md5"])
def test_out_of_the_file_as_out_of_memory(tmp_path: Path, algorithm: str, size: int) -> None:
    """A body that is sent by ``sendfile`` has the checksum, and is signed by the hash, of one that is held."""
    path, body = tmp_path / "f", bytes(range(251)) * (size // 251 + 1)
    path.write_bytes(b"xx" + body)
    planned = FilePart(str(path), 2, size, path.stat().st_mtime_ns, len(body) + 2)
    held, sent = item(), item()
    for what, from_file in ((held, False), (sent, True)):
        one = Checker(Checking(signed=True), Room(), from_file=from_file)
        one.hold(what, planned, algorithm, whole=True)
        assert what.held_bytes == size
        headers = one.headers(what, (), algorithm)
        exchange = SIGNING.put_object("b", "k", what.body, headers)
        what.arg = (headers, exchange.head.partition(b"x-amz-content-sha256: ")[2][:64])
    assert (held.body, sent.body) == (body[:size], planned._replace(sha256=hashlib.sha256(body[:size]).hexdigest()))
    assert (held.arg, held.checksum) == (sent.arg, sent.checksum)


def test_a_changed_file_is_not_summed_up(tmp_path: Path) -> None:
    """Another time or size than planned, or fewer bytes than are due: SourceChanged; not there: SourceError."""
    one = Checker(Checking(signed=True), Room(), from_file=True)
    for changes in ({"mtime_ns": 1}, {"file_bytes": 5}, {"offset": 3}):
        with pytest.raises(SourceChanged):
            one.hold(item(), part(tmp_path / "f", **changes), "crc32", whole=False)
    with pytest.raises(SourceError):
        one.hold(item(), FilePart(str(tmp_path / "nothing"), 0, 1), "crc32", whole=False)


def test_no_room_no_body(tmp_path: Path) -> None:
    """A body that finds no room takes none."""
    room = Room(len(BODY) + 1)
    room.take(2)
    what = item()
    with pytest.raises(NoRoom) as caught:
        Checker(Checking(signed=True), room).hold(what, part(tmp_path / "f"), "", whole=True)
    assert (caught.value.size_bytes, what.held_bytes, room.free_bytes) == (len(BODY), 0, len(BODY) - 1)


def test_larger_than_all_room_is_read_twice(tmp_path: Path) -> None:
    """Then the checksum goes ahead of what is sent from the file."""
    path, size = tmp_path / "f", ROOM + 5
    with open(path, "wb") as file:
        file.truncate(size)
    planned, what = FilePart(str(path), 0, size, path.stat().st_mtime_ns, size), item()
    one = checker(whole="crc32")
    one.hold(what, planned, "crc32", whole=True)
    assert what.body == planned
    (header,) = one.headers(what, (), "crc32")
    assert f"crc32:{header[1]}" == what.checksum == checksums.compute("crc32", path.read_bytes())


@pytest.mark.parametrize("changes", [{"mtime_ns": 1}, {"file_bytes": 5}, {"offset": 3}])
def test_a_changed_file_is_not_read(tmp_path: Path, changes: dict[str, int]) -> None:
    """Another time or size than planned, or fewer bytes than are due: SourceChanged; not there: SourceError."""
    with pytest.raises(SourceChanged):
        read_part(part(tmp_path / "f", **changes))
    with pytest.raises(SourceError):
        read_part(FilePart(str(tmp_path / "nothing"), 0, 1))
    assert read_part(part(tmp_path / "f")) == BODY


# ---- the whole of parts


def completed(algorithm: str, *bodies: bytes) -> list[CompletedPart]:
    return [
        CompletedPart(number, _md5(body).hex(), len(body), checksums.compute(algorithm, body))
        for number, body in enumerate(bodies, 1)
    ]


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def test_checksum_of_parts() -> None:
    """One of the whole for CRCs, one of the checksums else, and for MD5 the ETag that they make."""
    assert checksum_of_parts(completed("crc32", b"01234", b"56789"), full_object=True) == CRC
    raw = b"".join(hashlib.sha256(body).digest() for body in (b"01234", b"56789"))
    assert checksum_of_parts(completed("sha256", b"01234", b"56789"), full_object=False) == (
        checksums.compute("sha256", raw) + "-2"
    )
    whole = _md5(_md5(b"01234") + _md5(b"56789")).hex()
    assert checksum_of_parts(completed("md5", b"01234", b"56789"), full_object=False) == f"md5:{whole}-2"
    assert checksum_of_parts([CompletedPart(1, "e")], full_object=True) == ""
    assert checksum_of_parts([], full_object=False) == ""
    with pytest.raises(ValueError, match="others"):
        checksum_of_parts(completed("md5", b"a") + completed("crc32", b"b"), full_object=False)


def test_contradictions_of_complete() -> None:
    """Another value in the expected form is one; other forms, and ETags of a store that has none of MD5, are not."""
    parts = completed("crc32", BODY)
    assert contradiction(parts, CRC, "e", "crc32:AAAAAA==")
    for said in ("", CRC, "crc32:AAAAAA==-1", "sha256:AAAA"):
        assert contradiction(parts, CRC, "e", said) == ""
    parts = completed("md5", BODY)
    expected = checksum_of_parts(parts, full_object=False)
    assert contradiction(parts, expected, f"{OTHER}-1", "")
    for etag in (expected[4:], "e", OTHER):
        assert contradiction(parts, expected, etag, "") == ""
    assert contradiction([parts[0]._replace(etag=OTHER)], expected, f"{OTHER}-1", "") == ""
    assert contradiction([CompletedPart(1, "e")], "", OTHER, "crc32:AAAAAA==") == ""


def test_what_proves_the_whole() -> None:
    """The checksum that is expected, or the ETag that those of the parts make; nothing else."""
    parts = completed("crc32", b"a", b"b")
    etags = [hashlib.md5(bytes([number])).hexdigest() for number in (1, 2)]
    parts = [part._replace(etag=etag) for part, etag in zip(parts, etags, strict=True)]
    made = hashlib.md5(b"".join(map(bytes.fromhex, etags))).hexdigest()
    expected = checksum_of_parts(parts, full_object=True)
    assert confirmed(parts, expected, "", expected)
    assert confirmed(parts, "", f"{made}-2", "")
    assert not confirmed(parts, expected, f"{made}-1", "")
    assert not confirmed(parts, expected, "", "crc32:AAAAAA==")
    assert not confirmed([part._replace(etag="not hex") for part in parts], "", f"{made}-2", "")


@pytest.mark.parametrize(
    ("given", "verified"),
    [
        (("x-amz-checksum-sha256", checksums.compute("sha256", b"body")[7:]), "sha256"),
        (("x-amz-checksum-crc32c", "AAAAAA=="), "length only"),
        (("content-md5", "no base64"), "length only"),
    ],
)
def test_the_callers_own_checksum_goes_alone(given: tuple[str, str], verified: str) -> None:
    """Stores refuse two checksums of one body; what is reported is the one that was sent."""
    one = checker(whole="crc32", verified=("crc32", "sha256"))
    what = item((given,))
    what.body = b"body"
    assert one.headers(what, (given,), "crc32") == (given,)
    assert one.proven(what, PutResult("e"))[1] == verified
