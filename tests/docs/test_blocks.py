"""Every code block of README, CONTRIBUTING and docs/ runs as printed, from top to bottom of its file.

``console`` and ``python`` blocks run against SeaweedFS in a copy of the checkout, prepared with what they name. Blocks
of one file build on each other by files, buckets, imports and definitions. A file that says ``pip install`` gets a
fresh virtual environment for all its blocks. How a block is excepted: ``tests/docs/blocks.py``.
"""

from __future__ import annotations

import ast
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from s3engine.embedded import EmbeddedServer
from tests.docs.blocks import Block, blocks_of, commands_of, python_script, shell_script, unlike
from tests.helpers import S3Probe

ROOT = Path(__file__).resolve().parents[2]
FILES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
BLOCKS = [block for file in FILES for block in blocks_of(ROOT, file)]
RUNNABLE = ("console", "python")

# What the blocks name. Whoever writes a block that names something else adds it here.
BUCKETS = ("bucket", "other", "test-bucket")
LOCAL_FILES = {"src/a/x": b"in a", "src/a/y": b"also in a", "src/top.txt": b"top" * 5000, "a.csv": b"1,2\n"}
OUTSIDE = Path("/tmp/lala")  # README downloads to it

EVERYTHING = os.environ.get("S3ENGINE_TEST_DOCS") == "all"
TIMEOUT_S = 540.0
_CODE = re.compile(r"^\s*(\$ |(import|from|def|class|export|pip|python|s3engine)\b|\[[a-z])", re.MULTILINE)
MARK = "--8<-- end of a command"


class Place:
    """Where the blocks of one file run, one after another."""

    def __init__(self, file: str, folder: Path, variables: dict[str, str]) -> None:
        self.blocks = [block for block in BLOCKS if block.file == file and _why_not(block) is None]
        self.folder = folder / "checkout"
        self.outputs: dict[Block, str] = {}
        shutil.copytree(ROOT, self.folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist"))
        for name, body in LOCAL_FILES.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(body)
        self._scripts = folder
        self._python = sys.executable
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3ENGINE_", "PYTHON"))
        }
        if any("pip install" in block.text for block in self.blocks):
            fresh = folder / "venv"
            subprocess.run([sys.executable, "-m", "virtualenv", "--quiet", "--no-periodic-update", fresh], check=True)
            self._python = str(fresh / "bin" / "python")
        else:
            kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(place) for place in sys.path if place)
        self._environment = kept | {
            "PATH": os.pathsep.join([os.path.dirname(self._python), kept.get("PATH", os.defpath)]),
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true", **variables,
        }  # fmt: skip

    def run(self, wanted: Block) -> str:
        """Output of a block; what stands above it in the file is run first, once."""
        for block in self.blocks[: self.blocks.index(wanted) + 1]:
            if block not in self.outputs:
                self.outputs[block] = self._run(block)
        return self.outputs[wanted]

    def _run(self, block: Block) -> str:
        if block.language == "python":
            earlier = [one for one in self.blocks if one.language == "python" and one.line < block.line]
            script = self._scripts / f"{Path(block.file).stem}-{block.line}.py"
            script.write_text(python_script(block, earlier), encoding="utf-8")
            code, output = self._process(self._python, str(script))
        else:
            commands = commands_of(block)
            code, output = self._process("bash", "--noprofile", "--norc", "-c", shell_script(commands, f"'{MARK}'"))
            for command, printed in zip(commands, output.split(f"{MARK}\n"), strict=False):
                assert code or not unlike(command.expected, printed), (
                    f"{block.name}: {command.text!r} printed\n{printed}\nand not what stands below it"
                )
            output = output.replace(f"{MARK}\n", "")
        assert code == 0, f"{block.name} ended with {code}:\n{output}"
        return output

    def _process(self, *command: str) -> tuple[int, str]:
        with subprocess.Popen(
            command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8", start_new_session=True,
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=TIMEOUT_S)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, output


def _why_not(block: Block) -> str | None:
    """Why this run does not run the block; None when it does."""
    if block.language not in RUNNABLE:
        return "no code"
    if block.part_of:
        return f"part of {block.part_of}"
    if block.not_run:
        return block.not_run
    if block.takes_long and not EVERYTHING:
        return f"{block.takes_long}; tox -e docs runs it"
    return None


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, seaweed: EmbeddedServer, probe: S3Probe
) -> Iterator[Callable[[str], Place]]:
    """Gives the place of a file; the first time with empty buckets."""
    made: dict[str, Place] = {}

    def empty_buckets() -> None:
        for bucket in BUCKETS:
            probe.create_bucket(bucket)
            for key in probe.list_keys(bucket):
                probe.delete(bucket, key)

    def place(file: str) -> Place:
        if file not in made:
            empty_buckets()
            made[file] = Place(file, tmp_path_factory.mktemp("docs"), seaweed.environment())
        return made[file]

    # Two runs on one machine would take each other's folder away.
    with open(Path(tempfile.gettempdir()) / "s3engine-test-docs.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ours = not OUTSIDE.exists()
        yield place
        if ours:
            shutil.rmtree(OUTSIDE, ignore_errors=True)
    for bucket in BUCKETS:
        probe.delete_all(bucket)


_RUN = [
    pytest.param(block, id=block.name, marks=[pytest.mark.skip(reason=why)] if why else [])
    for block in BLOCKS
    if block.language in RUNNABLE and not block.part_of
    for why in [_why_not(block)]
]


@pytest.mark.timeout(TIMEOUT_S + 30)
@pytest.mark.parametrize("block", _RUN)
def test_runs_as_printed(places: Callable[[str], Place], block: Block) -> None:
    """The block ends with 0 and prints what stands in it."""
    assert "Traceback" not in places(block.file).run(block)


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_library_lines_of_the_readme_lose_nothing(places: Callable[[str], Place]) -> None:
    """All files of docs/ go up, come down as they were, and are deleted."""
    place = places("README.md")
    (block,) = [block for block in place.blocks if block.language == "python"]
    uploaded, downloaded, deleted = place.run(block).splitlines()
    docs = [path.relative_to(place.folder / "docs") for path in (place.folder / "docs").rglob("*") if path.is_file()]
    assert uploaded.startswith(f"{len(docs)} objects, ")
    assert deleted.startswith(f"{len(docs)} objects, ")
    assert "FAILED" not in uploaded + deleted
    assert sorted(ast.literal_eval(downloaded)) == sorted(f"lala/{path}" for path in docs)
    for path in docs:
        assert (OUTSIDE / path).read_bytes() == (place.folder / "docs" / path).read_bytes()


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_operations_of_the_library_page_do_what_they_say(places: Callable[[str], Place]) -> None:
    """What they download is there, whole, under the names that the page gives."""
    place = places("docs/library.md")
    place.run(place.blocks[-1])
    out = place.folder / "out"
    wanted = {name.removeprefix("src/"): body for name, body in LOCAL_FILES.items() if name.startswith("src/")}
    wanted |= {"in/a": LOCAL_FILES["a.csv"], "in/b": b"body"}
    assert {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()} == wanted


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_says_what_it_is(block: Block) -> None:
    """A block with a language is one that is run or checked here; one without is no code; an excerpt is verbatim."""
    if block.part_of:
        assert block.text in (ROOT / block.part_of).read_text(encoding="utf-8")
    elif block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "":
        assert not _CODE.search(block.text)
    else:
        assert block.language in RUNNABLE
