import enum
import io
import struct
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mainspring.utils import from_plain, to_plain

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
    return torch.load(file, weights_only=True)


def fingerprint(value):
    """Return something that two values share only if they are alike in types, order and every bit."""
    if isinstance(value, torch.Tensor):
        return "tensor", value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        content = fingerprint(value.ravel().tolist()) if value.dtype.hasobject else value.tobytes("A")
        return "array", value.dtype.str, value.shape, value.flags.fnc, content
    if isinstance(value, np.generic):
        return type(value), value.dtype.str, value.tobytes()
    if isinstance(value, dict):
        items = tuple((fingerprint(k), fingerprint(v)) for k, v in value.items())
        return type(value), getattr(value, "default_factory", None), items
    if isinstance(value, (list, tuple, deque)):
        return type(value), getattr(value, "maxlen", None), tuple(fingerprint(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(map(fingerprint, value))
    if isinstance(value, float):
        return "float", struct.pack("d", value)
    if isinstance(value, complex):
        return "complex", struct.pack("dd", value.real, value.imag)
    return type(value), value


integers = st.integers(-(2**70), 2**70) | st.integers(1 - 2**2039, 2**2039 - 1)
numbers = st.builds(
    lambda kind, number: kind(number),
    st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int64, np.bool_, np.complex64, np.str_]),
    st.integers(-100, 100),
)
keys = (
    st.text(max_size=4)
    | integers
    | st.booleans()
    | st.none()
    | st.tuples(integers, st.text(max_size=2))
    | numbers
    | st.binary(max_size=1)
    | st.frozensets(integers, max_size=2)
    | st.sampled_from([Path("a"), Path("a", "b")])
)
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
arrays = st.builds(
    lambda dtype, shape, order: np.arange(int(np.prod(shape))).reshape(shape).astype(dtype, order=order),
    st.sampled_from(["?", "u1", "<u2", ">i4", "<i8", "<f2", "<f4", ">f8", "<c8", "longdouble", "<U3", "S2", "O"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from("CF"),
)
values = st.recursive(
    scalars | tensors | numbers | arrays,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4).map(OrderedDict)
        | st.dictionaries(keys, inner, max_size=4).map(lambda items: defaultdict(list, items))
        | st.sets(keys, max_size=3)
        | st.frozensets(keys, max_size=3)
        | st.lists(keys, max_size=5).map(Counter)
        | st.builds(deque, st.lists(inner, max_size=4), st.none() | st.integers(4, 6))
    ),
    max_leaves=10,
)


@settings(deadline=None, max_examples=200)
@given(values)
def test_values_are_read_back_safely_in_their_types_and_bits(value):
    plain = to_plain(value)
    read = saved_and_read(plain)
    assert fingerprint(read) == fingerprint(plain)
    assert fingerprint(from_plain(read)) == fingerprint(value)
    assert fingerprint(to_plain(plain)) == fingerprint(plain), "what is plain already stays as it is"


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, (2.5, "x")], "b": {None: True}, "c": {1, 2}},
        OrderedDict(b=1, a=2),
        Counter("aab"),
        torch.Size([2, 3]),
        {(1, 2): torch.float16},
    ],
)
def test_what_torch_reads_by_itself_stays_as_it_is(value):
    assert fingerprint(to_plain(value)) == fingerprint(value)
    assert type(saved_and_read(to_plain(value))) is type(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.array([1.0, 2.0], "<f4"), {"dtype": "<f4", "shape": (2,), "order": "C", "data": torch.tensor([1.0, 2.0])}),
        (deque([1], 3), {"items": [1], "maxlen": 3}),
        (defaultdict(int, a=1), {"factory": "int", "items": {"a": 1}}),
        (Path("a") / "b", {"path": str(Path("a") / "b")}),
    ],
)
def test_a_person_can_read_what_stands_for_others(value, plain):
    read = saved_and_read(to_plain(value))
    assert type(value).__name__.removeprefix("Posix").removeprefix("Windows") in read.pop("mainspring.type")
    assert fingerprint(read) == fingerprint(plain)


def test_an_array_can_be_written_to_again_and_none_of_its_memory_is_shared():
    frozen = np.frombuffer(b"abcd", np.uint8)
    read = from_plain(to_plain({"a": frozen}))["a"]
    read += 1
    assert (read.tobytes(), frozen.tobytes()) == (b"bcde", b"abcd")


def test_objects_in_an_array_may_be_lists():
    value = np.empty((2, 1), dtype=object)
    value[0, 0], value[1, 0] = [1, 2], deque([3])
    read = from_plain(saved_and_read(to_plain(value)))
    assert (read.shape, read[0, 0], read[1, 0]) == ((2, 1), [1, 2], deque([3]))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Kind.SMALL, "small"),
        (Level.HIGH, 3),
        (Half(0.5), 0.5),
        (Data(b"x"), b"x"),
        (Point(1, Point(2, 3)), (1, (2, 3))),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (defaultdict(lambda: 0, a=1), {"a": 1}),
        (PurePosixPath("a/b"), "a/b"),
        ({Level.HIGH: [Half(0.5)]}, {3: [0.5]}),
        (np.array([(1, 2.0)], dtype="i4,f8"), [(1, 2.0)]),
    ],
)
def test_the_nearest_plain_value_is_taken_only_where_that_is_good_enough(value, plain):
    result = to_plain(value, exact=False)
    assert fingerprint(result) == fingerprint(plain)
    assert fingerprint(saved_and_read(result)) == fingerprint(plain)
    with pytest.raises(TypeError, match="cannot be saved"):
        to_plain(value)


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
        ({"when": np.datetime64("2020-01-01")}, r"^checkpoint\['when'\] is a numpy.datetime64"),
        ({"long": np.longdouble(1)}, r"^checkpoint\['long'\] is a numpy.longdouble"),
        ({"f": len}, r"^checkpoint\['f'\] is a builtins.builtin_function_or_method"),
        ({"b": bytearray(b"x")}, r"^checkpoint\['b'\] is a builtins.bytearray"),
        ({"n": 2**2040}, r"^checkpoint\['n'\] is a number of 2041 bits; at most 2039"),
        (
            {"p": [Point(1, 2)]},
            r"^checkpoint\['p'\]\[0\] is a .*\.Point.*Save tuple\(\.\.\.\).*make it with Point\(\*saved\)",
        ),
        ({"c": Colour.RED}, r"^checkpoint\['c'\] is a .*\.Colour.*Save its value, and make it with Colour\(saved\)"),
        ({"m": MappingProxyType({})}, r"^checkpoint\['m'\] is a builtins.mappingproxy.*Save dict\(\.\.\.\) of it"),
        ({"h": Half(1)}, r"^checkpoint\['h'\] is a .*\.Half.*Save float\(\.\.\.\) of it, and make the Half of that"),
        ({"d": defaultdict(lambda: 0)}, r"^checkpoint\['d'\] is a defaultdict of <function.*Save dict\(\.\.\.\)"),
        ({"a": np.zeros(1, "i4,f8")}, r"^checkpoint\['a'\] is a NumPy array of the type \[\('f0'.*Save its fields"),
        ({"a": np.ma.masked_array([1])}, r"^checkpoint\['a'\] is a numpy.*MaskedArray.*Save np.asarray\(\.\.\.\)"),
        ({"mainspring.type": "x"}, r"^checkpoint has the key 'mainspring.type', which is kept for .*Take another key"),
        ({Point(1, 2): 3}, r"^checkpoint's Point\(x=1, y=2\) is a .*\.Point"),
    ],
)
def test_what_cannot_be_saved_is_named_by_its_place(value, message):
    with pytest.raises(TypeError, match=message):
        to_plain(value)


def test_the_place_begins_as_the_caller_says():
    with pytest.raises(TypeError, match=r"^state\['x'\] is a"):
        to_plain({"x": object()}, "state")


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_refused_when_they_are_saved(layout):
    nested = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=layout)
    with pytest.raises(TypeError, match=r"^checkpoint\['n'\] is a nested tensor.*Save its parts, tensor.unbind\(\)"):
        to_plain({"n": nested})


@pytest.mark.parametrize(
    ("plain", "error"),
    [
        ({"mainspring.type": "subprocess.Popen", "items": ["ls"]}, ValueError),
        (
            {"mainspring.type": "numpy.ndarray", "dtype": "O", "shape": (1,), "order": "C", "data": torch.ones(1)},
            ValueError,
        ),
        (
            {"mainspring.type": "numpy.ndarray", "dtype": "<f4", "shape": (9,), "order": "C", "data": torch.ones(1)},
            TypeError,
        ),
        ({"mainspring.type": "numpy.generic", "dtype": "O", "value": 1}, ValueError),
        ({"mainspring.type": "defaultdict", "factory": "eval", "items": {}}, KeyError),
        ({"mainspring.type": "deque"}, KeyError),
    ],
)
def test_what_stands_for_nothing_that_is_known_is_refused(plain, error):
    with pytest.raises(error):
        from_plain({"a": [plain]})


def test_what_is_plain_is_kept_and_shared_as_it_was():
    shared = [deque([1])]
    plain = to_plain(shared)
    content = {"a": plain, "b": (plain, 2), "c": (1, 2)}
    read = from_plain(content)
    assert read is content
    assert read["a"] is plain
    assert read["b"][0] is plain
    assert plain == [deque([1])]
