"""The benchmarks run, print tables and write their figures; what they find is for them to say."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _among_the_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def front():
    """Return the module that runs them all."""
    spec = importlib.util.spec_from_file_location("all_benchmarks", BENCHMARKS / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(text):
    """Return the rows of tables in Markdown, by their first cells."""
    lines = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("step_overhead", "mainspring, epochs"),
        ("startup", "mainspring's Runner"),
        ("optimizers", "mainspring"),
        ("optim_wrapper", "SGD, fused, 4 tensors"),
        ("averaging", "ExponentialMovingAverage"),
        ("evaluation", "read in batches: streaming"),
        ("data_path", "`ImgDataPreprocessor`"),
        ("growth", "100 hooks that act at no stage"),
        ("small_net", "mainspring"),
        ("saving", "kept by us"),
        ("resume", "DefaultSampler"),
        ("sample_seeding", "batches of 8"),
        ("config", "read"),
        ("structures", "a mask"),
    ],
)
def test_a_benchmark_prints_its_rows_and_writes_its_figures(name, row, tmp_path, monkeypatch, capsys):
    file = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", [name, "--short", "--json", str(file)])
    importlib.import_module(name).main()
    cells = rows_of(capsys.readouterr().out)[row]
    assert any(character.isdigit() for character in "".join(cells))
    found = json.loads(file.read_text())
    assert found["benchmark"] == name
    assert found["figures"]
    assert row in rows_of("\n".join(found["text"]))


def test_every_benchmark_is_among_all_of_them(front):
    programs = {file.stem for file in BENCHMARKS.glob("*.py") if "def main()" in file.read_text(encoding="utf-8")}
    assert programs - {"__main__"} == set(front.NAMES)


def test_the_tables_come_into_the_place_that_a_page_has_for_them(front):
    page = "Before.\n<!-- python benchmarks/resume.py -->\n\nold\n\n<!-- end -->\nAfter.\n<!-- end -->\n"
    filled = front.fill(page, {"benchmark": "resume", "text": ["| a |", "Words."], "machine": "A machine"})
    assert filled == (
        "Before.\n<!-- python benchmarks/resume.py -->\n\n| a |\n\nWords.\n\nA machine\n\n<!-- end -->\n"
        "After.\n<!-- end -->\n"
    )
    with pytest.raises(ValueError, match="no place for startup"):
        front.fill(page, {"benchmark": "startup", "text": [], "machine": ""})


def test_some_benchmarks_by_one_command(tmp_path):
    file = tmp_path / "found.json"
    command = [sys.executable, BENCHMARKS, "sample_seeding", "--short", "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "batches of 64" in rows_of(done.stdout)
    assert [found["benchmark"] for found in json.loads(file.read_text())] == ["sample_seeding"]


def test_a_misspelt_name_is_refused(tmp_path):
    done = subprocess.run([sys.executable, BENCHMARKS, "startupp"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'startupp'; there are step_overhead, startup" in done.stderr


def test_rounds_ask_every_contender_in_turn():
    measure = importlib.import_module("measure")
    asked = []

    def contender(name):
        asked.append(name)
        return measure.Taken(len(asked), 0)

    found = measure.in_turn({"a": lambda: contender("a"), "b": lambda: contender("b")}, rounds=2)
    assert sorted(asked[:2]) == sorted(asked[2:4]) == sorted(asked[4:]) == ["a", "b"]
    assert asked[2:4] != asked[4:]
    assert {name: len(many) for name, many in found.items()} == {"a": 2, "b": 2}
    assert min(one.cpu for many in found.values() for one in many) == 3, "the first round warms up"


def test_what_fails_in_a_process_of_its_own_is_told(tmp_path):
    measure = importlib.import_module("measure")
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint('[1, 2]') if sys.argv[1] == 'good' else sys.exit('that went wrong')\n")
    assert measure.in_fresh_process(str(program), "good") == [1, 2]
    with pytest.raises(RuntimeError, match=r"program\.py bad ended with 1:\nthat went wrong"):
        measure.in_fresh_process(str(program), "bad")
