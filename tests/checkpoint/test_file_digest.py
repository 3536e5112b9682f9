"""Every flipped bit and every cut is noticed, and everybody still reads the file."""

from __future__ import annotations

import errno
import os
import random
import threading
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring import MMLogger
from mainspring.checkpoint import (
    CheckpointError,
    find_latest_checkpoint,
    read_checkpoint,
    save_checkpoint,
    to_plain,
    verify_checkpoint,
    verifying,
    write_plain,
)
from mainspring.checkpoint.digest import SealedFile, read_ending
from mainspring.utils import from_plain

CHECKPOINT = {
    "state_dict": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)},
    "train_loop": {"iter": 250, "epoch": 3},
    "meta": {"name": "a run"},
}
COMMENT = rb"mainspring checkpoint, iter 250, epoch 3, sha256 [0-9a-f]{64}"


@pytest.fixture(autouse=True, params=["before", "meanwhile"])
def when_the_digest_is_computed(request, monkeypatch):
    """Of a long file it is computed while the file is read; here also of short ones."""
    if request.param == "meanwhile":
        monkeypatch.setattr(verifying, "_LONG", 0)


@pytest.fixture
def file(tmp_path):
    save_checkpoint(CHECKPOINT, tmp_path / "epoch_2.pth")
    return tmp_path / "epoch_2.pth"


def damaged(data, seed):
    """Return 1,000 flips of one bit and 200 cuts of some bytes, the ends of the file among them."""
    generator = random.Random(seed)
    bits = {*range(80), *range((len(data) - 200) * 8, len(data) * 8)}
    bits |= set(generator.sample(range(len(data) * 8), 1000))
    for bit in generator.sample(sorted(bits), 1000):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
    for length in generator.sample(range(len(data)), 200):
        yield data[:length]


def test_every_flipped_bit_and_every_cut_is_refused_by_name(file):
    for data in damaged(file.read_bytes(), seed=0):
        file.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"epoch_2\.pth' is damaged: .*Use an older checkpoint\."):
            verify_checkpoint(file)


def test_every_bit_of_the_end_counts(file):
    """The end record, the length of the comment, the position, and the digest itself."""
    data = file.read_bytes()
    for bit in range((len(data) - 140) * 8, len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            read_checkpoint(file)


def test_what_is_read_of_a_damaged_file_is_dropped(file):
    for data in damaged(file.read_bytes(), seed=1):
        file.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"epoch_2\.pth' is damaged: .*Use an older checkpoint\."):
            read_checkpoint(file)


def test_an_error_of_the_disk_is_no_damage(file, monkeypatch):
    def broken(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(verifying, "_LONG", 0)
    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(OSError, match="Input/output error"):
        read_checkpoint(file)


def test_a_thread_that_is_left_ends(file):
    with file.open("rb") as opened, pytest.raises(KeyboardInterrupt), verifying.checked(opened, "name"):
        raise KeyboardInterrupt
    assert not [one for one in threading.enumerate() if one.name == "checkpoint digest"]


@pytest.mark.parametrize("added", [b"\0", b"x" * 100, b"PK\x05\x06" + bytes(18)])
def test_what_is_added_is_refused(file, added):
    data = file.read_bytes()
    for content in (data + added, added + data):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(file)


def test_a_run_falls_back_whatever_the_damage(file, capsys):
    older = file.with_name("epoch_1.pth")
    save_checkpoint({**CHECKPOINT, "train_loop": {"iter": 125, "epoch": 2}}, older)
    assert find_latest_checkpoint(file.parent) == str(file)
    content = list(damaged(file.read_bytes(), seed=1))
    for data in random.Random(0).sample(content, 100):
        file.write_bytes(data)
        capsys.readouterr()
        assert find_latest_checkpoint(file.parent) == str(older)
        assert capsys.readouterr().out.count("WARNING - Passing over a checkpoint. '") == 1


def test_everybody_reads_the_file(file):
    for options in ({}, {"mmap": True}):
        checkpoint = torch.load(file, weights_only=True, **options)
        assert torch.equal(checkpoint["state_dict"]["weight"], CHECKPOINT["state_dict"]["weight"])
        assert checkpoint["meta"] == CHECKPOINT["meta"]
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.comment == file.read_bytes()[-len(archive.comment) :]


@pytest.mark.parametrize(
    ("loop", "comment"),
    [
        ({"iter": 250, "epoch": 3}, "iter 250, epoch 3, sha256"),
        ({"iter": 0, "epoch": 0, "batch": 7}, "iter 0, epoch 0, sha256"),
        ({"iter": 250}, "checkpoint, sha256"),
        ({"iter": -1, "epoch": 0}, "checkpoint, sha256"),
        ({"iter": 10**18, "epoch": 0}, "checkpoint, sha256"),
        ({"iter": True, "epoch": 0}, "checkpoint, sha256"),
        ("250", "checkpoint, sha256"),
        (None, "checkpoint, sha256"),
    ],
)
def test_the_end_says_how_far_the_run_was(tmp_path, loop, comment):
    path = tmp_path / "a.pth"
    save_checkpoint({"train_loop": loop}, path)
    verify_checkpoint(path)
    with zipfile.ZipFile(path) as archive:
        assert comment.encode() in archive.comment
    with path.open("rb") as file:
        position = read_ending(file).position
    assert position == ((loop["iter"], loop["epoch"]) if "iter" in comment else None)


def test_the_digest_is_written_by_whatever_writes_the_plain_content(tmp_path):
    write_plain(to_plain({"a": torch.ones(2), "path": tmp_path}), tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["path"] == tmp_path
    with (tmp_path / "a.pth").open("rb") as file:
        assert read_ending(file).kind == "sealed"


@given(st.lists(st.binary(max_size=70), max_size=8))
def test_the_bytes_arrive_as_they_were_written_in_whatever_pieces(tmp_path_factory, pieces):
    archive = b"".join(pieces) + b"PK\x05\x06" + bytes(18)
    path = tmp_path_factory.mktemp("pieces") / "a"
    with path.open("wb") as file:
        sealed = SealedFile(file, "mainspring checkpoint, sha256 ")
        for piece in (*pieces, archive[-22:-5], archive[-5:]):
            assert sealed.write(piece) == len(piece)
        sealed.seal()
    data = path.read_bytes()
    assert data[: len(archive) - 2] == archive[:-2]
    with path.open("rb") as file:
        ending = read_ending(file)
    assert (ending.kind, ending.end_record) == ("sealed", len(archive) - 22)


def test_what_is_no_archive_is_not_sealed(tmp_path):
    for content in (b"", b"short", bytes(40), b"PK\x05\x06" + bytes(16) + b"\x01\x00"):
        with (tmp_path / "a").open("wb") as file:
            sealed = SealedFile(file, "")
            sealed.write(content)
            with pytest.raises(RuntimeError, match="does not know"):
                sealed.seal()


# Files of others have no digest.


def test_files_of_others_are_read_and_called_unverified_once(tmp_path, capsys):
    MMLogger.get_instance("of this test", log_level="INFO")  # the newest is the one that is told
    for name in ("a.pth", "b.pth"):
        torch.save(CHECKPOINT, tmp_path / name, _use_new_zipfile_serialization=name == "a.pth")
        for _ in range(3):
            read_checkpoint(tmp_path / name)
            verify_checkpoint(tmp_path / name)
    lines = [line for line in capsys.readouterr().out.splitlines() if "INFO" in line]
    assert len(lines) == 2
    assert lines[0].endswith("a.pth' holds no digest, so it was checked only as far as ZIP allows.")
    assert lines[1].endswith("only as far as the format of torch before 1.6 allows.")


def test_ours_are_never_called_unverified(file, capsys):
    read_checkpoint(file)
    assert capsys.readouterr().out == ""


def test_flips_in_files_of_others_never_change_what_is_read(tmp_path):
    """Only what nobody reads (padding, times, what stands there twice) is not checked."""
    file = tmp_path / "a.pth"
    torch.save(CHECKPOINT, file)
    data = file.read_bytes()
    refused = 0
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        file.write_bytes(flipped)
        try:
            checkpoint = read_checkpoint(file)
        except CheckpointError as error:
            refused += "a.pth" in str(error)
        else:
            assert torch.equal(checkpoint["state_dict"]["weight"], CHECKPOINT["state_dict"]["weight"])
            assert torch.equal(checkpoint["state_dict"]["bias"], CHECKPOINT["state_dict"]["bias"])
            assert checkpoint["train_loop"] == CHECKPOINT["train_loop"]
    assert refused > len(data) / 2


def test_cuts_of_files_of_others_are_refused(tmp_path):
    for zipped in (True, False):
        file = tmp_path / "a.pth"
        torch.save(CHECKPOINT, file, _use_new_zipfile_serialization=zipped)
        data = file.read_bytes()
        for length in random.Random(0).sample(range(len(data)), 100):
            file.write_bytes(data[:length])
            with pytest.raises(CheckpointError, match=r"a\.pth"):
                verify_checkpoint(file)
        file.write_bytes(data + b"\0")
        with pytest.raises(CheckpointError, match=r"a\.pth"):
            verify_checkpoint(file)


# What is saved is what is read.

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.text() | st.integers(-(2**40), 2**40) | st.tuples(st.integers(0, 9), st.text())
CONTENT = st.recursive(
    SCALARS | st.sets(st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(content=CONTENT)
def test_plain_content_comes_back(tmp_path, content):
    save_checkpoint({"content": content}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth") == {"content": content}
    assert from_plain(torch.load(tmp_path / "a.pth", weights_only=True)) == {"content": content}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(
        [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.uint16, torch.float8_e4m3fn]
    ),
    data=st.data(),
)
def test_tensors_and_their_views_come_back_with_one_storage(tmp_path, shape, dtype, data):
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)
    views = {"whole": tensor, "flat": tensor.flatten()}
    for place in range(len(shape)):
        start = data.draw(st.integers(0, shape[place]))
        views[f"from {place}"] = tensor.narrow(place, start, shape[place] - start)
        views[f"expanded {place}"] = tensor.unsqueeze(place).expand(*shape[:place], 3, *shape[place:])
        views[f"turned {place}"] = tensor.transpose(0, place)
    save_checkpoint({"state_dict": views}, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")["state_dict"]
    for name, view in views.items():
        assert (read[name].shape, read[name].stride(), read[name].dtype) == (view.shape, view.stride(), dtype)
        assert read[name].tolist() == view.tolist()
    pointers = {value.untyped_storage().data_ptr() for value in read.values()}
    assert len(pointers) == 1 or tensor.numel() == 0


def test_tied_weights_stay_tied(file):
    weight = torch.arange(6.0)
    save_checkpoint({"state_dict": {"a": weight, "b": weight, "part": weight[2:4]}}, file)
    weights = read_checkpoint(file)["state_dict"]
    weights["a"][2] = -1
    assert weights["b"].tolist() == [0, 1, -1, 3, 4, 5]
    assert weights["part"].tolist() == [-1, 3]
    assert os.path.getsize(file) < 2500
