"""Config and ConfigDict: access, changes, copies, differences, command lines."""

from __future__ import annotations

import argparse
import copy
import json
import pickle
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring import Config, ConfigDict, DictAction
from mainspring.config import ConfigKeyError
from mainspring.config.literals import literal
from mainspring.config.merging import merged


@pytest.fixture
def cfg():
    return Config(
        {
            "model": {"type": "Net", "depth": 3, "stages": [{"width": 1}, {"width": 2}]},
            "lr": 0.1,
            "tags": ("a", {"b": 1}),
        }
    )


def test_access(cfg):
    assert cfg.model.depth == cfg["model"]["depth"] == cfg.get("model").get("depth") == 3
    assert cfg.model.stages[1].width == 2
    assert cfg.tags[1].b == 1
    assert (list(cfg), len(cfg), "lr" in cfg, "x" in cfg) == (["model", "lr", "tags"], 3, True, False)
    assert dict(cfg.items()) == dict(cfg) == {**cfg} == cfg.to_dict()
    assert cfg.get("x", 5) == cfg.model.get("x", 5) == 5
    assert type(cfg.model) is ConfigDict
    assert type(cfg.to_dict()["model"]) is type(cfg.to_dict()["model"]["stages"][0]) is dict
    assert repr(Config({"a": {"b": 1}})) == "Config (path: None): {'a': {'b': 1}}"
    assert json.loads(json.dumps(cfg.model)) == cfg.model


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda cfg: cfg.modle, AttributeError, "has no modle. Did you mean 'model'? There are: model, lr, tags."),
        (lambda cfg: cfg["modle"], KeyError, "has no modle. Did you mean 'model'?"),
        (lambda cfg: cfg.model.dept, AttributeError, "has no model.dept. Did you mean 'depth'?"),
        (lambda cfg: cfg.model.stages[1].widht, AttributeError, "has no model.stages.1.widht. Did you mean 'width'?"),
        (lambda cfg: cfg.model["zzz"], KeyError, "has no model.zzz. There are: type, depth, stages."),
        (lambda cfg: cfg.pop("zzz"), KeyError, "has no zzz"),
        (lambda cfg: cfg.model.pop("zzz"), KeyError, "has no model.zzz"),
        (lambda cfg: delattr(cfg.model, "dept"), AttributeError, "Did you mean 'depth'?"),
        (lambda cfg: cfg.__delitem__("lrr"), KeyError, "Did you mean 'lr'?"),
        (lambda cfg: setattr(cfg, "dump", 1), AttributeError, "write cfg['dump'] = ..."),
        (lambda cfg: setattr(cfg.model, "items", 1), AttributeError, "write cfg['items'] = ..."),
        (lambda cfg: Config({"text": 1}), KeyError, "'text' cannot be a key"),
        (lambda cfg: Config({1: 1}), TypeError, "are strings, got 1"),
        (lambda cfg: Config([1]), TypeError, "cfg_dict must be a dict or None"),
        (lambda cfg: Config.fromstring("a = 1", ".toml"), ValueError, "file_format must be one of .py, .yaml"),
        (lambda cfg: Config.fromstring("a = '{{ fileExtname }}'", ".py"), ValueError, "}} needs a file"),
    ],
)  # fmt: skip
def test_what_is_not_there(cfg, ask, error, message):
    with pytest.raises(error) as raised:
        ask(cfg)
    assert message in str(raised.value)


def test_messages_name_the_file(write):
    path = write(one="model = dict(depth=3)\n")
    with pytest.raises(AttributeError, match=r"The configuration one\.py has no model\.dept\."):
        _ = Config.fromfile(path).model.dept


def test_what_is_set_becomes_a_config_dict(cfg):
    cfg.a = {"b": {"c": 1}}
    cfg["d"] = [{"e": 1}]
    cfg.model.f = ({"g": 1},)
    cfg.model.setdefault("h", {})["i"] = {"j": 1}
    cfg.update({"k": {"l": 1}})
    assert (cfg.a.b.c, cfg.d[0].e, cfg.model.f[0].g, cfg.model.h.i.j, cfg.k.l) == (1, 1, 1, 1, 1)
    inner = ConfigDict(x=1)
    cfg.inner = inner
    inner.x = 2
    assert cfg.inner.x == 2, "a ConfigDict is kept, not copied"
    del cfg.lr, cfg["d"]
    assert "lr" not in cfg
    assert cfg.pop("inner").x == 2


def test_update_goes_into_dicts():
    one = ConfigDict(a=dict(b=1, c=dict(d=1)))
    one.update(a=dict(c=dict(e=2)), f=3)
    assert one == {"a": {"b": 1, "c": {"d": 1, "e": 2}}, "f": 3}
    assert one | {"a": {"b": 5}} == {"a": {"b": 5, "c": {"d": 1, "e": 2}}, "f": 3}
    assert {"g": 1} | one == {"g": 1, **one}
    assert one.a.b == 1
    one |= {"f": 4}
    assert one.f == 4
    one.merge({"a": {"_delete_": True, "z": 1}})
    assert one == {"a": {"z": 1}, "f": 4}
    assert one.popitem() == ("f", 4)
    assert ConfigDict([("a", 1)], b=2) == ConfigDict(OrderedDict(a=1), b=2) == {"a": 1, "b": 2}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda cfg: pickle.loads(pickle.dumps(cfg))])
def test_deep_copies_are_apart(cfg, duplicate):
    other = duplicate(cfg)
    assert other == cfg
    assert type(other.model.stages[0]) is ConfigDict
    other.model.stages[0].width = 9
    other.x = 1
    assert cfg.model.stages[0].width == 1
    assert "x" not in cfg
    with pytest.raises(AttributeError, match=r"model\.dept"):
        _ = other.model.dept


def test_a_shallow_copy_shares_what_is_in_it(cfg):
    other = cfg.copy()
    other.x = 1
    other.model.depth = 4
    assert (cfg.model.depth, "x" in cfg) == (4, False)
    assert type(copy.copy(cfg.model)) is ConfigDict


def test_merge_from_dict(cfg):
    options = {
        "model.depth": 5,
        "model.stages.1.width": 7,
        "new.inner.key": 1,
        "tags": {"_delete_": True, "x": 1},
        "lr": None,
    }
    before = copy.deepcopy(options)
    cfg.merge_from_dict(options)
    assert cfg == {
        "model": {"type": "Net", "depth": 5, "stages": [{"width": 1}, {"width": 7}]},
        "lr": None,
        "tags": {"x": 1},
        "new": {"inner": {"key": 1}},
    }
    assert options == before
    cfg.merge_from_dict({"model": {"depth": 6}, "model.type": "Other"})
    assert (cfg.model.depth, cfg.model.type) == (6, "Other")


@pytest.mark.parametrize(
    ("options", "lists", "error", "message"),
    [
        ({"lr.x": 1}, True, TypeError, "lr is a dict ({'x': 1}), but in the base it is 0.1 (float)"),
        (
            {"model.stages.9.width": 1},
            True,
            ConfigKeyError,
            "model.stages.9 is beyond the end of the list model.stages",
        ),
        ({"model.stages.0.width": 1}, False, TypeError, "model.stages is a dict"),
        ({"model.stages.width": 1}, True, TypeError, "let the keys be their indexes"),
        ({"model..depth": 1}, True, ConfigKeyError, "'model..depth' is no key"),
        ({3: 1}, True, ConfigKeyError, "3 is no key"),
        ({"a": 1, "a.b": 2}, True, ConfigKeyError, "'a.b' goes into 'a', which is given as 1"),
        ([1], True, TypeError, "options must be a dict"),
    ],
)
def test_merge_from_dict_refuses(cfg, options, lists, error, message):
    before = cfg.to_dict()
    with pytest.raises(error) as raised:
        cfg.merge_from_dict(options, allow_list_keys=lists)
    assert message in str(raised.value)
    assert cfg.to_dict() == before


TREES = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
).filter(lambda tree: isinstance(tree, dict))


@given(TREES, TREES)
def test_merging_keeps_both_sides(base, changes):
    kept = copy.deepcopy((base, changes))
    try:
        result = merged(base, changes)
    except TypeError:
        return
    finally:
        assert (base, changes) == kept
    assert merged(result, changes) == result, "to say it twice changes nothing"
    assert merged(base, {}) == base
    assert merged({}, changes) == changes
    assert merged(base, {"a": {"_delete_": True, "x": 1}})["a"] == {"x": 1}


def test_diff(write):
    one = write(one="model = dict(depth=3, type='Net')\nlr = 0.1\n")
    two = write(two="lr = 0.2\nmodel = dict(type='Net', depth=3)\n")
    assert Config.diff(one, two).splitlines() == [
        "--- one.py", "+++ two.py", "@@ -1,2 +1,2 @@", "-lr = 0.1", "+lr = 0.2", " model = dict(depth=3, type='Net')",
    ]  # fmt: skip
    assert Config.diff(one, Config.fromfile(one)) == ""


# Command lines


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-1", -1), ("1.5", 1.5), ("1e-4", 1e-4), ("true", True), ("False", False), ("None", None),
        ("none", "none"),
        ("x", "x"), ("", ""), (" x ", "x"), ("[1,2]", [1, 2]), ("(1,2)", (1, 2)), ("1,2", [1, 2]),
        ("[(1,2),x]", [(1, 2), "x"]),
        ("[]", []), ("()", ()), ("(1)", (1,)), ("[[1,2],(3)]", [[1, 2], (3,)]), ("'1'", "1"), ('"a,b"', "a,b"),
        ("[1,'a b']", [1, "a b"]), ("a=b", "a=b"), ("{'a': [1]}", {"a": [1]}), ("it's", "it's"), ("f(a,b)", "f(a,b)"),
        ("a.b", "a.b"), ("1,2,", [1, 2]),
    ],
)  # fmt: skip
def test_values_on_a_command_line(text, value):
    found = literal(text)
    assert found == value
    assert type(found) is type(value)


def test_dict_action():
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", nargs="+", action=DictAction)
    found = parser.parse_args(["--set", "a.b=1", "c=x=y", "--set", "d=[1,(2,z)]"]).set
    assert found == {"a.b": 1, "c": "x=y", "d": [1, (2, "z")]}


@pytest.mark.parametrize(
    ("pair", "message"), [("a", "'a' is no pair"), ("=1", "'=1' is no pair"), ("a=[1", "do not match")]
)
def test_dict_action_refuses(pair, message, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", nargs="+", action=DictAction)
    with pytest.raises(SystemExit):
        parser.parse_args(["--set", pair])
    assert message in capsys.readouterr().err


def test_auto_argparser(write, monkeypatch, capsys):
    write(one="lr = 0.1\nname = 'a%b'\nflag = False\nmodel = dict(depth=3, sizes=[1, 2], neck=None)\n")
    program = ["prog", "one.py", "--lr", "1", "--flag", "--model.sizes", "3", "4", "--model.neck", "[1,x]"]
    monkeypatch.setattr("sys.argv", program)
    parser, cfg = Config.auto_argparser("A program.")
    given = vars(parser.parse_args())
    assert given == {"config": "one.py", "lr": 1.0, "flag": True, "model.sizes": [3, 4], "model.neck": [1, "x"]}
    del given["config"]
    cfg.merge_from_dict(given)
    assert cfg == {"lr": 1.0, "name": "a%b", "flag": True, "model": {"depth": 3, "sizes": [3, 4], "neck": [1, "x"]}}
    assert parser.parse_args(["one.py", "--flag", "false"]).flag is False
    monkeypatch.setattr("sys.argv", ["prog", "one.py", "--help"])
    with pytest.raises(SystemExit):
        Config.auto_argparser("A program.")[0].parse_args()
    assert "instead of 'a%b'" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["prog"])
    with pytest.raises(SystemExit):
        Config.auto_argparser()
    assert "required: config" in capsys.readouterr().err
