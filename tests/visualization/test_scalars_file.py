import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mainspring.visualization import read_scalars
from mainspring.visualization.scalars_file import ScalarsFile


def strict(line):
    """Parse JSON as the standard has it."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(line, parse_constant=refuse)


@pytest.fixture
def file(tmp_path):
    opened = ScalarsFile(tmp_path / "new" / "scalars.jsonl")
    yield opened
    opened.close()


def test_records_are_lines_of_strict_json(file):
    file.append({"loss": 0.1, "iter": 10, "mode": "train", "none": None, "flag": True})
    file.append({"loss": math.nan, "a": -math.inf, "b": torch.tensor(math.inf), "c": [np.float64("nan"), 1.0]})
    lines = file.path.read_text().splitlines()
    assert strict(lines[0]) == {"loss": 0.1, "iter": 10, "mode": "train", "none": None, "flag": True}
    assert strict(lines[1]) == {"loss": "nan", "a": "-inf", "b": "inf", "c": ["nan", 1.0]}
    read = read_scalars(file.path)[1]
    assert math.isnan(read["loss"])
    assert (read["a"], read["b"]) == (-math.inf, math.inf)
    assert math.isnan(read["c"][0])


NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**60), 2**60) | st.booleans() | st.none()
TEXTS = st.text(max_size=5).filter(lambda text: text not in ("nan", "inf", "-inf"))
VALUES = st.recursive(
    NUMBERS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner), max_leaves=5
)


@given(st.lists(st.dictionaries(TEXTS, VALUES), max_size=5))
def test_what_is_written_is_read(tmp_path_factory, records):
    file = ScalarsFile(tmp_path_factory.mktemp("scalars") / "scalars.jsonl")
    for record in records:
        file.append(record)
    file.close()
    assert (read_scalars(file.path) if records else []) == records


def test_arrays_and_tensors_are_read(file):
    file.append({"a": torch.tensor(0.5), "b": np.float32(0.25), "c": np.arange(3), "d": {"e": torch.ones(2)}})
    assert read_scalars(file.path) == [{"a": 0.5, "b": 0.25, "c": [0, 1, 2], "d": {"e": [1.0, 1.0]}}]


def test_what_is_no_json_is_named_and_leaves_no_trace(file):
    file.append({"a": 1})
    with pytest.raises(TypeError, match=r"'b\[1\].c' is a builtins.object, which cannot be written as JSON"):
        file.append({"a": 2, "b": [1, {"c": object()}]})
    assert read_scalars(file.path) == [{"a": 1}]


@pytest.mark.parametrize("cut", [b'{"a": 3', b'{"a": "\xc3', b'{"a', b"\0\0\0\0", b"[1]"])
def test_a_cut_line_is_not_read_and_is_removed_before_the_next(file, cut):
    file.append({"a": 1})
    file.close()
    with file.path.open("ab") as raw:
        raw.write(cut)
    assert read_scalars(file.path) == [{"a": 1}]
    file.append({"a": 2})
    assert file.path.read_bytes() == b'{"a": 1}\n{"a": 2}\n'


def test_a_whole_line_without_its_end_is_kept(file):
    file.path.parent.mkdir()
    file.path.write_bytes(b'{"a": 1}')
    assert read_scalars(file.path) == [{"a": 1}]
    file.append({"a": 2})
    assert read_scalars(file.path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"a": 1} {"b": 2}', ""])
def test_another_broken_line_is_an_error(file, line):
    file.path.parent.mkdir()
    file.path.write_text('{"a": 1}\n' + line + '\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*scalars.jsonl is no record: "):
        read_scalars(file.path)


def test_every_record_but_a_cut_last_one_is_there_after_a_kill(tmp_path):
    script = """
        import sys
        from mainspring.visualization.scalars_file import ScalarsFile
        file = ScalarsFile(sys.argv[1])
        print("ready", flush=True)
        for step in range(10**9):
            file.append({"iter": step, "text": "x" * (step % 20_000)})
    """
    path = tmp_path / "scalars.jsonl"
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        process.stdout.readline()
        while not path.exists() or path.stat().st_size < 1_000_000:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    # These records are far longer than those of a run, so that the kill may come within the write of one.
    whole = path.read_bytes().count(b"\n")
    assert whole > 100
    assert [record["iter"] for record in read_scalars(path)] == list(range(whole))
    after = ScalarsFile(path)
    after.append({"iter": -1})
    after.close()
    assert [record["iter"] for record in read_scalars(path)] == [*range(whole), -1]


def test_rewinding_drops_later_records(file):
    records = [
        {"iter": 10, "loss": 1.5},
        {"iter": 20, "loss": 1.0},
        {"acc": 90.0, "iter": 20, "step": 1000},
        {"note": "always"},
        {"lr": 0.1, "step": 25},
        {"iter": 30, "loss": math.inf},
    ]
    for record in records:
        file.append(record)
    file.rewind(30)
    assert read_scalars(file.path) == records
    file.rewind(20)
    assert read_scalars(file.path) == records[:4]
    file.append({"iter": 21})
    file.rewind(0)
    assert read_scalars(file.path) == [{"note": "always"}]
    assert os.listdir(file.path.parent) == ["scalars.jsonl"]


def test_rewinding_what_is_not_there_or_was_cut(file):
    file.rewind(3)
    assert not file.path.exists()
    file.append({"iter": 1})
    file.close()
    with file.path.open("ab") as raw:
        raw.write(b'{"iter": 2')
    file.rewind(5)
    assert file.path.read_bytes() == b'{"iter": 1}\n'


@contextmanager
def limited(size):
    """Let no file of this process grow beyond so many bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_record_for_which_there_is_no_room_is_an_error_and_leaves_nothing(file):
    file.append({"iter": 1})
    whole = file.path.read_bytes()
    with (
        limited(len(whole) + 5),
        pytest.raises(OSError, match=r"The scalars cannot be written .File too large") as caught,
    ):
        file.append({"iter": 2})
    assert caught.value.filename.endswith("scalars.jsonl")
    assert file.path.read_bytes() == whole + b'{"ite', "as far as there was room"
    file.append({"iter": 3})
    assert read_scalars(file.path) == [{"iter": 1}, {"iter": 3}]


def test_a_file_that_cannot_be_cut_back_stays_and_is_named(file):
    for number in range(9):
        file.append({"iter": number})
    whole = file.path.read_bytes()
    with limited(20), pytest.raises(OSError, match=r"The scalars cannot be cut back to iteration 5 .*'ulimit -f'"):
        file.rewind(5)
    assert file.path.read_bytes() == whole
    assert os.listdir(file.path.parent) == ["scalars.jsonl"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "vis_data").write_text("in the way")
    with pytest.raises(OSError, match=r"The scalars cannot be written .*A file stands where a directory should be"):
        ScalarsFile(tmp_path / "vis_data" / "scalars.jsonl").append({"iter": 1})
