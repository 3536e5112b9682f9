import os
import signal
import subprocess
import sys

import pytest
import torch

from mainspring.checkpoint import read_checkpoint, save_checkpoint

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


def test_one_memory_looked_at_as_two_types_is_saved_as_two(tmp_path):
    """torch.save refuses it; a checkpoint that is written in the background has it so, too."""
    numbers = torch.arange(6.0)
    bits = numbers.view(torch.int32)
    content = {"a": numbers, "b": bits[::2], "c": bits, "d": numbers.view(2, 3)}
    save_checkpoint(content, tmp_path / "x.pth")
    read = read_checkpoint(tmp_path / "x.pth")
    assert all(torch.equal(read[name], content[name]) for name in content)
    read["a"].fill_(7)
    assert read["d"][0, 0] == 7, "those of one type stay tied"
    assert torch.equal(read["c"], bits)
    read["c"][0] = 5
    assert read["b"][0] == 5


@pytest.mark.parametrize("missing", [10, 100, 1_000, 50_000, 200_000])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, missing):
    """Whether the last bytes have no place, or most of them: torch's writer has errors of its own."""
    resource = pytest.importorskip("resource")
    content = {"a": 2, "w": torch.ones(50_000)}
    save_checkpoint(content, tmp_path / "whole.pth")
    limit = (tmp_path / "whole.pth").stat().st_size - missing
    (tmp_path / "whole.pth").unlink()
    file = tmp_path / "epoch_1.pth"
    save_checkpoint({"a": 1}, file)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*epoch_1.pth'"):
            save_checkpoint(content, file)
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
