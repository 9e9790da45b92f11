"""What tests through a proxy share."""

from __future__ import annotations

import re
from typing import Any

from s3engine import BytesSource, ObjectHeaders, RequestReport
from tests.faults import Fault, Plan, Respond, matching

MIB = 1024 * 1024
STALL_S = 10.0  # the default stall timeout, above every first-byte timeout of a small request
LARGE = bytes(range(256)) * (12 * MIB // 256)


def error_body(code: str, extra: str = "") -> bytes:
    text = f"<Code>{code}</Code><Message>made up</Message>{extra}"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{text}</Error>'.encode()


def answer(status: int, code: str, *headers: tuple[str, str], extra: str = "") -> Respond:
    return Respond(status, (("Content-Type", "application/xml"), *headers), error_body(code, extra))


def sources(count: int, headers: ObjectHeaders | None = None) -> list[BytesSource]:
    return [BytesSource(b"x" * 100, f"k{n}", headers) for n in range(count)]


def by_key(batch: Any) -> dict[str, RequestReport]:
    """The reports by key, one for each."""
    reports = list(batch)
    found = {report.key: report for report in reports}
    assert len(found) == len(reports)
    return found


class Recorder:
    """A plan that keeps all heads and asks another one."""

    def __init__(self, plan: Plan) -> None:
        self.heads: list[bytes] = []
        self._plan = plan

    def __call__(self, connection_no: int, request_no: int, head: bytes) -> Fault | None:
        if request_no:
            self.heads.append(head)
        return self._plan(connection_no, request_no, head)

    def values(self, name: str) -> list[str]:
        """Values of a header in the requests that have it, in order."""
        pattern = re.compile(rf"^{name}: *(.*?)\r$", re.IGNORECASE | re.MULTILINE)
        return [found[1] for head in self.heads if (found := pattern.search(head.decode("latin-1")))]


def only_key(key: str, plan: Plan) -> Plan:
    return matching(f"/{key} ".encode(), plan)
