"""``cleanup``: uploads in parts that somebody began and nobody ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from s3engine.cli.options import config_from, dry_run_option, engine_options, output_from, output_options
from s3engine.cli.text import complain, explain, json_line, one_line, write
from s3engine.errors import NotFound, S3EngineError
from s3engine.plain import number_of
from s3engine.uri import S3Uri

if TYPE_CHECKING:
    from s3engine.cli.options import Output
    from s3engine.transport import UploadInfo

__all__ = ["cleanup_command"]


@click.command("cleanup", short_help="Abort old multipart uploads that nobody completed.")
@click.argument("uri")
@click.option(
    "--older-than", metavar="AGE", default="7d", show_default=True,
    help="Only uploads begun at least so long ago: a number with s, m, h, d or w. 0: all.",
)  # fmt: skip
@dry_run_option
@output_options
@engine_options
def cleanup_command(uri: str, older_than: str, **values: Any) -> int:
    """Abort multipart uploads below s3://bucket/prefix that were begun long ago and never completed.

    They are no objects, ls does not show them, and their parts are charged for. Whoever still sends parts to one loses
    it, so AGE must be longer than any upload takes. The URI is taken as the beginning of keys, as by ls. An upload
    whose age the store does not tell is left alone, and named.
    """
    where = S3Uri.parse(uri)
    config = config_from(values)

    from s3engine.engine import Engine
    from s3engine.uploads import age_of, seconds_from, still_listed

    limit_s = seconds_from(older_than)
    told = _Told(where.bucket, output_from(values), dry_run=values["dry_run"])
    with Engine(config) as engine:
        missing: list[UploadInfo] = []
        for upload in engine.uploads(where.bucket, where.key):
            age_s = age_of(upload, engine.now_s())
            if age_s is None and limit_s:
                told.left(upload, f"it is not known how old it is: the store says {upload.initiated!r}")
            elif limit_s and age_s is not None and age_s < limit_s:  # 0: all, whatever the clocks say
                told.younger += 1
            elif values["dry_run"]:
                told.done(upload, age_s)
            else:
                try:
                    engine.abort_upload(where.bucket, upload)
                except NotFound:
                    missing.append(upload)
                except S3EngineError as error:
                    told.left(upload, explain(error))
                else:
                    told.done(upload, age_s)
        told.gone = len(missing)
        if missing:
            # Ended by somebody else meanwhile, or listed under a key that is not its own.
            for upload in still_listed(engine.uploads(where.bucket, where.key), missing):
                told.gone -= 1
                told.left(upload, "the store lists it under this key, and says that there is none of this id")
    return told.sum_up()


class _Told:
    """A line for each upload that is aborted, or should have been."""

    def __init__(self, bucket: str, output: Output, *, dry_run: bool) -> None:
        self._bucket = bucket
        self._output = output
        self._dry_run = dry_run
        self._done = 0
        self._failed = 0
        self.younger = 0
        self.gone = 0

    def done(self, upload: UploadInfo, age_s: float | None) -> None:
        """It is aborted, or would be."""
        self._done += 1
        if self._output.as_json:
            self._json(upload, age_s, None)
        elif not self._output.quiet:
            verb = "would abort" if self._dry_run else "aborted"
            age = "of unknown age" if age_s is None else f"{_age(age_s)} old"
            write(one_line(f"{verb} s3://{self._bucket}/{upload.key} {age}, upload {upload.upload_id}") + "\n")

    def left(self, upload: UploadInfo, why: str) -> None:
        """It is not aborted."""
        self._failed += 1
        if self._output.as_json:
            self._json(upload, None, why)
        complain(f"left alone: s3://{self._bucket}/{upload.key}, upload {upload.upload_id}: {why}")

    def sum_up(self) -> int:
        """The last line, and the exit code."""
        if not self._output.quiet:
            verb = "would be aborted" if self._dry_run else "aborted"
            gone = f", {self.gone} gone by themselves" if self.gone else ""
            younger = f"{self.younger} {'is' if self.younger == 1 else 'are'} younger"
            text = f"{number_of(self._done, 'unfinished upload')} {verb}, {younger}{gone}, {self._failed} FAILED"
            complain(text.removesuffix(", 0 FAILED"))
        return 1 if self._failed else 0

    def _json(self, upload: UploadInfo, age_s: float | None, message: str | None) -> None:
        line = json_line(
            operation="abort", dry_run=self._dry_run, bucket=self._bucket, key=upload.key, upload_id=upload.upload_id,
            initiated=upload.initiated, age_s=None if age_s is None else round(age_s), message=message,
        )  # fmt: skip
        write(line + "\n")


def _age(age_s: float) -> str:
    for unit, size_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if age_s >= size_s:
            return f"{age_s / size_s:.1f} {unit}"
    return f"{max(age_s, 0.0):.0f} s"
