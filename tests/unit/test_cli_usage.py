"""The command line without a server: what is refused, with exit code 2, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3engine.cli import main

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("no_settings")

USAGE = [
    (["cp", "a"], "Missing argument 'DST'"),
    (["cp", "a", "b"], "neither 'a' nor 'b' is on S3"),
    (["cp", "", "s3://bucket/"], "an empty name"),
    (["cp", "a", "s3:/bucket/k"], "'s3:/bucket/k' is no S3 URI; write s3://bucket/key"),
    (["cp", "a", "S3://bucket/k"], "is no S3 URI"),
    (["cp", "-", "s3://bucket/k"], "- is no stream here"),
    (["cp", "s3://bucket/k", "-"], "one of this name is ./-"),
    (["rm", "-r", "s3://bucket/", "--max-delete", "150%"], "--max-delete must be a number of objects or a percentage"),
    (["cp", "a", "s3://b!/k"], "'b!' is no bucket name"),
    (["cp", "s3://bucket", "x"], "s3://bucket is a bucket, no object"),
    (["cp", "s3://bucket/k", "x", "--acl", "private"], "local files have no S3 headers"),
    (["cp", "a", "s3://bucket/", "--metadata", "novalue"], "--metadata takes NAME=VALUE, not 'novalue'"),
    (["cp", "a", "s3://bucket/", "--metadata", "a=ü"], "printable ASCII"),
    (["cp", "a", "s3://bucket/", "-n", "many"], "'many' is not a valid integer"),
    (["cp", "a", "s3://bucket/", "-n", "0"], "concurrency must be a whole number from 1 to 1024, not 0"),
    (["cp", "a", "s3://bucket/", "--workers", "999"], "workers must be a whole number from 1 to 256, not 999"),
    (["cp", "a", "s3://bucket/", "--transport", "pigeon"], "unknown transport 'pigeon'"),
    (["cp", "a", "s3://bucket/", "--endpoint-url", "localhost:9000"], "must begin with http:// or https://"),
    (["cp", "a", "s3://bucket/", "--config", "absent.toml"], "cannot read the configuration file 'absent.toml'"),
    (["cp", "a", "s3://bucket/", "--frob"], "--frob"),  # click's own words change
    (["frob"], "No such command 'frob'"),
    (["rm", "s3://bucket/p/"], "s3://bucket/p/ is no single object; to delete all below it say rm -r"),
    (["rm", "s3://bucket/"], "say rm -r"),
    (["rm", "s3://bucket"], "say rm -r"),
    (["mb", "bucket"], "'bucket' is no S3 URI"),
    (["rb", "s3://bucket/key"], "a bucket is written s3://bucket"),
    (["perf", "a", "s3://bucket"], "is no bucket name"),
    (["serve", "--port", "99999"], "99999 is not in the range"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_usage_is_told_in_one_line(arguments: list[str], message: str, capsys: Captured) -> None:
    """Exit code 2 and one line on stderr that names what is wrong."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("s3engine: ")
    assert message in told.err
    assert told.err.count("\n") == 1


def test_no_credentials_names_the_ways_out(capsys: Captured) -> None:
    """Without credentials anywhere: exit code 2, and the line says where they can come from."""
    assert main(["ls", "s3://bucket/"]) == 2
    told = capsys.readouterr().err
    assert "AWS_ACCESS_KEY_ID" in told
    assert "--no-sign-request" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [("worker = 3", "unknown setting 'worker'"), ("workers = 'x'", "workers must be"), ("=", "is no TOML")],
)
def test_wrong_config_file_is_named(text: str, message: str, tmp_path: Path, capsys: Captured) -> None:
    """What is wrong in a --config file is told with the file's name."""
    (tmp_path / "c.toml").write_text(text)
    assert main(["ls", "s3://bucket/", "--config", "c.toml"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "c.toml" in told


def test_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """What is wrong in an S3ENGINE_* variable is told with its name."""
    monkeypatch.setenv("S3ENGINE_WORKERS", "lots")
    assert main(["ls", "s3://bucket/"]) == 2
    assert "S3ENGINE_WORKERS" in capsys.readouterr().err


def test_wrong_endpoint_of_the_environment_is_told_as_such(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The message says where it comes from, without its password; an option in its place makes it good."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "user:hunter2@store:9000")
    assert main(["ls", "s3://bucket/", "--no-sign-request"]) == 2
    told = capsys.readouterr().err
    assert "(from an AWS_* variable or the files of the AWS CLI)" in told
    assert "hunter2" not in told
    assert main(["ls", "s3://bucket/", "--no-sign-request", "--endpoint-url", "http://127.0.0.1:9"]) == 1


def test_missing_source_is_a_failure(capsys: Captured) -> None:
    """A source that does not exist is exit code 1 before any request is made."""
    assert main(["cp", "absent", "s3://bucket/", "--no-sign-request"]) == 1
    assert capsys.readouterr().err == "s3engine: 'absent' does not exist; check the path\n"


@pytest.mark.parametrize(
    ("arguments", "verb"),
    [
        (["cp", "--bogus"], "cp"), (["rm", "s3://bucket/k", "--workers"], "rm"), (["ls", "--quiet=5"], "ls"),
        (["rm", "s3://bucket/k", "--quiet=5"], "rm"), (["journal", "failed", "j", "--only"], "journal failed"),
        (["journal", "bogus"], "journal"), (["retry"], "retry"),
    ],
)  # fmt: skip
def test_usage_errors_point_to_the_help_of_their_verb(arguments: list[str], verb: str, capsys: Captured) -> None:
    """Whatever is wrong with an option of a verb, the error names the verb and where its options are told."""
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"s3engine: {verb}: ")
    assert told.endswith(f"(see s3engine {verb} --help)\n")
