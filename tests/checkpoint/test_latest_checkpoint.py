"""Which checkpoint a run goes on from."""

from __future__ import annotations

import os
import random
import shutil
import uuid
from pathlib import Path

import pytest
import torch

from mainspring.checkpoint import (
    find_latest_checkpoint,
    newest_whole,
    read_checkpoint,
    run_checkpoints,
    save_checkpoint,
)


def ours(path, iteration, epoch=0):
    save_checkpoint({"state_dict": {"w": torch.ones(2)}, "train_loop": {"iter": iteration, "epoch": epoch}}, path)


def theirs(path, seconds=0):
    path.parent.mkdir(exist_ok=True)
    torch.save({"state_dict": {"w": torch.ones(2)}, "meta": {"iter": 1}}, path)
    os.utime(path, (1e9 + seconds, 1e9 + seconds))


def point(directory, target):
    directory.mkdir(exist_ok=True)
    (directory / "last_checkpoint").write_text(str(target))


def names(*directories):
    return [path.name for path in run_checkpoints(*directories)]


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def warnings(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line]


# Those of mainspring.


def test_the_furthest_is_the_newest_whatever_its_name_and_time(tmp_path):
    for name, iteration in (("a.pth", 30), ("epoch_9.pth", 10), ("mine_1", 20), ("iter_99.pth", 5)):
        ours(tmp_path / name, iteration)
    times = list(range(4))
    for _ in range(5):
        random.Random(len(times)).shuffle(times)
        for path, seconds in zip(sorted(tmp_path.iterdir()), times, strict=True):
            os.utime(path, (1e9 + seconds, 1e9 + seconds))
        assert names(tmp_path) == ["a.pth", "mine_1", "epoch_9.pth", "iter_99.pth"]
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "a.pth")
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / "a.pth")


def test_epochs_count_where_iterations_are_the_same(tmp_path):
    ours(tmp_path / "a.pth", 10, epoch=1)
    ours(tmp_path / "b.pth", 10, epoch=2)
    assert names(tmp_path) == ["b.pth", "a.pth"]


def test_of_one_position_the_best_is_not_the_first(tmp_path):
    ours(tmp_path / "best_acc_epoch_2.pth", 20)
    assert names(tmp_path) == ["best_acc_epoch_2.pth"], "it is a checkpoint of the run"
    ours(tmp_path / "epoch_2.pth", 20)
    os.utime(tmp_path / "epoch_2.pth", (1e9, 1e9))
    ours(tmp_path / "epoch_1.pth", 10)
    assert names(tmp_path) == ["epoch_2.pth", "best_acc_epoch_2.pth", "epoch_1.pth"]


def test_a_directory_that_was_moved_or_copied_is_taken_where_it_is(tmp_path):
    for epoch in (1, 2, 3):
        ours(tmp_path / "old" / f"epoch_{epoch}.pth", 10 * epoch, epoch)
    point(tmp_path / "old", tmp_path / "old" / "epoch_3.pth")
    shutil.copytree(tmp_path / "old", tmp_path / "copy", copy_function=shutil.copyfile)
    (tmp_path / "old").rename(tmp_path / "new")
    for directory in (tmp_path / "new", tmp_path / "copy"):
        assert find_latest_checkpoint(directory) == str(directory / "epoch_3.pth")


def test_a_copy_never_goes_on_from_the_original(tmp_path):
    for directory in ("original", "copy"):
        ours(tmp_path / directory / "epoch_2.pth", 20)
        point(tmp_path / directory, tmp_path / "original" / "epoch_9.pth")
    ours(tmp_path / "original" / "epoch_9.pth", 90)
    assert find_latest_checkpoint(tmp_path / "copy") == str(tmp_path / "copy" / "epoch_2.pth")


def test_several_directories_are_one_run(tmp_path):
    ours(tmp_path / "run" / "epoch_1.pth", 10)
    ours(tmp_path / "disk" / "epoch_2.pth", 20)
    run, disk, nowhere = tmp_path / "run", tmp_path / "disk", tmp_path / "nowhere"
    assert run_checkpoints(run, disk, nowhere) == [disk / "epoch_2.pth", run / "epoch_1.pth"]
    assert run_checkpoints(run, str(run), run / ".." / "run") == [run / "epoch_1.pth"], "each only once"
    assert find_latest_checkpoint(run, disk) == str(disk / "epoch_2.pth")
    assert run_checkpoints() == []


def test_nothing_else_is_a_checkpoint_of_the_run(tmp_path):
    save_checkpoint({"state_dict": {}}, tmp_path / "epoch_2-12345678.pth")
    save_checkpoint({"state_dict": {}}, tmp_path / "epoch_7.pth")  # published, or whatever: no position
    theirs(tmp_path / "pretrained.pth")
    theirs(tmp_path / "epoch_2-87654321.pth")
    ours(tmp_path / "deep" / "epoch_9.pth", 90)
    ours(tmp_path / ".epoch_9.pth.tmp", 90)
    (tmp_path / "epoch_5.pth").mkdir()
    (tmp_path / "log.txt").write_text("mainspring checkpoint, iter 250, epoch 3, sha256 " + "0" * 64)
    (tmp_path / "empty").touch()
    assert names(tmp_path) == []
    assert find_latest_checkpoint(tmp_path) is None
    assert find_latest_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_nothing_waits_at_a_pipe_or_a_device(tmp_path):
    os.mkfifo(tmp_path / "epoch_8.pth")
    os.mkfifo(tmp_path / "last_checkpoint")
    (tmp_path / "epoch_9.pth").symlink_to("/dev/zero")
    (tmp_path / "epoch_7.pth").symlink_to("gone.pth")
    assert names(tmp_path) == []


def test_a_link_to_a_checkpoint_is_one(tmp_path):
    ours(tmp_path / "disk" / "far.pth", 30)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "linked.pth").symlink_to(tmp_path / "disk" / "far.pth")
    assert find_latest_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "linked.pth")
    ours(tmp_path / "run" / "epoch_3.pth", 30)
    assert names(tmp_path / "run") == ["epoch_3.pth", "linked.pth"]


# Damaged ones.


def test_what_is_damaged_is_passed_over_with_one_warning_each(tmp_path, capsys):
    for epoch in (1, 2, 3, 4):
        ours(tmp_path / f"epoch_{epoch}.pth", 10 * epoch)
    damage(tmp_path / "epoch_4.pth")
    damage(tmp_path / "epoch_3.pth")
    damage(tmp_path / "epoch_1.pth")
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "epoch_2.pth")
    lines = warnings(capsys)
    assert len(lines) == 2
    for line, name in zip(lines, ("epoch_4.pth", "epoch_3.pth"), strict=True):
        assert f"{name}' is damaged: its SHA-256 digest is wrong" in line
    damage(tmp_path / "epoch_2.pth")
    assert find_latest_checkpoint(tmp_path) is None
    assert len(warnings(capsys)) == 4


@pytest.mark.parametrize("length", [0, 2, 50, -1])
def test_what_is_cut_short_is_looked_at_first_and_named(tmp_path, capsys, length):
    for epoch in (1, 2):
        ours(tmp_path / f"epoch_{epoch}.pth", 10 * epoch)
    data = (tmp_path / "epoch_2.pth").read_bytes()
    (tmp_path / "epoch_2.pth").write_bytes(data[:length])
    assert names(tmp_path) == ["epoch_2.pth", "epoch_1.pth"]
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "epoch_1.pth")
    (line,) = warnings(capsys)
    assert "Passing over a checkpoint. '" in line
    assert "epoch_2.pth' is damaged" in line


# Those of MMEngine, and of torch.save.


def test_the_highest_number_is_the_newest(tmp_path):
    for seconds, number in enumerate((10, 9, 2, 100)):
        theirs(tmp_path / f"epoch_{number}.pth", -seconds)
    theirs(tmp_path / "best_epoch_999.pth")
    assert names(tmp_path) == ["epoch_100.pth", "epoch_10.pth", "epoch_9.pth", "epoch_2.pth"]


def test_where_epochs_meet_iterations_the_later_written_is_the_newer(tmp_path):
    for name, seconds in {"epoch_1": 1, "iter_300": 3, "epoch_2": 4, "iter_100": 0, "epoch_3": 2}.items():
        theirs(tmp_path / f"{name}.pth", seconds)
    assert names(tmp_path) == ["iter_300.pth", "epoch_3.pth", "epoch_2.pth", "epoch_1.pth", "iter_100.pth"]


def test_they_stand_behind_ours(tmp_path):
    theirs(tmp_path / "epoch_9.pth")
    ours(tmp_path / "epoch_1.pth", 1)
    point(tmp_path, "epoch_9.pth")
    assert names(tmp_path) == ["epoch_1.pth", "epoch_9.pth"]


@pytest.mark.parametrize("text", ["{0}/mine_2.pth", "mine_2.pth\n", "/elsewhere/mine_2.pth", r"C:\runs\mine_2.pth"])
def test_the_one_that_the_pointer_names_goes_first(tmp_path, text):
    for name in ("epoch_3.pth", "mine_2.pth", "mine_3.pth"):
        theirs(tmp_path / name)
    point(tmp_path, text.format(tmp_path))
    assert names(tmp_path) == ["mine_2.pth", "epoch_3.pth"]
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "mine_2.pth")


def test_the_pointer_of_the_first_directory_names_a_file_in_any(tmp_path):
    theirs(tmp_path / "run" / "epoch_3.pth")
    theirs(tmp_path / "disk" / "mine.pth")
    point(tmp_path / "run", "mine.pth")
    point(tmp_path / "disk", "other.pth")
    theirs(tmp_path / "disk" / "other.pth")
    assert names(tmp_path / "run", tmp_path / "disk") == ["mine.pth", "epoch_3.pth"]


@pytest.mark.parametrize("text", ["{0}/outside/evil.pth", "../outside/evil.pth", "/etc/passwd", "outside/../../x"])
def test_the_pointer_leads_nowhere_else(tmp_path, text):
    theirs(tmp_path / "outside" / "evil.pth", seconds=99)
    theirs(tmp_path / "run" / "epoch_1.pth")
    point(tmp_path / "run", text.format(tmp_path))
    assert names(tmp_path / "run") == ["epoch_1.pth"]
    (tmp_path / "run" / "epoch_1.pth").unlink()
    assert find_latest_checkpoint(tmp_path / "run") is None


@pytest.mark.parametrize("content", [b"", b"gone.pth", b"\xff\xfe\x00", b"/", b"..", b".", b"x" * 10_000, b"a\0b"])
def test_a_pointer_that_names_nothing_does_no_harm(tmp_path, content):
    theirs(tmp_path / "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_bytes(content)
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "epoch_1.pth")


def test_a_damaged_one_of_theirs_is_passed_over(tmp_path, capsys):
    for number in (1, 2):
        theirs(tmp_path / f"iter_{number}.pth")
    file = tmp_path / "iter_2.pth"
    file.write_bytes(file.read_bytes().replace(torch.ones(2).numpy().tobytes(), bytes(8)))
    assert Path(find_latest_checkpoint(tmp_path)).name == "iter_1.pth"
    (line,) = warnings(capsys)
    assert "iter_2.pth' is damaged: the checksum of its entry 'iter_2/data/0' is wrong" in line


def test_of_the_format_before_torch_1_6_too(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "epoch_1.pth", _use_new_zipfile_serialization=False)
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "epoch_1.pth")


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_run_does_not_begin_anew_because_its_checkpoints_may_not_be_read(tmp_path):
    ours(tmp_path / "epoch_1.pth", 10)
    (tmp_path / "epoch_1.pth").chmod(0)
    with pytest.raises(PermissionError):
        find_latest_checkpoint(tmp_path)


# What reads them.


def test_the_newest_that_can_be_read_is_found_with_what_it_holds(tmp_path):
    for iteration in range(4):
        ours(tmp_path / f"{iteration}.pth", iteration)
    for iteration in (2, 3):
        damage(tmp_path / f"{iteration}.pth")
    found = newest_whole(tmp_path, read=read_checkpoint)
    assert found.file == tmp_path / "1.pth"
    assert found.content["train_loop"]["iter"] == 1
    assert list(found.damaged) == [tmp_path / "3.pth", tmp_path / "2.pth"]
    assert all(file.name in text and "digest is wrong" in text for file, text in found.damaged.items())


def test_one_that_is_deleted_meanwhile_is_passed_over(tmp_path):
    for iteration in range(3):
        ours(tmp_path / f"{iteration}.pth", iteration)

    def read(file):
        (tmp_path / "2.pth").unlink(missing_ok=True)
        return read_checkpoint(file)

    assert newest_whole(tmp_path, read=read).file == tmp_path / "1.pth"
    for file in tmp_path.iterdir():
        damage(file)
    found = newest_whole(tmp_path)
    assert (found.file, found.content, len(found.damaged)) == (None, None, 2)


def test_directories_of_all_kinds_are_searched_together(tmp_path):
    url = f"memory://{uuid.uuid4().hex}"
    ours(tmp_path / "1.pth", 1)
    ours(f"{url}/2.pth", 2)
    ours(tmp_path / "3.pth", 3)
    found = run_checkpoints(tmp_path, url, f"{url}/", tmp_path.as_uri())
    assert [str(file) for file in found] == [str(tmp_path / "3.pth"), f"{url}/2.pth", str(tmp_path / "1.pth")]
    assert read_checkpoint(found[1])["train_loop"]["iter"] == 2
    assert find_latest_checkpoint(url) == f"{url}/2.pth"
