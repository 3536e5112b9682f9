import re
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mainspring.checkpoint import read_checkpoint, save_checkpoint
from mainspring.checkpoint.snapshot import SnapshotBuffers
from mainspring.utils import to_plain


def taken(state):
    snapshot = SnapshotBuffers().take(to_plain(state))
    snapshot.wait()
    return snapshot.state


def storage(tensor):
    return tensor.untyped_storage().data_ptr()


def quantized():
    return torch.quantize_per_tensor(torch.tensor([0.1, -0.5, 0.7]), 0.1, 2, torch.qint8)


TENSORS = {
    "ordinary": lambda: torch.randn(3, 4),
    "of no dimension": lambda: torch.tensor(5.0),
    "empty": lambda: torch.empty(0, 3),
    "transposed": lambda: torch.randn(3, 4).t(),
    "with an offset": lambda: torch.randn(10)[3:7],
    "with steps": lambda: torch.arange(12)[1::3],
    "expanded": lambda: torch.randn(3, 1).expand(3, 5),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "booleans": lambda: torch.tensor([True, False]),
    "bfloat16": lambda: torch.randn(5).bfloat16(),
    "float8": lambda: torch.randn(5).to(torch.float8_e4m3fn),
    "complex": lambda: torch.randn(3, dtype=torch.complex64),
    "conjugate": lambda: torch.randn(3, dtype=torch.complex64).conj(),
    "negative view": lambda: torch.randn(3, dtype=torch.complex64).conj().imag,
    "odd bytes": lambda: torch.arange(13, dtype=torch.uint8),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "a parameter": lambda: torch.nn.Parameter(torch.randn(3)),
}


@pytest.mark.parametrize("make", TENSORS.values(), ids=TENSORS)
def test_tensors_of_every_kind_are_copied_and_can_be_saved(make, tmp_path):
    tensor = make()
    before = tensor.detach().clone()
    copy = taken({"t": tensor})["t"]
    with torch.no_grad():
        (tensor._values() if tensor.is_sparse else tensor.untyped_storage()).fill_(1)
    assert type(copy) is torch.Tensor
    assert (copy.dtype, copy.shape, copy.layout) == (before.dtype, before.shape, before.layout)
    assert (copy.is_conj(), copy.is_neg()) == (tensor.is_conj(), tensor.is_neg())
    if not copy.is_sparse:
        assert (copy.stride(), copy.storage_offset()) == (tensor.stride(), tensor.storage_offset())
    save_checkpoint({"t": copy}, tmp_path / "x.pth")
    for result in (copy, read_checkpoint(tmp_path / "x.pth")["t"]):
        assert result.to_dense().tolist() == before.to_dense().tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's: all of these are betas or deprecated
@pytest.mark.parametrize(
    "make",
    [quantized, lambda: torch.eye(3).to_sparse_csr()],
    ids=["quantized", "sparse rows"],
)
def test_rare_kinds_are_copied_too(make):
    tensor = make()
    copy = taken([tensor])[0]
    before = repr(tensor)
    (tensor.values() if tensor.layout is torch.sparse_csr else tensor).fill_(0)
    assert repr(copy) == before != repr(tensor)


def test_tensors_without_data_stay_so():
    assert taken([torch.empty(3, device="meta")])[0].is_meta


def test_the_memory_of_a_file_is_copied(tmp_path):
    file = tmp_path / "mapped"
    file.write_bytes(bytes(range(64)))
    mapped = torch.from_file(str(file), shared=True, size=64, dtype=torch.uint8)
    copy = taken([mapped])[0]
    mapped.fill_(0)
    assert copy.tolist() == list(range(64))


def test_python_values_are_copied_with_their_containers():
    state = {"a": [1, {"b": (2, [3])}], 5: {"c", "d"}, "o": OrderedDict(x=torch.ones(1))}
    state["o"]._metadata = {"": {"version": 1}}
    plain = to_plain(state)
    snapshot = SnapshotBuffers().take(plain).state
    plain["a"][1]["b"][1].append(4)
    plain[5].clear()
    plain["o"]["y"] = 1
    plain["new"] = 1
    assert snapshot == {"a": [1, {"b": (2, [3])}], 5: {"c", "d"}, "o": {"x": torch.ones(1)}}
    assert type(snapshot["o"]) is OrderedDict
    assert snapshot["o"]._metadata == {"": {"version": 1}}


# Storages


def test_a_storage_is_copied_once_and_tied_weights_stay_tied():
    weight = torch.arange(12.0)
    snapshot = taken({"a": weight, "deep": [weight.view(3, 4).t(), weight[5:]], "other": torch.arange(12.0)})
    transposed, rest = snapshot["deep"]
    assert storage(snapshot["a"]) == storage(transposed) == storage(rest) != storage(weight)
    assert storage(snapshot["other"]) != storage(snapshot["a"])
    snapshot["a"][7] = -1
    assert transposed[3, 1] == rest[2] == -1


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 5), st.integers(0, 5), st.integers(0, 20)),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_views_there_are_of_a_storage_writing_through_them_does_the_same(views):
    def make(base):
        return [base.as_strided((rows, columns), strides, offset) for rows, columns, *strides, offset in views]

    originals = make(torch.arange(60))
    copies = taken(originals)
    for number, (original, copy) in enumerate(zip(originals, copies, strict=True)):
        original[-1, -1] -= number
        copy[-1, -1] -= number
    assert all(torch.equal(original, copy) for original, copy in zip(originals, copies, strict=True))


def test_a_storage_of_two_dtypes_becomes_two_and_can_be_saved(tmp_path):
    both = torch.tensor([1 + 2j, 3 + 4j])
    state = {"complex": both, "real": torch.view_as_real(both), "same": both[1:]}
    with pytest.raises(RuntimeError, match="different types"):
        torch.save(state, tmp_path / "torch.pth")
    snapshot = taken(state)
    save_checkpoint(snapshot, tmp_path / "x.pth")
    read = read_checkpoint(tmp_path / "x.pth")
    assert read["complex"].tolist() == [1 + 2j, 3 + 4j]
    assert read["real"].tolist() == [[1, 2], [3, 4]]
    assert storage(read["complex"]) == storage(read["same"])


def test_the_default_device_is_no_matter():
    with torch.device("meta"):
        assert taken([torch.ones(2, device="cpu")])[0].tolist() == [1, 1]


# Buffers


def state_of(*sizes):
    return {f"w{number}": torch.full((size,), float(size)) for number, size in enumerate(sizes)}


def test_the_second_copy_takes_no_memory():
    buffers = SnapshotBuffers()
    places = []
    for value in range(50):
        state = state_of(10, 1000, 10, 100_000, 1)
        state["w0"].fill_(value)
        snapshot = buffers.take(state).state
        assert snapshot["w0"][3] == value
        places.append([storage(tensor) for tensor in snapshot.values()])
        assert buffers.nbytes == 4 * 101_021
    assert places == places[:1] * 50


def test_memory_follows_the_state():
    buffers = SnapshotBuffers()
    first = buffers.take(state_of(10, 20, 30)).state
    second = buffers.take(state_of(30, 40)).state
    assert storage(second["w0"]) == storage(first["w2"])
    assert buffers.nbytes == 4 * 70
    buffers.take({"no": "tensors"})
    assert buffers.nbytes == 0


def test_cleared_memory_is_taken_again():
    buffers = SnapshotBuffers()
    snapshot = buffers.take(state_of(10)).state
    buffers.clear()
    assert buffers.nbytes == 0
    assert snapshot["w0"].tolist() == [10.0] * 10, "who has the snapshot keeps its memory"
    assert buffers.take(state_of(10)).state["w0"].tolist() == [10.0] * 10


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_forked_processes_do_not_get_the_memory():
    snapshot = SnapshotBuffers().take(state_of(1_000_000)).state
    flags = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        place = re.match("([0-9a-f]+)-([0-9a-f]+) ", line)
        if place:
            within = int(place[1], 16) <= storage(snapshot["w0"]) < int(place[2], 16)
        elif within and line.startswith("VmFlags:"):
            flags = line
    assert " dc " in flags, "which is the kernel's word for it"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_too_little_memory_is_said_with_what_to_do():
    resource = pytest.importorskip("resource")
    buffers = SnapshotBuffers()
    state = {"w": torch.zeros(100_000_000, dtype=torch.uint8)}
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 20_000_000, limits[1]))
    try:
        with pytest.raises(MemoryError, match=r"100 MB more were asked for.*save_checkpoint\(\)"):
            buffers.take(state)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert buffers.take(state).state["w"].shape == (100_000_000,), "later there is enough"
