import os
import pickle
import random
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from mainspring.checkpoint import CheckpointError, load_checkpoint, read_checkpoint, save_checkpoint

CHECKPOINT = {
    "state_dict": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)},
    "meta": {"iter": 3, "name": "a run"},
}


class RunsCode:
    """Unpickling it makes a directory."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


def is_intact(checkpoint):
    weights = checkpoint["state_dict"]
    return (
        list(checkpoint) == list(CHECKPOINT)
        and checkpoint["meta"] == CHECKPOINT["meta"]
        and list(weights) == list(CHECKPOINT["state_dict"])
        and all(torch.equal(weights[name], CHECKPOINT["state_dict"][name]) for name in weights)
    )


@pytest.fixture
def file(tmp_path):
    save_checkpoint(CHECKPOINT, tmp_path / "epoch_1.pth")
    return tmp_path / "epoch_1.pth"


def test_what_was_saved_is_read(file):
    assert is_intact(read_checkpoint(file))
    assert is_intact(read_checkpoint(str(file)))
    assert is_intact(torch.load(file, weights_only=True)), "and torch reads it too"


def test_a_missing_file_is_named_with_what_lies_beside_it(file):
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint '.*epoch_2.pth'\. Beside it lies 'epoch_1.p"):
        read_checkpoint(file.with_name("epoch_2.pth"))
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint '.*nowhere.*'\.$"):
        read_checkpoint(file.parent / "nowhere" / "epoch_1.pth")
    with pytest.raises(FileNotFoundError):
        read_checkpoint(file.parent)


def test_a_file_that_is_cut_anywhere_is_refused(file):
    data = file.read_bytes()
    for length in {0, 1, 3, 4, 5, len(data) - 1, *random.Random(0).sample(range(len(data)), 40)}:
        file.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"epoch_1.pth"):
            read_checkpoint(file)


def test_a_file_that_is_cut_says_so(file):
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match=r"'.*epoch_1.pth' is damaged: it is cut short.*Use an older checkpoint"):
        read_checkpoint(file)


def test_a_file_whose_bytes_were_changed_says_so(file):
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"'.*epoch_1.pth' is damaged: its SHA-256 digest is wrong.*older check"):
        read_checkpoint(file)


def test_every_flipped_bit_of_the_weights_in_a_file_of_others_is_refused_with_the_entry(file):
    torch.save(CHECKPOINT, file)
    data = file.read_bytes()
    start = data.index(CHECKPOINT["state_dict"]["weight"].numpy().tobytes())
    for offset in range(24):
        flipped = bytearray(data)
        flipped[start + offset] ^= 1 << offset % 8
        file.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"the checksum of its entry '.*data/0' is wrong"):
            read_checkpoint(file)


def test_files_of_the_format_before_torch_1_6_are_read(file):
    torch.save(CHECKPOINT, file, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(file)
    assert is_intact(read_checkpoint(file))


def test_a_file_of_the_old_format_that_is_cut_anywhere_is_refused(file):
    torch.save(CHECKPOINT, file, _use_new_zipfile_serialization=False)
    data = file.read_bytes()
    for length in range(0, len(data), 5):
        file.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"epoch_1.pth"):
            read_checkpoint(file)


@pytest.mark.parametrize("text", [b"not a checkpoint\n" * 9, b"\x89PNG\r\n\x1a\n" + bytes(99), bytes(500)])
def test_another_file_is_no_checkpoint(file, text):
    file.write_bytes(text)
    with pytest.raises(CheckpointError, match=r"epoch_1.pth.*torch.save did not write it"):
        read_checkpoint(file)


def test_a_zip_of_something_else_is_no_checkpoint(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        read_checkpoint(file)


@pytest.mark.parametrize("content", [torch.ones(3), [1, 2], "text"])
def test_a_checkpoint_is_a_dict(file, content):
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=f"holds a {type(content).__name__}, but a checkpoint is a dict"):
        read_checkpoint(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_would_run_code_is_refused_by_name_and_does_not_run(file, tmp_path, zipped):
    made = tmp_path / "made"
    torch.save({"state_dict": {}, "x": RunsCode(made)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError,
        match=rf"holds an object of {os.mkdir.__module__}.mkdir, and building it would run code.*trust=True",
    ):
        read_checkpoint(file)
    assert not made.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("bare", [True, False])
def test_no_kind_of_pickle_runs_code(file, tmp_path, protocol, bare):
    made = tmp_path / "made"
    if bare:
        file.write_bytes(pickle.dumps({"x": RunsCode(made)}, protocol))
    else:
        torch.save({"x": RunsCode(made)}, file, pickle_protocol=protocol)
    with pytest.raises(CheckpointError):
        read_checkpoint(file)
    assert not made.exists()


def test_objects_of_other_classes_are_refused_by_name(file):
    torch.save({"model": nn.Linear(1, 1)}, file)
    with pytest.raises(CheckpointError, match=r"holds an object of torch.nn.modules.linear.Linear"):
        read_checkpoint(file)
    torch.save({"paths": Path("a")}, file)
    with pytest.raises(CheckpointError, match="holds an object of pathlib"):
        read_checkpoint(file)


def test_trust_reads_them_and_runs_their_code(file, tmp_path):
    torch.save({"counts": Counter("aab"), "x": RunsCode(tmp_path / "made")}, file)
    assert read_checkpoint(file, trust=True)["counts"] == Counter("aab")
    assert (tmp_path / "made").is_dir()


def test_the_advice_for_a_file_that_needs_trust_can_be_followed(file, tmp_path):
    """By whom reads it through a runner too, which has no trust to give."""
    torch.save({"state_dict": nn.Linear(3, 2).state_dict(), "path": Path("a")}, file)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(nn.Linear(3, 2), file)
    assert "read_checkpoint(file, trust=True)" in str(caught.value)
    assert "save_checkpoint({'state_dict': checkpoint['state_dict']}, new_file)" in str(caught.value)
    new_file = tmp_path / "plain.pth"
    checkpoint = read_checkpoint(file, trust=True)
    save_checkpoint({"state_dict": checkpoint["state_dict"]}, new_file)
    load_checkpoint(nn.Linear(3, 2), new_file, strict=True)


def test_trust_does_not_excuse_damage(file):
    torch.save({"model": nn.Linear(1, 1)}, file)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match="cut short"):
        read_checkpoint(file, trust=True)


def test_load_checkpoint_hands_trust_on(file):
    model = nn.Linear(3, 2)
    torch.save({"state_dict": model.state_dict(), "config": Path("a")}, file)
    with pytest.raises(CheckpointError, match="pathlib"):
        load_checkpoint(model, file)
    assert load_checkpoint(model, file, trust=True)["config"] == Path("a")


def test_tensors_go_where_they_are_told(file):
    for place in ("meta", torch.device("meta"), {"cpu": "meta"}):
        assert read_checkpoint(file, place)["state_dict"]["weight"].device.type == "meta"
    seen = []
    assert is_intact(read_checkpoint(file, lambda storage, place: seen.append(place)))
    assert seen == ["cpu", "cpu"]


def test_a_file_that_is_replaced_while_it_is_read_is_refused(file, monkeypatch):
    """What was verified is another."""
    load = torch.load

    def load_another(path, **options):
        save_checkpoint({"another": 1}, path)
        return load(path, **options)

    monkeypatch.setattr(torch, "load", load_another)
    with pytest.raises(CheckpointError, match=r"epoch_1.pth' was replaced while it was read"):
        read_checkpoint(file)


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_not_called_damaged(file):
    file.chmod(0)
    with pytest.raises(PermissionError):
        read_checkpoint(file)
