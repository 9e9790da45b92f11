"""How an upload, a download or a transform through a function of the caller's is begun."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from s3engine.errors import ConfigError
from s3engine.functions.transform import Function, Transform
from s3engine.jobs.transform import TransformJob
from s3engine.operations import Template
from s3engine.paths import normal_path
from s3engine.transport import ObjectInfo

if TYPE_CHECKING:
    from s3engine.batch import Batch, Progress
    from s3engine.engine import Engine
    from s3engine.existing import Existing
    from s3engine.listing import JournalPath
    from s3engine.runtime import Runtime

__all__ = ["transformed"]

_NO_PARTS = 1 << 62


def transformed(
    engine: Engine, runtime: Runtime, operation: str, function: Function, given: Iterable[Any], source_bucket: str,
    bucket: str, name: Callable[[ObjectInfo], str], progress: Progress | None, journal: JournalPath,
    policy: Existing | None, *, input: Any, template: Template = None, folder: str = "",
    guess_content_type: bool = True, move: bool = False,
) -> Batch:  # fmt: skip
    """Begin it. ``source_bucket`` "": of local sources; ``folder`` "": into ``bucket``. Raises ConfigError."""
    if move:
        raise ConfigError("a move and transform= do not go together: remove the sources once you have looked")
    if policy is not None and policy.policy == "if-size-differs":
        raise ConfigError("existing='if-size-differs' says nothing of what a transform makes; use 'keep'")
    config, able = engine.config, engine.capabilities
    root = normal_path(folder) if folder else ""
    call = Transform.of(function).call(
        output="files" if folder else "objects", root=root,
        # A transport without parts sends a body whole, however large: all of it lies in memory then.
        part_bytes=config.part_size_bytes if able.multipart else _NO_PARTS,
        most_unstored_bytes=config.function_buffer_bytes // 2, guess_content_type=guess_content_type,
    )  # fmt: skip
    checks = None if folder else runtime.upload_checks
    checking = None if checks is None else checks.known() or checks.cautious()

    def wanted(items: Iterable[Any]) -> Iterable[Any]:
        if policy is None:
            return items
        if folder:
            return policy.downloads(engine, bucket, items, folder, name)
        if source_bucket:
            return policy.copies(engine, source_bucket, items, bucket, name)
        return policy.uploads(engine, bucket, items)

    return runtime.begin(
        lambda emit, items: TransformJob(
            wanted(items), source_bucket, bucket, call, name, emit, operation=operation, template=template,
            checking=checking, verify=config.verify_downloads, ask_checksums=able.checksums,
        ),
        progress, given, journal, functions=True, operation=operation, source_bucket=source_bucket, bucket=bucket,
        headers=template, input=input, folder=root, path=name, existing=str(policy or ""), function=call.name,
    )  # fmt: skip
