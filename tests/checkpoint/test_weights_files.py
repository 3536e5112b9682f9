"""Weights in files of safetensors, in and out."""

from __future__ import annotations

import json
import os
import struct
import sys

import pytest
import torch
from torch import nn

from mainspring.checkpoint import (
    CheckpointError,
    find_latest_checkpoint,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)

safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "weights.safetensors"


def header(file):
    data = file.read_bytes()
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


def test_weights_go_out_and_in(file):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save_checkpoint({"state_dict": model.state_dict(), "train_loop": {"iter": 7, "epoch": 2}, "lr": 0.1}, file)
    assert list(safetensors.load_file(file)) == ["bias", "weight"], "and nothing else is in it"
    assert header(file)["__metadata__"] == {"format": "pt", "epoch": "2", "iter": "7"}
    load_checkpoint(other, file, strict=True)
    assert torch.equal(model.weight, other.weight)
    verify_checkpoint(file)


def test_a_dict_of_weights_is_a_checkpoint_of_weights(file):
    save_checkpoint({"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.zeros(0, 3)}, file)
    assert header(file)["__metadata__"] == {"format": "pt"}
    weights = read_checkpoint(file)
    assert weights["a"].dtype is torch.bfloat16
    assert weights["b"].shape == (0, 3)


def test_tied_weights_and_views_are_written_out(file):
    weight = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "a": weight,
        "tied": weight,
        "turned": weight.T,
        "row": weight[1],
        "expanded": torch.ones(1).expand(2, 2),
        "parameter": nn.Parameter(weight),
    }
    save_checkpoint({"state_dict": tensors}, file)
    read = read_checkpoint(file)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor), name
    assert len({tensor.data_ptr() for tensor in read.values()}) == len(tensors)


def test_what_is_no_weight_is_refused_by_name_and_leaves_the_old_file(file):
    save_checkpoint({"a": torch.ones(1)}, file)
    before = file.read_bytes()
    for content, message in (
        ({"a": torch.ones(1), "lr": 0.1}, "'lr' is a float"),
        ({"a": torch.eye(2).to_sparse()}, "safetensors cannot write these weights.*Save to a .pth file"),
    ):
        with pytest.raises(TypeError, match=message):
            save_checkpoint(content, file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_weights_of_others_are_read(file):
    safetensors.save_file({"layer.weight": torch.arange(3.0)}, file)
    assert read_checkpoint(str(file))["layer.weight"].tolist() == [0, 1, 2]


def test_what_was_read_does_not_change_with_the_file(file):
    safetensors.save_file({"a": torch.ones(1000)}, file)
    weights = read_checkpoint(file)
    with file.open("r+b") as opened:
        opened.seek(-4000, os.SEEK_END)
        opened.write(bytes(4000))
    assert torch.all(weights["a"] == 1)


@pytest.mark.parametrize("place", ["meta", torch.device("meta"), {"cpu": "meta"}])
def test_weights_go_where_they_are_told(file, place):
    save_checkpoint({"a": torch.ones(2, 3)}, file)
    weight = read_checkpoint(file, place)["a"]
    assert (weight.device.type, weight.shape) == ("meta", (2, 3))


def test_a_function_says_where_weights_go(file):
    save_checkpoint({"a": torch.arange(6.0).reshape(2, 3)}, file)
    asked = []

    def place(storage, location):
        asked.append(location)
        return storage.clone() if len(asked) == 1 else None

    for _ in range(2):
        assert read_checkpoint(file, place)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read_checkpoint(file, None)["a"].device.type == "cpu"
    assert asked == ["cpu", "cpu"]


def test_a_damaged_file_is_refused_by_name(file):
    save_checkpoint({"a": torch.ones(100)}, file)
    data = file.read_bytes()
    for content in (b"", data[:5], data[:-1], data + b"\0", b"\xff" * 8 + data[8:], b"not weights"):
        file.write_bytes(content)
        for read in (read_checkpoint, verify_checkpoint):
            with pytest.raises(CheckpointError, match=r"weights.safetensors' is damaged, or no file of safetensors"):
                read(file)
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        verify_checkpoint(file.with_name("other.safetensors"))


def test_a_pickle_under_this_name_is_not_opened(file, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    (tmp_path / "a.pth").rename(file)
    with pytest.raises(CheckpointError, match="no file of safetensors"):
        read_checkpoint(file, trust=True)


def test_no_run_goes_on_from_weights(file):
    save_checkpoint({"a": torch.ones(1), "train_loop": {"iter": 1, "epoch": 1}, "state_dict": {}}, file)
    assert find_latest_checkpoint(file.parent) is None


def test_a_missing_library_is_named(file, monkeypatch):
    save_checkpoint({"a": torch.ones(1)}, file)
    monkeypatch.delitem(sys.modules, "safetensors.torch")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for use in (lambda: read_checkpoint(file), lambda: save_checkpoint({"a": torch.ones(1)}, file)):
        with pytest.raises(ImportError, match=r"needs safetensors.*pip install 'mainspring\[safetensors\]'"):
            use()
