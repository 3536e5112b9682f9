"""Files that were made to harm: nothing runs, and they get neither memory nor time."""

from __future__ import annotations

import os
import pickle
import random
import re
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

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
    write_plain,
)
from mainspring.checkpoint.archive import read_archive
from mainspring.checkpoint.digest import read_ending
from mainspring.model import PretrainedInit

TERA = 10**12


# A small assembler for pickles. Raw code is told from values by its class.


class Code(bytes):
    pass


def code(value):
    if isinstance(value, Code):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        data = pickle.encode_long(value)
        return b"\x8a" + bytes([len(data)]) + data
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return b"(" + b"".join(map(code, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(code, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(code(key) + code(item) for key, item in value.items()) + b"u"
    raise TypeError(value)


def name(path):
    module, _, attribute = path.rpartition(".")
    return Code(f"c{module}\n{attribute}\n".encode())


def call(path, *arguments):
    return Code(name(path) + code(arguments) + b"R")


def keep(value, place):
    return Code(code(value) + b"r" + struct.pack("<I", place))


def recall(place):
    return Code(b"j" + struct.pack("<I", place))


HOOKS = call("collections.OrderedDict")


def storage(count, key="0", kind="torch.FloatStorage"):
    return Code(code(("storage", name(kind), key, "cpu", count)) + b"Q")


def as_before_1_6(content):
    """Return a content with its storages as the old format describes them, by one value more."""
    return Code(re.sub(rb"(cpu\x8a(?:\x01.|\x02..|\x03...|\x06.{6}))tQ", rb"\1NtQ", content, flags=re.DOTALL))


def tensor(store, offset, size, stride):
    return call("torch._utils._rebuild_tensor_v2", store, offset, size, stride, False, HOOKS)


def quantized(store, size, parameters, stride=1):
    return call("torch._utils._rebuild_qtensor", store, 0, size, (stride,) * len(size), parameters, False, HOOKS)


def pickled(content):
    return b"\x80\x02" + code(content) + b"."


def twice(wrap, count=60):
    """Return a container that holds one container twice, that holds one container twice, and so on."""
    value = keep(wrap("x", "y"), 0)
    for place in range(1, count):
        value = keep(wrap(value, recall(place - 1)), place)
    return value


def often(value, function):
    """Return ten thousand calls of a function with one value."""
    return [keep(value, 0), *[Code(name(function) + recall(0) + b"\x85R")] * 10_000]


def nested(begin, end, depth=20_000):
    return Code(begin * depth + b"N" + end * depth)


def write_zip(path, pickle_, sizes=(16,), **options):
    entries = {"data.pkl": pickle_, "byteorder": b"little", "version": b"3\n"}
    entries |= {f"data/{key}": bytes(size) for key, size in enumerate(sizes)}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for key, data in entries.items():
            archive.writestr(f"archive/{key}", data)


def write_old(path, pickle_, keys=("0",), sizes=(4,)):
    """Write the format of torch before 1.6; each storage has four bytes for each number that its size says."""
    head = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {"little_endian": True})
    parts = [*(pickle.dumps(part, 2) for part in head), pickle_, pickle.dumps(list(keys), 2)]
    path.write_bytes(b"".join([*parts, *(struct.pack("<q", size) + bytes(4 * size) for size in sizes)]))


def four(offset, size, stride):
    """Return a tensor on a storage that has four numbers."""
    return tensor(storage(4), offset, size, stride)


LONGS = storage(2, kind="torch.LongStorage")
INDICES = call("torch._utils._rebuild_tensor", LONGS, 0, (1, 2), (2, 1))
VALUES = call("torch._utils._rebuild_tensor", LONGS, 0, (2,), (1,))
SPARSE = call("torch.serialization._get_layout", "torch.sparse_coo")
UNTYPED = storage(16, kind="torch.storage.UntypedStorage")
AFFINE = (name("torch.per_tensor_affine"), Code(b"G" + bytes(8)), 0)
PER_CHANNEL = (name("torch.per_channel_affine"), twice(lambda *items: list(items)), [1, 2], 0)
REBUILD = "torch._utils._rebuild_"

# What each content of a file with one storage of 16 bytes is called, the content, and why it is refused.
CLAIMS = [
    (
        "a storage larger than its bytes",
        tensor(storage(1000), 0, (4,), (1,)),
        "a storage of 4000 bytes where it has 16",
    ),
    ("a storage of a terabyte", tensor(storage(TERA), 0, (4,), (1,)), "claims a storage of 4000000000000 bytes"),
    ("a storage of wider numbers", tensor(storage(4, kind="torch.DoubleStorage"), 0, (4,), (1,)), "32 bytes where it"),
    ("an untyped storage", storage(64, kind="torch.storage.UntypedStorage"), "64 bytes where it has 16"),
    (
        "a storage of less than nothing",
        tensor(storage(-4), 0, (0,), (1,)),
        "a storage of a kind that torch.save does no",
    ),
    ("a storage that is not there", storage(4, key="1"), "refers to the storage '1', which it does not have"),
    ("a storage outside", storage(4, key="../../0"), "storage '../../0', which it does not have"),
    ("a storage by a number", storage(4, key=0), "the storage of the type int, which it does not"),
    ("one storage in two ways", [storage(4), storage(16, kind="torch.ByteStorage")], "its storage '0' in two ways"),
    ("more numbers than there are", four(0, (5,), (1,)), "needs 20 bytes of a storage which has 16"),
    ("a terabyte of numbers", four(0, (TERA,), (1,)), "needs 4000000000000 bytes of a storage which has 16"),
    ("a step beyond the end", four(0, (2,), (4,)), "needs 20 bytes of a storage which has 16"),
    ("a step of a terabyte", four(0, (2,), (TERA,)), "needs 4000000000004 bytes of a storage which has 16"),
    ("a start beyond the end", four(1, (4,), (1,)), "needs 20 bytes of a storage which has 16"),
    ("a start before the beginning", four(-1, (2,), (1,)), "size, stride or offset is negative"),
    ("steps backwards", four(3, (4,), (-1,)), "size, stride or offset is negative"),
    ("less than no numbers", four(0, (-4,), (1,)), "size, stride or offset is negative"),
    ("a size that overflows", four(0, (2**62, 2**62, 4), (0, 0, 1)), "or offset is negative, too large, or no number"),
    ("a size of two thousand bits", four(0, (2**2000,), (0,)), "or offset is negative, too large, or no number"),
    ("a size that is a text", four(0, ("4",), (1,)), "or offset is negative, too large, or no number"),
    ("a size that is true", four(0, (True,), (1,)), "or offset is negative, too large, or no number"),
    ("more steps than sizes", four(0, (4,), (1, 1)), "1 dimensions with 2 strides"),
    ("very many dimensions", four(0, (1,) * 5000, (1,) * 5000), "too many dimensions"),
    ("one number shown a terabyte of times", four(0, (1000,) * 4, (0,) * 4), r"the shape \(1000, 1000, 1000, 1000\)"),
    ("many that are shown often", [four(0, (2**26,), (0,))] * 20, r"the shape \(67108864,\), 268435456 bytes in full"),
    (
        "a wider type than its storage's",
        call(f"{REBUILD}tensor_v3", UNTYPED, 0, (16,), (1,), False, HOOKS, name("torch.float64")),
        "needs 128 bytes of a storage which has 16",
    ),
    (
        "a quantized tensor of a terabyte",
        quantized(storage(16, kind="torch.QUInt8Storage"), (TERA,), AFFINE),
        "needs 1000000000000 bytes of a storage which has 16",
    ),
    (
        "a quantized tensor that repeats",
        quantized(storage(16, kind="torch.QUInt8Storage"), (2**28,), AFFINE, 0),
        "a quantized tensor that is larger than its storage",
    ),
    (
        "indices beyond the size",
        call(f"{REBUILD}sparse_tensor", SPARSE, (INDICES, VALUES, (0,))),
        "size is inconsistent",
    ),
    ("sizes that are a dict", four(0, call("torch.Size", {TERA: 0}), call("torch.Size", {1: 0})), "without a shape"),
    (
        "scales that are lists of lists",
        quantized(storage(16, kind="torch.QUInt8Storage"), (2,), PER_CHANNEL),
        "without sc",
    ),
    (
        "a sparse tensor of no tensors",
        call(f"{REBUILD}sparse_tensor", SPARSE, (1, 2, (3,))),
        "without indices or values",
    ),
    ("a parameter of no tensor", call(f"{REBUILD}parameter", TERA, False, HOOKS), "a parameter without a tensor"),
    ("hooks", call(f"{REBUILD}parameter", four(0, (4,), (1,)), False, {"a": 1}), "a tensor with hooks"),
    (
        "copies of what repeats",
        call(f"{REBUILD}device_tensor_from_cpu_tensor", four(0, (2**20,), (0,)), name("torch.float64"), "cpu", False),
        "a tensor that is converted from none",
    ),
    ("a nested tensor", call(f"{REBUILD}nested_tensor", 1, 2, 3, 4), r"nested tensor.* tensor\.unbind\(\)"),
    ("a storage made of a number", call("torch.storage.UntypedStorage", TERA), "UntypedStorage as torch.save does not"),
    ("a tensor made of a number", call("torch.Tensor", TERA), "it makes a torch.Tensor as torch.save does not"),
    ("an old tensor made of a number", call("torch.FloatTensor", TERA), "holds an object of torch.FloatTensor"),
    (
        "a new object that is a tensor",
        Code(name("torch.Tensor") + code((TERA,)) + b"\x81"),
        "an object as torch.save do",
    ),
    ("bytes made of a number", call("builtins.bytes", TERA), "its pickle makes no sense"),
    ("an array of bytes made of a number", call("builtins.bytearray", TERA), "a bytearray that is made of no bytes"),
    (
        "an array of NumPy without its numbers",
        call(
            "numpy.core.multiarray.scalar",
            call("numpy.dtype", "U1000000000", False, True),
            call("_codecs.encode", "", "latin1"),
        ),
        "without its numbers",
    ),
    ("text in a code that makes it longer", call("_codecs.encode", "x", "utf-32"), "bytes in the encoding 'utf-32'"),
]

# Each of these would keep busy, or take memory, whoever goes through the pickle or its content.
LAUGHS = [
    ("lists of lists of lists", twice(lambda *items: list(items)), "the same content again and again, too often"),
    ("tuples of tuples of tuples", twice(lambda *items: items), "the same content again and again, too often"),
    ("dicts of dicts of dicts", twice(lambda a, b: {"a": a, "b": b}), "the same content again and again, too often"),
    ("a key that is tuples of tuples", Code(b"}" + twice(lambda *items: items) + b"Ns"), "a key that is no number"),
    (
        "a storage by tuples of tuples",
        storage(4, key=twice(lambda *items: items)),
        "the storage of the type tuple",
    ),
    ("a code of tuples of tuples", call("_codecs.encode", "x", twice(lambda *items: items)), "content again and again"),
    (
        "a layout of tuples",
        call("torch.serialization._get_layout", twice(lambda *items: items)),
        "content again and again",
    ),
    (
        "a function that is a layout",
        Code(call("torch.serialization._get_layout", "torch.strided") + b")R"),
        "unrecognized f",
    ),
    ("a long name", name("x" * 10_000 + ".y"), "holds an object of x{200}, and building it"),
    ("a set of tuples of tuples", call("builtins.set", [twice(lambda *items: items)]), "a key that is no number"),
    (
        "a key of many tuples",
        Code(b"}" + nested(b"", b"\x85") + b"Ns"),
        "a key that is no number, text, or short tuple",
    ),
    ("keys that all have one hash", {(2**61 - 1) * number: 1 for number in range(1, 200)}, "too large a number"),
    ("many lists in each other", nested(b"]", b"a"), "nested more than 100 levels deep"),
    ("many tuples in each other", nested(b"", b"\x85"), "nested more than 100 levels deep"),
    ("many dicts in each other", nested(b"}" + code("x"), b"s"), "nested more than 100 levels deep"),
    ("a list that holds itself", Code(b"]q\x00h\x00a"), "a container that holds itself"),
    ("a dict that holds itself", Code(b"}q\x00" + code("x") + b"h\x00s"), "a container that holds itself"),
    ("sets of one list, again and again", often(["x"] * 100_000, "builtins.set"), "copies its content again and again"),
    ("bytes of one text, again and again", often("x" * 1_000_000, "builtins.bytearray"), "copies its content again"),
    ("a text that is said to be long", Code(b"X\xff\xff\xff\xff"), "it is cut short"),
    (
        "a number of two gigabytes",
        Code(b"\x8b\xff\xff\xff\x7f"),
        r"the operation b'\\x8b', which torch.save does not write",
    ),
    ("what was never kept", Code(b"j\xff\xff\xff\xff"), "its pickle makes no sense"),
    ("a call of nothing", Code(b"R"), "other than arguments"),
    ("more ends than beginnings", Code(b"tttt"), "its pickle makes no sense"),
    ("an operation that nobody knows", Code(b"\xff"), r"the operation b'\\xff', which torch.save does not write"),
    ("an operation of another version", Code(b"\x95" + bytes(8)), r"the operation b'\\x95', which torch.save does not"),
    (
        "a class that is given a state",
        Code(name("collections.OrderedDict") + b"}b"),
        "a state to an object that has no",
    ),
]
ALL = pytest.mark.parametrize(
    ("content", "reason"), [case[1:] for case in CLAIMS + LAUGHS], ids=[case[0] for case in CLAIMS + LAUGHS]
)


@ALL
def test_it_is_refused_with_the_reason(tmp_path, content, reason):
    write_zip(tmp_path / "evil.pth", pickled({"x": content}))
    with pytest.raises(CheckpointError, match=rf"evil\.pth' .*{reason}"):
        read_checkpoint(tmp_path / "evil.pth")


CHILD = """
import sys, time
from pathlib import Path
import torch
from mainspring.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
import resource
save_checkpoint({"x": torch.ones(2)}, sys.argv[2])
read_checkpoint(sys.argv[2])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, -1))
for path in sorted(Path(sys.argv[1]).iterdir()):
    begun = time.perf_counter()
    try:
        read_checkpoint(path)
        outcome = "read"
    except Exception as error:
        outcome = f"{type(error).__name__} {path.name in str(error)} {type(error.__cause__).__name__}"
    print(path.name, outcome, time.perf_counter() - begun < 10, sep=" | ")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process can be limited on Linux")
def test_none_of_them_takes_more_than_256_megabytes(tmp_path):
    """As an archive and as the old format, whose storages are taken before their bytes are looked for."""
    evil = tmp_path / "evil"
    evil.mkdir()
    for number, (_, content, _) in enumerate(CLAIMS + LAUGHS):
        write_zip(evil / f"{number}.pth", pickled({"x": content}))
        write_old(evil / f"{number}_old.pth", as_before_1_6(pickled({"x": content})))
    command = [sys.executable, "-c", CHILD, str(evil), str(tmp_path / "good.pth")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert child.returncode == 0, child.stderr
    lines = [line for line in child.stdout.splitlines() if ".pth | " in line]
    assert len(lines) == 2 * len(CLAIMS + LAUGHS)
    assert [line for line in lines if "CheckpointError True" not in line or "MemoryError" in line] == []
    assert [line for line in lines if not line.endswith("True")] == []


# Archives.


def test_a_compressed_entry_is_refused(tmp_path):
    """It would be a gigabyte of zeros, from a megabyte."""
    path = tmp_path / "evil.pth"
    write_zip(path, pickled({"x": four(0, (4,), (1,))}), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"evil\.pth' is damaged: its entry 'archive/data.pkl' is compressed"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["archive/data.pkl", "archive/DATA.pkl"])
def test_two_entries_of_one_name_are_refused(tmp_path, second):
    """Which of the two torch reads is not for us to guess; it looks for names in any case."""
    path = tmp_path / "evil.pth"
    write_zip(path, pickled({"x": 1}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(second, pickled({"x": tensor(storage(TERA), 0, (TERA,), (1,))}))
    with pytest.raises(CheckpointError, match="has two entries"):
        read_checkpoint(path)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """With one entry that a thousand names stand for, a megabyte would be a gigabyte."""
    path = tmp_path / "evil.pth"
    write_zip(path, pickled({"x": 1}), sizes=(1000, 1000))
    data = bytearray(path.read_bytes())
    first, second = (data.rindex(b"PK\x01\x02", 0, data.rindex(key)) for key in (b"data/0", b"data/1"))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]  # where its header is
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"its entry 'archive/data/[01]' (overlaps another|is described in two)"):
        read_checkpoint(path)


@pytest.mark.parametrize("field", [20, 24])
def test_an_entry_larger_than_the_file_is_refused(tmp_path, field):
    path = tmp_path / "evil.pth"
    write_zip(path, pickled({"x": 1}))
    data = bytearray(path.read_bytes())
    start = data.rindex(b"PK\x01\x02", 0, data.rindex(b"data/0"))
    data[start + field : start + field + 4] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is compressed|described in two ways"):
        read_checkpoint(path)


def test_an_archive_behind_something_else_is_refused(tmp_path):
    path = tmp_path / "evil.pth"
    write_zip(path, pickled({"x": 1}))
    path.write_bytes(b"PK\x03\x04 and a program" + path.read_bytes())
    with pytest.raises(CheckpointError, match="its directory is not where it is said to be"):
        read_checkpoint(path)


def test_an_archive_of_something_else_is_no_checkpoint(tmp_path):
    path = tmp_path / "evil.pth"
    for names in (["notes.txt"], ["a/notes.txt"], ["a/data.pkl", "b/data/0"], ["a/data.pkl", "a/constants.pkl"]):
        with zipfile.ZipFile(path, "w") as archive:
            for entry in names:
                archive.writestr(entry, "hello")
        with pytest.raises(CheckpointError, match=r"cannot be read as a checkpoint: it is an? .*archive"):
            read_checkpoint(path)


def test_an_archive_may_say_its_numbers_in_the_long_way(tmp_path, monkeypatch):
    """As it must from four gigabytes on."""
    path = tmp_path / "a.pth"
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)
    write_zip(path, pickled({"x": four(0, (4,), (1,))}))
    assert read_checkpoint(path)["x"].tolist() == [0, 0, 0, 0]


def test_an_archive_may_have_more_entries_than_sixteen_bits_count(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(66_000):
            archive.writestr(zipfile.ZipInfo(f"archive/{number}"), b"")
    with path.open("rb") as file:
        assert len(read_archive(file, read_ending(file).end_record)) == 66_000


# The old format.


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sizes": (5,)}, "its storage '0' has another size than announced"),
        ({"keys": ("0", "0")}, "lists other storages"),
        ({"keys": ()}, "lists other storages"),
        ({"keys": (0,)}, "lists other storages"),
        ({"sizes": ()}, "cut short"),
        ({"sizes": (4, 4)}, "24 bytes too many"),
    ],
)
def test_storages_of_the_old_format_are_those_announced(tmp_path, options, reason):
    path = tmp_path / "evil.pth"
    content = as_before_1_6(pickled({"x": four(0, (4,), (1,))}))
    write_old(path, content)
    assert read_checkpoint(path)["x"].tolist() == [0, 0, 0, 0]
    write_old(path, content, **options)
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(path)


# Anything at all.


def test_nothing_but_a_clear_error_comes_of_any_pickle(tmp_path):
    """Bytes of a good pickle are changed, doubled and left out; the archive around it is sound."""
    path = tmp_path / "a.pth"
    torch.save({"w": torch.arange(4.0), "more": [1, {"a": (2, "x")}, torch.ones(2, 2).T], "n": OrderedDict(b=1)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    key = next(key for key in entries if key.endswith("data.pkl"))
    good = entries[key]
    generator = random.Random(0)
    outcomes = set()
    for _ in range(600):
        data = bytearray(good)
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(len(data))
            match generator.randrange(4):
                case 0:
                    data[place] = generator.randrange(256)
                case 1:
                    data[place] ^= 1 << generator.randrange(8)
                case 2:
                    data[place:place] = data[place : place + generator.randrange(20)]
                case 3:
                    del data[place : place + generator.randrange(5)]
        with zipfile.ZipFile(path, "w") as archive:
            for other, content in entries.items():
                archive.writestr(other, bytes(data) if other == key else content)
        try:
            outcomes.add(type(read_checkpoint(path)))
        except CheckpointError as error:
            outcomes.add("a.pth" in str(error))
    assert outcomes == {dict, True}


# What would run code, wherever a file is named.


class RunsCode:
    """Unpickling it makes a directory."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_runs_wherever_the_file_is_named(tmp_path, zipped, capsys):
    made, run = tmp_path / "made", tmp_path / "run"
    run.mkdir()
    evil = run / "iter_7.pth"
    content = {"state_dict": nn.Linear(2, 1).state_dict(), "train_loop": {"iter": 7, "epoch": 1}, "x": RunsCode(made)}
    torch.save(content, evil, _use_new_zipfile_serialization=zipped)
    (run / "last_checkpoint").write_text(str(evil))
    save_checkpoint({"state_dict": {}, "train_loop": {"iter": 1, "epoch": 0}}, run / "good.pth")
    url = f"file://{evil}"
    for read in (
        lambda: read_checkpoint(evil),
        lambda: verify_checkpoint(evil),
        lambda: load_checkpoint(nn.Linear(2, 1), evil),
        lambda: load_checkpoint(nn.Linear(2, 1), url),
        lambda: PretrainedInit(str(evil))(nn.Linear(2, 1)),
        lambda: PretrainedInit(url, prefix="x")(nn.Linear(2, 1)),
    ):
        with pytest.raises(
            CheckpointError, match=r"iter_7\.pth' holds an object of .*mkdir, and building it would run code"
        ):
            read()
    assert find_latest_checkpoint(run) == str(run / "good.pth")
    (run / "good.pth").unlink()
    assert find_latest_checkpoint(run) is None
    assert "Passing over a checkpoint" in capsys.readouterr().out
    assert not made.exists()


def test_a_seal_gives_no_trust(tmp_path):
    made = tmp_path / "made"
    write_plain({"x": RunsCode(made)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="would run code"):
        read_checkpoint(tmp_path / "a.pth")
    assert not made.exists()
