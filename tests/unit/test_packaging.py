"""What pyproject.toml, tox.ini, .ci/run and CONTRIBUTING.md say of each other."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITH_LOWEST = ("demo", "boto3", "minio", "obstore", "parquet", "zstd", "test")
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9-]+)>=(?P<version>[0-9.]+)(,<[0-9]+)?( *;.*)?")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The table ``project`` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


@pytest.fixture(scope="module")
def tox() -> configparser.ConfigParser:
    """tox.ini."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    return parser


def _lower_bounds(requirements: list[str]) -> set[tuple[str, str]]:
    bounds = set()
    for requirement in requirements:
        if requirement.startswith("s3engine["):
            continue
        found = _REQUIREMENT.fullmatch(requirement)
        assert found, f"{requirement!r} has no lower bound"
        bounds.add((found["name"], found["version"]))
    return bounds


def test_lowest_versions_are_those_that_are_claimed(project: dict[str, Any]) -> None:
    """tests/lowest.txt names each requirement of the package and of the tests once, with its lower bound."""
    claimed = _lower_bounds(project["dependencies"])
    for extra in WITH_LOWEST:
        claimed |= _lower_bounds(project["optional-dependencies"][extra])
    lines = (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    listed = [tuple(line.split("==")) for line in lines if not line.startswith("#")]
    assert sorted(listed) == sorted(claimed)
    assert listed == sorted(listed)


def test_a_package_has_one_lower_bound(project: dict[str, Any]) -> None:
    """Wherever it is required, also by the extra for benchmarks."""
    extras = project["optional-dependencies"]
    bounds = _lower_bounds(project["dependencies"])
    for extra in extras.keys() - {"dev"}:
        bounds |= _lower_bounds(extras[extra])
    assert len({name for name, _ in bounds}) == len(bounds)


def test_lowest_runs_on_the_oldest_python(project: dict[str, Any], tox: configparser.ConfigParser) -> None:
    """And there is an environment for every Python that is claimed."""
    oldest = project["requires-python"].removeprefix(">=")
    assert tox["testenv:lowest"]["base_python"] == f"python{oldest}"
    claimed = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert claimed[0] == oldest
    listed = re.split(r"[,\s]+", tox["tox"]["env_list"])
    assert [env for env in listed if env.startswith("py")] == [f"py{version.replace('.', '')}" for version in claimed]


def test_contributing_names_every_environment(tox: configparser.ConfigParser) -> None:
    """Those of `tox` and those that are asked for by name."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = "".join(re.findall(r"^(\| `.*?) \|", text, re.MULTILINE))
    named = {section.removeprefix("testenv:") for section in tox.sections() if section.startswith("testenv:")}
    listed = set(re.split(r"[,\s]+", tox["tox"]["env_list"]))
    between = {env for env in listed if env.startswith("py")} - {"py310", "py313"}
    assert set(re.findall(r"`([\w-]+)`", rows)) - {"tox"} == named | listed - between


def test_ci_runs_the_test_command_of_the_readme_and_the_checks_of_tox(tox: configparser.ConfigParser) -> None:
    """The same words, out of its own environment."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install -e '.[test]' && python -m pytest -n 4 --dist loadfile --no-loadscope-reorder" in readme
    assert "-e '.[test]'\n" in script
    assert '"$env/bin/python" -m pytest -n 4 --dist loadfile --no-loadscope-reorder\n' in script
    for name in ("lint", "type"):
        for command in tox[f"testenv:{name}"]["commands"].strip().splitlines():
            program, *arguments = command.split()
            assert " ".join([f'"$env/bin/{program}"', *arguments]) + "\n" in script


def test_no_two_test_files_have_one_name() -> None:
    """``python -m pytest`` collects all tests: pytest knows files without packages by their names alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_every_module_has_a_room_and_a_layer() -> None:
    """What is in s3engine/ stands in the table of docs/architecture.md and in the contract "Imports point down"."""
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = table["tool"]["importlinter"]["contracts"][0]
    layers = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    for path in (ROOT / "s3engine").iterdir():
        if path.name.startswith("_") or not (path.suffix == ".py" or (path / "__init__.py").exists()):
            continue
        assert f"`{path.name if path.suffix else path.name + '/'}`" in architecture, path.name
        assert f"s3engine.{path.stem}" in layers, path.name
