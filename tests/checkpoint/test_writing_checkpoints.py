import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mainspring.checkpoint import find_latest_checkpoint, read_checkpoint, save_checkpoint

# Saves small checkpoints over one file without an end, and says so after the first.
SAVE_FOR_EVER = """
import sys
import torch
from mainspring.checkpoint import save_checkpoint
number = 0
while True:
    number += 1
    save_checkpoint({"number": number, "weights": torch.full((50_000,), float(number))}, sys.argv[1])
    print(number, flush=True)
"""


def test_directories_are_made(tmp_path):
    save_checkpoint({"a": 1}, tmp_path / "deep" / "down" / "x.pth")
    assert read_checkpoint(tmp_path / "deep" / "down" / "x.pth") == {"a": 1}


def test_what_cannot_be_saved_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "epoch_1.pth"
    save_checkpoint({"a": 1}, file)
    with pytest.raises(TypeError, match=r"^checkpoint\['hooks'\]\['Mine'\]\['model'\] is a builtins.object"):
        save_checkpoint({"a": 2, "hooks": {"Mine": {"model": object()}}}, file)
    assert read_checkpoint(file) == {"a": 1}
    assert os.listdir(tmp_path) == ["epoch_1.pth"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    resource = pytest.importorskip("resource")
    file = tmp_path / "epoch_1.pth"
    save_checkpoint({"a": 1}, file)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises((OSError, RuntimeError)):  # torch's writer has errors of its own
            save_checkpoint({"a": 2, "w": torch.ones(1_000_000)}, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert read_checkpoint(file) == {"a": 1}
    assert os.listdir(tmp_path) == ["epoch_1.pth"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
@pytest.mark.parametrize("rounds", [1, 5])
def test_whenever_it_is_killed_a_whole_checkpoint_is_there(tmp_path, rounds):
    file = tmp_path / "latest.pth"
    with subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(file)], stdout=subprocess.PIPE) as process:
        for _ in range(rounds):
            said = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    checkpoint = read_checkpoint(file)
    assert checkpoint["number"] >= said
    assert torch.all(checkpoint["weights"] == checkpoint["number"])


# Which checkpoint a run goes on from.


def write(directory, *names):
    directory.mkdir(exist_ok=True)
    for seconds, name in enumerate(names):
        (directory / name).write_bytes(b"x")
        os.utime(directory / name, (1e9 + seconds, 1e9 + seconds))


def point(directory, target):
    (directory / "last_checkpoint").write_text(str(target))


def test_there_is_none_where_there_is_none(tmp_path):
    assert find_latest_checkpoint(tmp_path) is None
    assert find_latest_checkpoint(tmp_path / "nowhere") is None
    write(tmp_path, "best_accuracy_epoch_3.pth", "weights.pth")
    assert find_latest_checkpoint(tmp_path) is None, "the best is not the latest"


def test_the_one_that_the_pointer_names_is_taken(tmp_path):
    write(tmp_path, "epoch_1.pth", "mine_2.pth", "epoch_3.pth")
    for name in ("epoch_1.pth", "mine_2.pth"):
        point(tmp_path, tmp_path / name)
        assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / name)
    point(tmp_path, "epoch_1.pth\n")
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "epoch_1.pth")


def test_a_directory_that_was_moved_is_taken_where_it_is(tmp_path):
    write(tmp_path / "old", "epoch_1.pth", "epoch_2.pth")
    point(tmp_path / "old", tmp_path / "old" / "epoch_1.pth")
    (tmp_path / "old").rename(tmp_path / "new")
    assert find_latest_checkpoint(tmp_path / "new") == str(tmp_path / "new" / "epoch_1.pth")


def test_a_copy_never_goes_on_from_the_original(tmp_path):
    write(tmp_path / "original", "epoch_9.pth")
    write(tmp_path / "copy", "epoch_9.pth", "epoch_2.pth")
    for directory in (tmp_path / "original", tmp_path / "copy"):
        point(directory, tmp_path / "original" / "epoch_9.pth")
    assert find_latest_checkpoint(tmp_path / "copy") == str(tmp_path / "copy" / "epoch_9.pth")
    (tmp_path / "copy" / "epoch_9.pth").unlink()
    assert find_latest_checkpoint(tmp_path / "copy") == str(tmp_path / "copy" / "epoch_2.pth")


def test_the_folder_of_an_out_dir_is_followed_to(tmp_path):
    write(tmp_path / "run")
    (tmp_path / "disk").mkdir()
    write(tmp_path / "disk" / "run", "epoch_2.pth")
    point(tmp_path / "run", tmp_path / "disk" / "run" / "epoch_2.pth")
    assert find_latest_checkpoint(tmp_path / "run") == str(tmp_path / "disk" / "run" / "epoch_2.pth")


@pytest.mark.parametrize("content", [b"", b"gone.pth", b"\xff\xfe\x00", b"/", b"..", b"."])
def test_without_a_pointer_that_leads_somewhere_the_newest_is_taken(tmp_path, content):
    write(tmp_path, "epoch_10.pth", "iter_500.pth", "epoch_9.pth", "epoch_10.pth.tmp", "best_epoch_99.pth")
    (tmp_path / "last_checkpoint").write_bytes(content)
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "epoch_9.pth")


def test_of_those_of_one_moment_the_highest_number_is_the_newest(tmp_path):
    write(tmp_path, "epoch_9.pth", "epoch_10.pth", "epoch_2.pth")
    for file in tmp_path.iterdir():
        os.utime(file, (1e9, 1e9))
    assert Path(find_latest_checkpoint(tmp_path)).name == "epoch_10.pth"
