"""What happens to one process of a run, the others learn of, and the run goes on with the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parallel_programs import ends_of, start_pair, torchrun

from faults import TIMEOUT


def left(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for code, output in ends_of(start_pair("faults.py", folder)):
        assert code == 0, output
    first, second = left(folder)
    assert first["iter"] == second["iter"] == 120
    assert first["weights"] == second["weights"]
    return str(first["weights"])


def test_stops_at_the_same_iteration_and_goes_on(tmp_path: Path, undisturbed: str) -> None:
    """A signal to one process, in an accumulation group; then one to another, in a validation; then none."""
    events = ("term", 1, 21, "term in validation", 0, 60)
    for code, output in ends_of(start_pair("faults.py", tmp_path, *events)):
        assert code == 143, output
    first, second = left(tmp_path)
    assert first["iter"] == second["iter"] > 21
    assert first["iter"] % 4 == 0  # with no gradients that only one of them could save

    ends = ends_of(start_pair("faults.py", tmp_path, *events))
    for code, output in ends:
        assert code == 143, output
    assert [one["iter"] for one in left(tmp_path)] == [60, 60]
    assert "".join(output for _, output in ends).count("Stopped by SIGTERM after iteration 60 of 120") == 1

    for code, output in ends_of(start_pair("faults.py", tmp_path, *events)):
        assert code == 0, output
    assert [one["weights"] for one in left(tmp_path)] == [undisturbed] * 2


def test_three_kills_under_torchrun(tmp_path: Path, undisturbed: str) -> None:
    events = ("kill", 1, 33, "kill", 0, 52, "kill", 1, 101)
    done = torchrun("faults.py", tmp_path, *events, restarts=3)
    assert done.returncode == 0, done.stderr
    assert [one["weights"] for one in left(tmp_path)] == [undisturbed] * 2
    assert len(list(tmp_path.glob("happened_*"))) == 3


def test_one_raises(tmp_path: Path) -> None:
    ends = ends_of(start_pair("faults.py", tmp_path, "raise", 1, 21))
    assert [code for code, _ in ends] == [1, 1]
    told = "".join(output for _, output in ends)
    assert told.count("Rank 1 failed at iteration 22 of 120") == 1
    assert told.count("ValueError: the disk has caught fire All other processes leave.") == 1
    assert "Traceback" not in ends[0][1]  # what it could tell of lost connections would hide the cause


def test_one_hangs(tmp_path: Path) -> None:
    first, second = start_pair("faults.py", tmp_path, "hang", 1, 21)
    try:
        output, _ = first.communicate(timeout=60)
    finally:
        first.kill()
        second.kill()
        second.communicate()
    assert first.returncode == 1
    assert output.count("Rank 1 did not answer at iteration 24 of 120") == 1
    happened = float((tmp_path / "happened_0").read_text())
    assert json.loads((tmp_path / "rank0.json").read_text())["time"] - happened < TIMEOUT + 5
