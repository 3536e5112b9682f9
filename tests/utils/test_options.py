import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from mainspring.utils import check_type, options_from


@dataclasses.dataclass(frozen=True)
class Options:
    length: int
    rate: float = 0.5
    name: str | None = None
    mode: Literal["min", "max"] = "min"
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1, but it is {self.length}.")


def test_a_dict_becomes_the_dataclass():
    assert options_from(Options, {"length": 3, "rate": 1, "mode": "max"}, "cfg") == Options(3, 1, None, "max")


def test_an_instance_is_handed_on():
    options = Options(3)
    assert options_from(Options, options, "cfg") is options


def test_none_means_the_defaults():
    @dataclasses.dataclass(frozen=True)
    class Free:
        seed: int = 4

    assert options_from(Free, None, "cfg") == Free(4)
    with pytest.raises(TypeError, match=r"cfg\.length is missing: cfg needs it"):
        options_from(Options, None, "cfg")


def test_an_unknown_key_is_named_with_the_nearest():
    with pytest.raises(
        ValueError,
        match=r"^cfg\.lenght: there is no such option\. Did you mean 'length'\?"
        r" The options are: length, rate, name, mode, extra\.$",
    ):
        options_from(Options, {"lenght": 3}, "cfg")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"length": "3"}, r"cfg\.length must be an integer, but it is '3' \(str\)"),
        ({"length": True}, r"cfg\.length must be an integer, but it is True \(bool\)"),
        ({"length": 3.0}, r"cfg\.length must be an integer"),
        ({"length": 3, "rate": "fast"}, r"cfg\.rate must be a number, but it is 'fast'"),
        ({"length": 3, "rate": False}, r"cfg\.rate must be a number"),
        ({"length": 3, "name": 5}, r"cfg\.name must be a string or None, but it is 5"),
        ({"length": 3, "mode": "mean"}, r"cfg\.mode must be 'min' or 'max', but it is 'mean'"),
        ({"length": 3, "extra": [1]}, r"cfg\.extra must be a dict, but it is \[1\]"),
        ([("length", 3)], r"cfg must be a dict of options, but it is \[\('length', 3\)\] \(list\)"),
    ],
)
def test_a_wrong_type_is_named_by_its_path(given, message):
    with pytest.raises(TypeError, match=message):
        options_from(Options, given, "cfg")


def test_what_the_dataclass_refuses_begins_with_the_path():
    with pytest.raises(ValueError, match=r"^cfg\.length must be at least 1, but it is 0\.$") as caught:
        options_from(Options, {"length": 0}, "cfg")
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, float), (3, int | None), (None, int | None), ([1], list[str]), ("a", Literal["a"]), (object(), Any),
        ({}, Mapping[str, int]), (None, None), (True, bool), ("x", str | dict[str, int]),
    ],
)  # fmt: skip
def test_what_fits(value, expected):
    check_type(value, expected, "cfg")


def test_a_literal_is_exact():
    with pytest.raises(TypeError, match="cfg must be 1, but it is True"):
        check_type(True, Literal[1], "cfg")
