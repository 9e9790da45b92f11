"""The sink for the benchmarks under pytest, and ``--keep``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# So that `from bench...` works under `python -I` too; at the end, so that an installed s3engine wins over the checkout.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench.harness import LARGE_BYTES, LARGE_KEY, body, client_environment, keep_run, table
from bench.sink import Sink, SinkUnavailable, nginx_version

SIZE_BYTES = 1024
N_OBJECTS = 2000

_rows: list[dict[str, Any]] = []
_saved: list[dict[str, Any]] = []
_remarks: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", metavar="DIR", help="write the results below DIR, e.g. bench/runs")


@pytest.fixture(scope="session")
def objects() -> dict[str, bytes]:
    """Keys and bodies of what the sink serves."""
    keys = [f"f{number % 20:03}/{number:06}.bin" for number in range(N_OBJECTS)]
    return {key: body(key, SIZE_BYTES) for key in keys}


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    """What every client of the comparison gets, and nothing of the user's own."""
    wanted = client_environment()
    with pytest.MonkeyPatch.context() as patch:
        # One by one: compiled clients read the process's own environment, not the mapping.
        for name in os.environ.keys() - wanted.keys():
            patch.delenv(name)
        for name, value in wanted.items():
            patch.setenv(name, value)
        yield wanted


@pytest.fixture(scope="session")
def sink(objects: dict[str, bytes], environment: dict[str, str]) -> Iterator[Sink]:
    """One nginx for all; without nginx what needs it is skipped, and says what to install."""
    try:
        running = Sink(objects | {LARGE_KEY: body(LARGE_KEY, LARGE_BYTES)}).__enter__()
    except SinkUnavailable as error:
        pytest.skip(str(error))
    yield running
    running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def remarks() -> list[str]:
    """What is to be said at the end of the run."""
    return _remarks


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Where results go that are to be kept."""
    return _rows


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """What --benchmark-json writes, for --keep: ``pytest-benchmark compare`` reads it."""
    _saved.append(output_json)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """A result that is shown around need not name the machine."""
    machine_info.pop("node", None)
    try:
        machine_info["server"] = f"nginx {nginx_version()}"
    except SinkUnavailable:
        machine_info["server"] = "SeaweedFS"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for remark in _remarks:
        terminalreporter.write_line(remark)
    if not _rows:
        return
    head = ["what", "client", "time us: median (min)", "CPU us", "calls"]
    lines = [
        [
            row["group"], row["client"], f"{row['median_us']:.1f} ({row['min_us']:.1f})", f"{row['cpu_us']:.1f}",
            str(row["calls"]),
        ]
        for row in sorted(_rows, key=lambda row: (row["group"], row["cpu_us"]))
    ]  # fmt: skip
    summary = table(head, lines)
    terminalreporter.write_line(f"\nPer object of {SIZE_BYTES} bytes, all processes of the client:\n\n{summary}")
    into = config.getoption("--keep")
    if into:
        given = " ".join(arg for arg in config.invocation_params.args if not str(arg).startswith("--benchmark-json"))
        folder = keep_run(into, "calls", f"python -m pytest {given}", summary, _rows)
        terminalreporter.write_line(f"\nkept in {folder}")
        if _saved:
            number = len(list(folder.glob("benchmark*.json"))) + 1
            (folder / f"benchmark-{number}.json").write_text(json.dumps(_saved[-1], indent=1) + "\n")
