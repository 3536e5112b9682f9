"""Configurations that are written: what is read back is equal."""

from __future__ import annotations

import ast
import decimal
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring import Config
from mainspring.config import LazyObject

TEXTS = st.text() | st.sampled_from(
    [
        *("it's", 'a "b"', "a\nb", "\\", "'''", "1e-4", "None", "yes", "~", "# x", "a: b", "{'a': {'b': 1}}", "é😀"),
        *("{{ fileDirname }}", "{{{ $HOME:x }}}", "{{_base_.a}}", "{{x}}", "!!python/name:os.system"),
        *("\u2028", "\x85", "\ufeff", "\x7f"),
    ]
)
NUMBERS = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()
NAMES = st.sampled_from(
    ["lr", "type", "class", "dict", "a-b", "a b", "", "1", "float", "lambda", "print", "globals", "é"]
)
KEYS = NAMES | TEXTS


def values(keys, tuples=True):
    def more(inner):
        lists = st.lists(inner, max_size=4)
        found = lists | st.dictionaries(keys, inner, max_size=4)
        return found | lists.map(tuple) if tuples else found

    return st.recursive(NUMBERS | TEXTS, more, max_leaves=12)


def tops(inner):
    keys = NAMES | st.from_regex(r"[a-z]\w{0,8}", fullmatch=True)
    reserved = ("filename", "text", "pretty_text", "env_variables")
    return st.dictionaries(keys.filter(lambda key: key not in reserved), inner, max_size=4)


def exactly_equal(one, other):
    """Whether two values are equal, and of the same types: 1 is neither 1.0 nor True."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return set(map(typed, one)) == set(map(typed, other)) and all(exactly_equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(exactly_equal, one, other))
    return one == other and str(one) == str(other)


def typed(key):
    return (str if isinstance(key, str) else type(key)), key


@settings(max_examples=150)
@given(tops(values(KEYS | st.integers() | st.tuples(st.integers(), TEXTS) | st.none())))
def test_python_and_yaml_read_back_the_same(content):
    for ending in (".py", ".yaml"):
        cfg = Config(content)
        written = cfg.dump() if ending == ".py" else _dumped(cfg, "yaml")
        back = Config.fromstring(written, ending)
        assert exactly_equal(back.to_dict(), dict(content)), written


@settings(max_examples=80)
@given(tops(values(KEYS, tuples=False)))
def test_json_reads_back_the_same(content):
    written = _dumped(Config(content), "json")
    assert exactly_equal(Config.fromstring(written, ".json").to_dict(), dict(content)), written
    assert json.loads(written) == content, "other readers understand it, too"


def _dumped(cfg, ending):
    made = Config(cfg.to_dict(), filename=f"no_such_file.{ending}")
    return made.dump()


@pytest.mark.parametrize("ending", ["py", "yaml", "json"])
def test_files(ending, tmp_path):
    cfg = Config(
        {"a": {"b": [1, {"c": math.inf}], "d": -math.inf, "é": None}, "not a name": 3, "dict": {"x": 1}, "y": {"z": 1}}
    )
    path = tmp_path / f"kept.{ending}"
    assert cfg.dump(path) is None
    assert Config.fromfile(path) == cfg
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    nan = Config({"a": math.nan})
    nan.dump(path)
    assert math.isnan(Config.fromfile(path).a)


def test_tuples_in_json_are_lists():
    written = _dumped(Config({"betas": (0.9, (1,))}), "json")
    assert json.loads(written) == {"betas": [0.9, [1]]}


def test_the_layout():
    stages = [{"type": "Stage", "width": 64, "norm": {"type": "BN", "momentum": 0.1}}, {"type": "Stage", "width": 128}]
    cfg = Config(
        {
            "model": {"type": "ResNet", "stages": stages, "pair": (1,)},
            "sizes": list(range(60)),
            "keys": {"a.b": 1, "c": {"x": 2}},
            "empty": [{}, [], ()],
        }
    )
    assert cfg.pretty_text == (
        "model = dict(\n"
        "    type='ResNet',\n"
        "    stages=[\n"
        "        dict(type='Stage', width=64, norm=dict(type='BN', momentum=0.1)),\n"
        "        dict(type='Stage', width=128),\n"
        "    ],\n"
        "    pair=(1,),\n"
        ")\n"
        "sizes = [\n"
        "    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,\n"
        "    26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49,\n"
        "    50, 51, 52, 53, 54, 55, 56, 57, 58, 59,\n"
        "]\n"
        "keys = {'a.b': 1, 'c': dict(x=2)}\n"
        "empty = [dict(), [], ()]\n"
    )
    assert Config.fromstring(cfg.pretty_text, ".py") == cfg
    assert max(map(len, cfg.pretty_text.splitlines())) <= 100


def test_classes_and_functions_have_their_dotted_names():
    cfg = Config(
        {"a": decimal.Decimal, "b": len, "c": ast.walk, "d": LazyObject("torch.nn", ("Linear",)), "e": Path("x/y")}
    )
    names = {"a": "decimal.Decimal", "b": "builtins.len", "c": "ast.walk", "d": "torch.nn.Linear", "e": "x/y"}
    for ending in (".py", ".yaml", ".json"):
        text = cfg.dump() if ending == ".py" else _dumped(cfg, ending[1:])
        assert Config.fromstring(text, ending) == names
    assert Config({"a": decimal.Decimal}) == Config({"a": "decimal.Decimal"})


def test_what_cannot_be_read_back(tmp_path):
    thing = object()
    cfg = Config({"model": {"parts": [1, thing]}})
    for ending in ("py", "yaml", "json"):
        with pytest.raises(
            TypeError, match=r"model\.parts\.1 is <object object at .* cannot be written so that it reads back"
        ):
            cfg.dump(tmp_path / f"x.{ending}")
    assert Config.fromstring(cfg.pretty_text, ".py").model.parts == [1, repr(thing)], (
        "the text is for reading by people"
    )
    with pytest.raises(TypeError, match=r"The key 1 of steps is no string, and JSON has no other keys"):
        Config({"steps": {1: 2}}).dump(tmp_path / "x.json")
    with pytest.raises(ValueError, match=r"ends in \.py, \.yaml, \.yml, \.json, not in '\.txt'"):
        cfg.dump(tmp_path / "x.txt")
    for key in ("_base_", "__name"):
        with pytest.raises(ValueError, match=f"The key '{key}' would not be read back"):
            Config({key: "x"}).dump()
    with pytest.raises(ValueError, match=r"model\._delete_ would be read as an order"):
        Config({"model": {"_delete_": True}}).dump()
    assert list(tmp_path.iterdir()) == []


def test_sets_bytes_and_complex_numbers_in_python():
    content = {
        "a": {1, 2},
        "b": set(),
        "c": frozenset({3}),
        "d": b"\x00'",
        "e": complex(1, -math.inf),
        "f": range(3),
        "g": ...,
    }
    assert Config.fromstring(Config(content).dump(), ".py").to_dict() == content
