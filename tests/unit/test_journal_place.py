"""Where a retry goes: to the endpoint on record, unless something else is said."""

from __future__ import annotations

import pytest

from s3engine.cli.journaled import place_on_record
from s3engine.errors import JournalMismatch
from s3engine.journal.identity import check_identity

URL = "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("recorded", "values", "variables", "expected"),
    [
        (URL, {}, {}, {"endpoint_url": URL}),
        (URL, {"region": "eu-west-1"}, {"AWS_REGION": "eu-west-3"}, {"endpoint_url": URL}),
        (URL, {"endpoint_url": "http://other"}, {}, {}),
        (URL, {}, {"AWS_ENDPOINT_URL": "http://other"}, {}),
        (URL, {}, {"S3ENGINE_ENDPOINT_URL": "http://other"}, {}),
        ("AWS eu-west-1", {}, {}, {"region": "eu-west-1"}),
        ("AWS eu-west-1", {"region": "eu-west-3"}, {}, {}),
        ("AWS eu-west-1", {}, {"AWS_REGION": "eu-west-3"}, {}),
        ("AWS eu-west-1", {"endpoint_url": "http://other"}, {}, {}),
    ],
)
@pytest.mark.usefixtures("no_settings")
def test_place_on_record_is_taken_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch, recorded: str, values: dict[str, str], variables: dict[str, str],
    expected: dict[str, str],
) -> None:  # fmt: skip
    """Not where an option, a variable or a file says one: what is said counts, and is refused if it is another."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place_on_record(recorded, values) == expected


@pytest.mark.parametrize(
    ("old", "new", "way"),
    [
        (URL, "AWS us-east-1", f"--endpoint-url {URL} (or AWS_ENDPOINT_URL) leads there"),
        ("AWS eu-west-1", URL, "--region eu-west-1 without an endpoint URL leads there"),
    ],
)
def test_refusal_of_another_endpoint_names_the_option(old: str, new: str, way: str) -> None:
    """With its value, which the journal knows."""
    with pytest.raises(JournalMismatch) as caught:
        check_identity("j", {"endpoint": old}, {"endpoint": new})
    assert way in str(caught.value)
