"""The comparison as one JSON document: all that was measured, and with what. No secret, no name of the machine."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from s3engine._version import __version__
from s3engine.compare.cleanup import without_secrets
from s3engine.compare.figures import contest, figures
from s3engine.compare.values import STEPS, Plan, Run
from s3engine.config import Config, usable_cores
from s3engine.credentials import CredentialSource, load_settings
from s3engine.pool.load import BUILT_IN

__all__ = ["FORMAT", "document", "endpoint", "machine", "versions"]

FORMAT = 1
"""Grows when the meaning of a field changes."""

_CLIENTS = {
    "raw": ("urllib3",),
    "boto3": ("boto3", "botocore", "urllib3"),
    "minio": ("minio", "urllib3"),
    "obstore": ("obstore",),
}
_PRIVATE = ("endpoint_url", "profile", "ca_bundle", "timeout_policy", "transport")


def document(plan: Plan, runs: Sequence[Run]) -> dict[str, Any]:
    """What goes into the file."""
    by_step = {name: [figures(runs, transport, name) for transport in plan.transports] for name in STEPS}
    return {
        "tool": "s3engine compare", "format": FORMAT, "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "endpoint": endpoint(plan.settings), "machine": machine(), "versions": versions(plan.transports),
        "transports": list(plan.transports), "rounds": plan.rounds, "warm_up": plan.warm_up,
        "timeout_s": plan.timeout_s, "settings": _settings(plan.settings),
        "summary": [one.as_dict() for name in STEPS for one in by_step[name]],
        "fastest": [contest(by_step[name]).sentence() for name in STEPS],
        "runs": [run.as_dict() for run in runs],
    }  # fmt: skip


def endpoint(settings: Mapping[str, Any]) -> str:
    """Where the store is, for people: host and port, and whether by TLS."""
    profile = settings.get("profile", "")
    aws = load_settings(
        CredentialSource(profile=profile, anonymous=bool(settings.get("anonymous"))), profile=profile
    )
    url = settings.get("endpoint_url") or aws.endpoint_url
    if not url:
        return f"Amazon S3, {settings.get('region') or aws.region or 'us-east-1'}"
    parts = urlsplit(without_secrets(url))
    return f"{parts.netloc}{parts.path.rstrip('/')} ({'TLS' if parts.scheme == 'https' else 'plain HTTP'})"


def machine() -> dict[str, Any]:
    """Processor, usable cores and system; nothing that names the machine or its user."""
    model = ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor() or platform.machine(), "architecture": platform.machine(),
        "usable_cores": usable_cores(), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }  # fmt: skip


def versions(transports: Sequence[str]) -> dict[str, str]:
    """Of Python, of s3engine, and of the packages that the transports stand on, as far as they are known."""
    found = {"python": platform.python_version(), "s3engine": __version__}
    for transport in transports:
        names: Sequence[str] = _CLIENTS.get(transport, ())
        if transport not in BUILT_IN:
            module = transport.partition(":")[0].partition(".")[0]
            names = importlib.metadata.packages_distributions().get(module) or (module,)
        for name in names:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(name)
    return found


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings that the transports shared, with the defaults, without what may be private."""
    config = Config.from_mapping(settings, "settings")
    names = (entry.name for entry in dataclasses.fields(Config) if entry.name not in _PRIVATE)
    return {name: getattr(config, name) for name in names}
