"""The sink for the benchmarks under pytest, and ``--keep``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# So that `from bench...` works under `python -I` too; at the end, so that an installed s3engine wins over the checkout.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench.harness import body, client_environment, keep_run, table
from bench.sink import Sink, SinkUnavailable

SIZE_BYTES = 1024
N_OBJECTS = 2000

_rows: list[dict[str, Any]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", metavar="DIR", help="write the results below DIR, e.g. bench/runs")


@pytest.fixture(scope="session")
def objects() -> dict[str, bytes]:
    """Keys and bodies of what the sink serves."""
    keys = [f"f{number % 20:03}/{number:06}.bin" for number in range(N_OBJECTS)]
    return {key: body(key, SIZE_BYTES) for key in keys}


@pytest.fixture(scope="session")
def sink(objects: dict[str, bytes]) -> Iterator[Sink]:
    """One nginx for all; the environment is what every client of the comparison gets."""
    environment = client_environment()
    with pytest.MonkeyPatch.context() as patch:
        # One by one: compiled clients read the process's own environment, not the mapping.
        for name in os.environ.keys() - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            with Sink(objects) as running:
                yield running
        except SinkUnavailable as error:
            pytest.exit(f"bench: {error}", 2)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Where results go that are to be kept."""
    return _rows


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """A result that is shown around need not name the machine."""
    machine_info.pop("node", None)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
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
        folder = keep_run(into, "small_objects", "python -m pytest bench", summary, _rows)
        terminalreporter.write_line(f"\nkept in {folder}")
