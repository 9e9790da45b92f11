"""The programs of ``bench/`` that judge promises still run and judge, with sizes that are tiny."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import inputs_memory, resume, soak
from bench.functions import __main__ as functions
from bench.sink import Sink, SinkUnavailable


def test_soak(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is killed, the store is complete, and nothing was sent again that was not in flight."""
    code = soak.main([
        "--objects", "300", "-n", "8", "--kill-worker-every", "0.7", "--kill-parent", "2", "--restart-server", "1",
        "--journal",
    ])  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0, said
    assert "in the store: 300 right, 0 not" in said
    assert "and 2 parents, restarted the server 1 times" in said
    assert ": 0 that were not in flight at any kill or restart" in said


def test_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer of a few parts is killed at half and goes on; it moves less than all of it again."""
    monkeypatch.setenv("S3ENGINE_PART_SIZE_BYTES", str(5 * 1024 * 1024))
    code = resume.main(["--size", "64MiB", "--allowed", "1", "--folder", str(tmp_path)])
    said = capsys.readouterr().out
    assert code == 0, said
    assert said.rstrip().endswith(" of source, object and download")
    shares = [float(share) for share in re.findall(r"the resumed run moved \d+ bytes \((\d+\.\d)%", said)]
    assert len(shares) == 2
    assert all(0 < share < 100 for share in shares)


def test_memory_of_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    """All names are worked on, also where a tenth comes twice; with one number of names no growth is claimed."""
    try:
        with Sink():
            pass
    except SinkUnavailable as error:
        pytest.skip(str(error))
    code = inputs_memory.main(["--names", "20000", "--read", "200000", "--jobs", "rm,twice"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert re.search(r"\| s3engine rm --from, a tenth twice +\| +20000 \|", said)
    assert said.count("not measured |") == 4
    assert "growth was not measured" in said


def test_functions(capsys: pytest.CaptureFixture[str]) -> None:
    """Words are counted by one worker and by two, and both count right."""
    assert functions.main(["--only", "workers", "--worker-objects", "12", "--rounds", "1"]) == 0
    assert re.search(r"Two do \d+\.\d+ .* x what one does", capsys.readouterr().out)


def test_growth_of_memory_is_judged() -> None:
    """Ten per cent from the smallest to a larger number of names is too much, in whatever order they ran."""
    rows = [
        {"job": "j", "names": names, "wall_s": 1.0, "pss_bytes": pss, "rss_bytes": pss}
        for names, pss in ((1000, 110), (100, 100))
    ]
    text, good = inputs_memory.summarise(rows)
    assert not good
    assert "+10.0%" in text
    assert inputs_memory.summarise(rows[:1])[1]
