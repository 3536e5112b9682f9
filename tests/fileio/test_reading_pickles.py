import collections
import copyreg
import datetime
import decimal
import io
import os
import pathlib
import pickle
import pickletools
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from mainspring.fileio import dump, load, put

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
DTYPES = (
    st_numpy.scalar_dtypes()
    | st_numpy.unicode_string_dtypes()
    | st_numpy.byte_string_dtypes()
    | st_numpy.array_dtypes()
    | st_numpy.nested_dtypes()
)


def read(content, **kwargs):
    return load(io.BytesIO(content), "pkl", **kwargs)


def back(value, protocol):
    return read(pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 10**50, 1.5, 1 + 2j, "é\0", b"", b"\0\xff", bytearray(b"x"), {1, 2}, frozenset([1])),
        *(range(3), slice(1, 2), int, float, np.float32, torch.float32, torch.Size([2, 3]), torch.device("cpu")),
        *(datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(3), decimal.Decimal("1.2")),
        *(
            pathlib.Path("a/b"),
            pathlib.PureWindowsPath("a/b"),
            collections.OrderedDict(a=1),
            collections.Counter("aab"),
        ),
        *(collections.defaultdict(list, a=[1]), collections.deque([1], 3)),
        *(np.float32(1.5), np.bool_(True), np.str_("ab"), np.timedelta64(3, "s"), np.datetime64("2020-01-02")),
    ],
    ids=repr,
)
def test_plain_values(value, protocol):
    result = back(value, protocol)
    assert type(result) is type(value)
    assert result == value


@pytest.mark.parametrize("protocol", [2, 5])
@settings(max_examples=50)
@given(st_numpy.arrays(DTYPES, st_numpy.array_shapes(min_dims=0, min_side=0, max_dims=3)), st.booleans())
def test_arrays(protocol, array, transposed):
    array = array.T if transposed else array
    result = back(array, protocol)
    assert type(result) is np.ndarray
    assert result.dtype == array.dtype
    assert result.shape == array.shape
    assert result.tobytes() == array.tobytes()
    assert result.flags.writeable


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_of_objects(protocol):
    value = np.array([None, "a", [1, 2], [3, np.arange(2)]], object).reshape(2, 2)
    result = back({"list": [value]}, protocol)["list"][0]
    assert result.shape == (2, 2)
    assert result[1, 0] == [1, 2]
    assert result[1, 1][1].tolist() == [0, 1]


@pytest.mark.parametrize("protocol", [2, 5])
def test_an_array_in_several_places_is_one_wherever_it_is(protocol):
    array = np.arange(3)
    value = {"a": array, "b": [array, (array, [array])], "c": collections.deque([array])}
    value["value"] = value
    result = back(value, protocol)
    assert result["value"] is result
    assert result["a"].tolist() == [0, 1, 2]
    found = [result["b"][0], result["b"][1][0], result["b"][1][1][0], result["c"][0]]
    assert all(array is result["a"] for array in found)


@pytest.mark.parametrize("protocol", [2, 5])
def test_tensors(protocol):
    base = torch.arange(6.0).reshape(2, 3)
    value = [base[:, 1], torch.ones(2, dtype=torch.bfloat16, requires_grad=True), torch.nn.Parameter(base)]
    result = back(value, protocol)
    for old, new in zip(value, result, strict=True):
        assert type(new) is type(old)
        assert new.requires_grad is old.requires_grad
        assert torch.equal(new, old)


def test_what_python_2_wrote():
    written = (
        b"\x80\x02}q\x00(U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x04\x01\x00\xff\x7ftbX\x01\x00\x00\x00bc__builtin__\nxrange\nK\x00K\x02\x86Ru."
    )
    for options in ({"encoding": "latin1"}, {"encoding": "bytes"}):
        result = read(written, **options)
        assert result["b"] == range(2)
        assert [value.tolist() for value in result.values() if isinstance(value, np.ndarray)] == [[1, 32767]]


class Mine:
    def __init__(self):
        self.value = 3

    def __eq__(self, other):
        return self.value == other.value

    __hash__ = None


def test_a_class_is_refused_by_name_unless_it_is_trusted(at):
    dump([np.arange(2), Mine()], at("file.pkl"))
    with pytest.raises(ValueError, match=rf"names {__name__}\.Mine, which is not plain data.*add trust=True") as caught:
        load(at("file.pkl"))
    assert any(at("file.pkl") in note for note in caught.value.__notes__)
    assert load(at("file.pkl"), trust=True)[1] == Mine()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch ran",)),
        (subprocess.call, (["touch", "ran"],)),
        (eval, ("open('ran', 'w')",)),
        (exec, ("open('ran', 'w')",)),
        (getattr, (dict, "fromkeys")),
        (__import__, ("os",)),
        (open, ("ran", "w")),
        (torch.load, ("ran",)),
        (torch.hub.load, ("ran",)),
        (np.load, ("ran",)),
        (np.fromfile, ("ran",)),
        (pathlib.Path.touch, (pathlib.Path("ran"),)),
        (collections.OrderedDict.fromkeys, ("ab",)),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_is_called(tmp_path, monkeypatch, function, arguments, protocol):
    class Call:
        def __reduce__(self):
            return function, arguments

    monkeypatch.chdir(tmp_path)
    written = pickle.dumps({"a": [Call()]}, protocol)
    with pytest.raises(ValueError, match="which is not plain data"):
        read(written)
    assert os.listdir(tmp_path) == []


def test_a_dotted_name_leads_nowhere():
    with pytest.raises(ValueError, match=r"names collections\.OrderedDict\.fromkeys"):
        read(b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.")


@pytest.mark.parametrize("name", ["numpy\ndtype", "torch._utils\n_rebuild_tensor_v2", "collections\nCounter"])
def test_what_a_pickle_may_call_it_may_not_alter(name):
    written = f"\x80\x02c{name}\n}}X\x04\x00\x00\x00nameX\x01\x00\x00\x00xsb.".encode("latin-1")
    with pytest.raises(pickle.UnpicklingError, match=rf"tries to alter {name.replace(chr(10), '.')}: do not trust it"):
        read(written)


@pytest.mark.parametrize("kind", [collections.OrderedDict, list, datetime.date, np.float32, torch.Size])
def test_what_is_written_in_c_cannot_be_altered(kind):
    written = f"\x80\x02c{kind.__module__}\n{kind.__name__}\nN}}X\x04\x00\x00\x00evilX\x01\x00\x00\x00xs\x86b."
    with pytest.raises(TypeError):
        read(written.encode("latin-1"))
    assert not hasattr(kind, "evil")


def test_no_other_encoding_than_that_of_bytes():
    with pytest.raises(pickle.UnpicklingError, match="asks for the encoding 'idna'"):
        read(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00idna\x86R.")


def test_no_extension_registered_elsewhere():
    copyreg.add_extension("os", "system", 0xF0)
    try:
        with pytest.raises(ValueError, match=r"names os\.system"):
            read(b"\x80\x02\x82\xf0.")
    finally:
        copyreg.remove_extension("os", "system", 0xF0)


class Forged:
    """Pickled as an array whose data type has the state given here, and eight bytes of data."""

    def __init__(self, code, state, shape=(1,), data=b"A" * 8):
        self.code, self.state, self.shape, self.data = code, state, shape, data

    def __reduce__(self):
        dtype = ForgedType(self.code, self.state)
        reconstruct, arguments, _ = np.arange(1).__reduce__()
        return reconstruct, arguments, (1, self.shape, dtype, False, self.data)


class ForgedType:
    def __init__(self, code, state):
        self.code, self.state = code, state

    def __reduce__(self):
        return np.dtype, (self.code, False, True), self.state


@pytest.mark.parametrize(
    "forged",
    [
        Forged("V8", (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)),  # bytes as pointers to objects
        Forged("V8", (3, "|", (np.dtype("O"), (1,)), None, None, 8, 1, 0)),
        Forged("V8", (3, "|", None, ("a",), {"a": (np.dtype("f8"), 100)}, 8, 1, 0)),  # a field out of bounds
        Forged("V8", (3, "|", None, ("a",), {"a": (np.dtype("f8"), -8)}, 8, 1, 0)),
        Forged("i8", (3, "<", None, None, None, -1, -1, 0), shape=(1000,)),
        Forged("i8", (3, "<", None, None, None, -1, -1, 0), shape=(-1,)),
        Forged("i8", (3, "<", None, None, None, -1, -1, 0), shape=(2**62, 4), data=b""),
        Forged("O", (3, "|", None, None, None, -1, -1, 63)),
    ],
    ids=range(8),
)
def test_a_forged_array_is_refused(forged):
    written = pickle.dumps(forged)
    with pytest.raises((ValueError, TypeError)):
        read(written)


def test_a_size_in_the_state_is_not_believed():
    forged = Forged("S8", (3, "|", None, None, None, 8000, 1, 0))
    assert read(pickle.dumps(forged)).tolist() == [b"A" * 8]


def test_a_file_that_is_no_pickle(tmp_path):
    put(b"no pickle", tmp_path / "file.pkl")
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path / "file.pkl")


def test_dumps_are_of_a_protocol_that_every_python_3_reads():
    opcode, argument, _ = next(pickletools.genops(dump([1], file_format="pkl")))
    assert (opcode.name, argument) == ("PROTO", 4)
