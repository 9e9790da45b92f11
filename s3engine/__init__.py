"""s3engine: a batch engine for S3. See :class:`Engine`.

Names are imported when they are first used, so that ``import s3engine`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3engine._version import __version__

if TYPE_CHECKING:
    from s3engine import errors as errors
    from s3engine.batch import Batch as Batch
    from s3engine.config import Config as Config
    from s3engine.config import TransportSettings as TransportSettings
    from s3engine.control.timeouts import AdaptiveTimeouts as AdaptiveTimeouts
    from s3engine.control.timeouts import SeedTimeouts as SeedTimeouts
    from s3engine.engine import Engine as Engine
    from s3engine.errors import S3EngineError as S3EngineError
    from s3engine.existing import Existing as Existing
    from s3engine.functions.fetched import FetchedObject as FetchedObject
    from s3engine.functions.outputs import Output as Output
    from s3engine.functions.transform import Transform as Transform
    from s3engine.journal import Journal as Journal
    from s3engine.listing import ObjectListing as ObjectListing
    from s3engine.mapped import MappedBatch as MappedBatch
    from s3engine.operations import ObjectHeaders as ObjectHeaders
    from s3engine.pool.load import capabilities_of as capabilities_of
    from s3engine.pool.load import open_transport as open_transport
    from s3engine.report import BatchSummary as BatchSummary
    from s3engine.report import RequestReport as RequestReport
    from s3engine.sources import BytesSource as BytesSource
    from s3engine.sources import FileSource as FileSource
    from s3engine.sources import files_recursive as files_recursive
    from s3engine.transport import ObjectInfo as ObjectInfo

_HOMES = {
    "AdaptiveTimeouts": "s3engine.control.timeouts",
    "Batch": "s3engine.batch",
    "BatchSummary": "s3engine.report",
    "BytesSource": "s3engine.sources",
    "Config": "s3engine.config",
    "Engine": "s3engine.engine",
    "Existing": "s3engine.existing",
    "FetchedObject": "s3engine.functions.fetched",
    "FileSource": "s3engine.sources",
    "Journal": "s3engine.journal",
    "MappedBatch": "s3engine.mapped",
    "ObjectHeaders": "s3engine.operations",
    "ObjectInfo": "s3engine.transport",
    "ObjectListing": "s3engine.listing",
    "Output": "s3engine.functions.outputs",
    "RequestReport": "s3engine.report",
    "S3EngineError": "s3engine.errors",
    "SeedTimeouts": "s3engine.control.timeouts",
    "Transform": "s3engine.functions.transform",
    "TransportSettings": "s3engine.config",
    "capabilities_of": "s3engine.pool.load",
    "files_recursive": "s3engine.sources",
    "open_transport": "s3engine.pool.load",
}

__all__ = [
    "AdaptiveTimeouts", "Batch", "BatchSummary", "BytesSource", "Config", "Engine", "Existing", "FetchedObject",
    "FileSource", "Journal", "MappedBatch", "ObjectHeaders", "ObjectInfo", "ObjectListing", "Output", "RequestReport",
    "S3EngineError", "SeedTimeouts", "Transform", "TransportSettings", "__version__", "capabilities_of", "errors",
    "files_recursive", "open_transport",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "errors":
        return import_module("s3engine.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 's3engine' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
