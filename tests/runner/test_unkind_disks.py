"""Directories in which nothing can be written: one error, which says what, where, and what helps."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def open_to_all():
    """Return a directory to which any user finds the way."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o777)
    yield directory
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o777)
    shutil.rmtree(directory)


def what_a_user_is_told(connection, make, what):
    if os.geteuid() == 0:  # for whom permissions are none
        os.setuid(NOBODY)
    try:
        getattr(make(), what)()
    except OSError as error:
        connection.send((type(error).__name__, str(error)))
    else:
        connection.send(("", ""))


def told(make, what):
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=what_a_user_is_told, args=(sender, make, what))
    process.start()
    sender.close()
    answer = receiver.recv()
    process.join()
    return answer


@pytest.mark.skipif(os.name != "posix", reason="permissions are another thing there")
@pytest.mark.parametrize("what", ["train", "val", "resume"])
def test_a_directory_that_can_only_be_read(make_runner, open_to_all, what):
    directory = open_to_all / "run"
    make_runner(work_dir=directory).train()
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    make = lambda: make_runner(work_dir=directory, resume=what == "resume", train_cfg={"max_epochs": 3})  # noqa: E731
    kind, text = told(make, "val" if what == "val" else "train")
    assert kind == "PermissionError"
    assert "The log file cannot be made (Permission denied). Make it writable, or choose another work_dir: '" in text
    assert text.endswith(".log'")


def test_a_file_where_the_work_directory_should_be(make_runner, tmp_path):
    (tmp_path / "run").write_text("in the way")
    for work_dir in (tmp_path / "run", tmp_path / "run" / "deep"):
        with pytest.raises(
            OSError, match=r"The work_dir cannot be made .* A file stands where a directory should be"
        ) as caught:
            make_runner(work_dir=work_dir)
        assert str(tmp_path / "run") in caught.value.filename


def test_a_run_that_cannot_cut_back_its_scalars_changes_nothing(make_runner, tmp_path):
    make_runner().train()
    run = tmp_path / "run"
    (run / "epoch_2.pth").unlink()
    (run / "vis_data" / ".scalars.jsonl.tmp").mkdir()
    before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file() and path.suffix != ".log"}
    with pytest.raises(OSError, match=r"The scalars cannot be cut back to iteration 5 \(Is a directory\)"):
        make_runner(resume=True).train()
    assert {path: path.read_bytes() for path in before} == before


def test_checkpoints_that_cannot_be_set_aside_stay(make_runner, tmp_path):
    make_runner().train()
    run = tmp_path / "run"
    before = {path: path.read_bytes() for path in run.glob("*.pth")}
    newest = max(path.stat().st_mtime for path in before)
    (run / time.strftime("earlier_%Y%m%d_%H%M%S", time.localtime(newest))).write_text("in the way")
    with pytest.raises(
        OSError, match=r"The checkpoints of an earlier run cannot be moved to 'earlier_.* A file stands"
    ):
        make_runner(randomness={"seed": 9}).train()
    assert {path: path.read_bytes() for path in run.glob("*.pth")} == before
