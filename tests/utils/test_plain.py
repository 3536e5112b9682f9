import enum
import io
import struct
from collections import Counter, OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mainspring.utils import to_plain

Point = namedtuple("Point", ["x", "y"])


class Colour(enum.StrEnum):
    RED = "red"


class Kind(str, enum.Enum):  # noqa: UP042 (its text is another than its value)
    SMALL = "small"


class Level(enum.IntEnum):
    HIGH = 3


class Half(float):
    pass


class Data(bytes):
    pass


def saved_and_read(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    with torch.serialization.safe_globals([bytes]):
        return torch.load(file, weights_only=True)


def fingerprint(value):
    """Return something that two plain values share only if they are alike in types, order and every bit."""
    if isinstance(value, torch.Tensor):
        return "tensor", value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return "dict", [(fingerprint(k), fingerprint(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), tuple(fingerprint(item) for item in value)
    if isinstance(value, set):
        return "set", Counter(map(fingerprint, value))
    if isinstance(value, float):
        return "float", struct.pack("d", value)
    if isinstance(value, complex):
        return "complex", struct.pack("dd", value.real, value.imag)
    return type(value), value


integers = st.integers(-(2**70), 2**70) | st.integers(1 - 2**2039, 2**2039 - 1)
keys = st.text(max_size=4) | integers | st.booleans() | st.none() | st.tuples(integers, st.text(max_size=2))
scalars = (
    st.none()
    | st.booleans()
    | integers
    | st.floats(allow_nan=True)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from([torch.float32, torch.bfloat16, torch.bool, torch.device("cpu"), torch.device("cuda:1")])
)
tensors = st.builds(
    lambda dtype, shape: torch.arange(int(np.prod(shape))).reshape(shape).to(dtype),
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]),
    st.lists(st.integers(0, 3), max_size=3),
)
plain_values = st.recursive(
    scalars | tensors,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None, max_examples=150)
@given(plain_values)
def test_plain_values_stay_as_they_are_and_are_read_back_safely(value):
    plain = to_plain(value)
    assert fingerprint(plain) == fingerprint(value)
    assert fingerprint(saved_and_read(plain)) == fingerprint(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Kind.SMALL, "small"),
        (Level.HIGH, 3),
        (Half(0.5), 0.5),
        (Data(b"x"), b"x"),
        (np.float16(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(1.5), 1.5),
        (np.array([1, None, "a"], dtype=object), [1, None, "a"]),
        (Path("a") / "b", str(Path("a") / "b")),
        (Point(1, Point(2, 3)), (1, (2, 3))),
        (torch.Size([2, 3]), (2, 3)),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (frozenset({1}), {1}),
        ({Level.HIGH: [np.float32(0.5)]}, {3: [0.5]}),
    ],
)
def test_what_becomes_of_others(value, plain):
    result = to_plain(value)
    assert fingerprint(result) == fingerprint(plain)
    assert fingerprint(saved_and_read(result)) == fingerprint(plain)


def test_a_parameter_becomes_a_tensor_that_shares_its_memory():
    parameter = nn.Parameter(torch.ones(2))
    result = to_plain({"w": parameter})["w"]
    assert type(result) is torch.Tensor
    assert not result.requires_grad
    assert result.data_ptr() == parameter.data_ptr()


def test_tied_weights_stay_tied():
    weight = torch.ones(3)
    read = saved_and_read(to_plain({"a": weight, "b": weight}))
    assert read["a"].data_ptr() == read["b"].data_ptr()


def test_a_state_dict_keeps_the_version_numbers_of_modules():
    state_dict = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).state_dict()
    read = saved_and_read(to_plain(state_dict))
    assert list(read) == list(state_dict)
    assert read._metadata == dict(state_dict._metadata)
    assert read._metadata["1"] == {"version": 2}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {"b": object()}]}, r"^checkpoint\['a'\]\[1\]\['b'\] is a builtins.object, which cannot be saved"),
        ({"hook": nn.Linear(1, 1)}, r"^checkpoint\['hook'\] is a torch.nn.modules.linear.Linear.*state_dict\(\)"),
        ({"when": np.datetime64("2020-01-01")}, r"^checkpoint\['when'\] is a datetime.date"),
        ({"long": np.longdouble(1)}, r"^checkpoint\['long'\] is a numpy.longdouble"),
        ({"f": len}, r"^checkpoint\['f'\] is a builtins.builtin_function_or_method"),
        ({"b": bytearray(b"x")}, r"^checkpoint\['b'\] is a builtins.bytearray"),
        ({"s": {frozenset({1})}}, r"^checkpoint\['s'\] holds frozenset\(\{1\}\) as a key or in a set.*Take a tuple"),
        ({frozenset({1}): 1}, r"^checkpoint holds frozenset\(\{1\}\) as a key"),
        ({"n": 2**2040}, r"^checkpoint\['n'\] is a number of 2041 bits; at most 2039"),
    ],
)
def test_what_cannot_be_saved_is_named_by_its_place(value, message):
    with pytest.raises(TypeError, match=message):
        to_plain(value)


def test_the_place_begins_as_the_caller_says():
    with pytest.raises(TypeError, match=r"^state\['x'\] is a"):
        to_plain({"x": object()}, "state")
