"""Whatever torch.save writes of plain values and tensors is read, though each number in the file is checked."""

from __future__ import annotations

import fractions
from collections import Counter, OrderedDict
from functools import reduce

import pytest
import torch
from torch import nn

from mainspring.checkpoint import CheckpointError, read_checkpoint


def legal():
    noted = torch.ones(2)
    noted.note = "a text"
    parameter = nn.Parameter(torch.ones(2))
    parameter.note = {"a": [1, 2]}
    mask = torch.ones(64, 64, dtype=torch.bool).tril()
    return {
        "parameter": nn.Parameter(torch.ones(2, 3)),
        "parameter with an attribute": parameter,
        "tensor with an attribute": noted,
        "every second row, turned": torch.arange(24.0).reshape(4, 6)[1::2].T,
        "windows": torch.arange(100.0).unfold(0, 10, 1),
        "expanded mask": mask.expand(32, 16, 64, 64),
        "expanded number": torch.zeros(1).expand(4096, 4096),
        "empty": torch.zeros(0, 5),
        "end of a storage": torch.arange(5)[5:],
        "one number": torch.tensor(3),
        "conjugate": torch.tensor([1 + 2j, 3j]).conj(),
        "bfloat16": torch.ones(2, dtype=torch.bfloat16),
        "uint16": torch.ones(2, dtype=torch.uint16),
        "sparse": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
        "csc": torch.eye(3).to_sparse_csc(),
        "bsr": torch.eye(4).to_sparse_bsr((2, 2)),
        "quantized": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8),
        "quantized by channels": torch.quantize_per_channel(
            torch.ones(3, 2), torch.ones(3), torch.zeros(3), 0, torch.qint8
        ),
        "quantized to half a byte": torch.quantize_per_channel(
            torch.ones(4, 8), torch.ones(4), torch.zeros(4), 0, torch.quint4x2
        ),
        "without a storage": torch.empty(3, device="meta"),
        "shape": torch.Size([2, 3]),
        "type": torch.float16,
        "place": torch.device("cpu"),
        "bytes": b"\x00\xff",
        "no bytes": b"",
        "array of bytes": bytearray(b"ab"),
        "complex": 1 - 2j,
        "large": -(2**200),
        "set": {1, "a", (2, 3)},
        "counter": Counter("aab"),
        "ordered": OrderedDict(a=1),
        "keys": {(1, "a"): 0, None: 1, 2.5: 2, True: 3, b"x": 4},
        "deep": reduce(lambda inner, _: [inner], range(90), "x"),
        "shared": [shared := {"a": [1, 2]}, shared, (shared, shared)],
    }


@pytest.mark.filterwarnings("ignore:.*(quantiz|TypedStorage):UserWarning", "ignore:Sparse .* beta state:UserWarning")
@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_torch_saves_is_read(tmp_path, zipped):
    path = tmp_path / "a.pth"
    for what, value in legal().items():
        if zipped or what != "uint16":  # which torch itself cannot load from its old format
            torch.save({"x": value}, path, _use_new_zipfile_serialization=zipped)
            read = read_checkpoint(path)["x"]
            assert type(read) is type(value), what
            if isinstance(value, torch.Tensor):
                assert (read.shape, read.dtype, read.layout) == (value.shape, value.dtype, value.layout), what
                assert str(read) == str(value), what
            else:
                assert read == value, what


def test_what_the_user_allows_is_read(tmp_path):
    torch.save({"path": fractions.Fraction(1, 3)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"holds an object of fractions\.Fraction"):
        read_checkpoint(tmp_path / "a.pth")
    with torch.serialization.safe_globals([fractions.Fraction]):
        assert read_checkpoint(tmp_path / "a.pth") == {"path": fractions.Fraction(1, 3)}
