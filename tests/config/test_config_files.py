"""Configurations in files: bases, templates, formats, and what is said where one is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mainspring import Config
from mainspring.config import ConfigKeyError, ConfigParsingError

BASE = """
model = dict(type='ResNet', depth=50, stages=[dict(width=64), dict(width=128)])
optimizer = dict(type='SGD', lr=0.1, betas=(0.9, 0.99))
epochs = 10
"""


def test_a_file_changes_what_its_base_says(write):
    child = write(
        base=BASE,
        child="_base_ = 'base.py'\nmodel = dict(depth=101)\noptimizer = dict(_delete_=True, type='Adam')\nseed = 3\n",
    )
    assert Config.fromfile(child).to_dict() == {
        "model": {"type": "ResNet", "depth": 101, "stages": [{"width": 64}, {"width": 128}]},
        "optimizer": {"type": "Adam"},
        "epochs": 10,
        "seed": 3,
    }


def test_several_bases_in_other_directories_and_formats(write):
    child = write(
        {
            "_base_/schedule.yaml": "epochs: 10\nlr: 1e-4\n",
            "_base_/data.json": '{"data": {"root": "x"}}',
            "own/child.py": "_base_ = ['../_base_/schedule.yaml', '../_base_/data.json']\ndata = dict(size=3)\n",
        }
    )
    cfg = Config.fromfile(child)
    assert cfg == {"epochs": 10, "lr": "1e-4", "data": {"root": "x", "size": 3}}
    assert cfg.filename == child
    assert next(line for line in cfg.text.splitlines() if line.endswith((".yaml", ".json", ".py"))).endswith(
        "schedule.yaml"
    )
    assert cfg.text.rstrip().endswith("data = dict(size=3)")


def test_numbers_change_items_of_a_list(write):
    child = write(base=BASE, child="_base_ = 'base.py'\nmodel = dict(stages={'1': dict(width=99)})\n")
    assert Config.fromfile(child).model.stages == [{"width": 64}, {"width": 99}]
    child = write(child="_base_ = 'base.py'\nmodel = dict(stages={'2': dict(width=99)})\n")
    with pytest.raises(ConfigKeyError, match=r"model\.stages\.2 is beyond the end .* 2 items, 0 to 1") as raised:
        Config.fromfile(child)
    assert raised.value.__notes__ == ["(in the configuration child.py)"]


def test_marks_that_have_nothing_to_delete_are_gone(write):
    cfg = Config.fromfile(write(one="model = dict(_delete_=True, neck=dict(_delete_=True, width=3))\n"))
    assert cfg == {"model": {"neck": {"width": 3}}}


def test_a_dict_does_not_change_a_number(write):
    child = write(base=BASE, child="_base_ = 'base.py'\nepochs = dict(max=3)\n")
    with pytest.raises(
        TypeError, match=r"epochs is a dict \(\{'max': 3\}\), but in the base it is 10 \(int\).*_delete_"
    ):
        Config.fromfile(child)


def test_what_a_program_defines_and_imports_is_no_setting(write):
    text = (
        "import math\nfrom pathlib import Path\nfrom math import pi\n"
        "def half(x):\n    return x / 2\n"
        "class Helper: pass\nscale = lambda x: x\n_private = 1\n__hidden = 2\nlr = half(3)\n"
    )
    assert Config.fromfile(write(one=text)) == {"pi": pytest.approx(3.14159, abs=1e-4), "_private": 1, "lr": 1.5}


# Templates


def test_values_of_the_base_are_had_and_changed(write):
    child = write(
        base=BASE,
        child=(
            "_base_ = ['base.py']\n"
            "a = {{_base_.model.stages}}\nb = {{ _base_.optimizer.lr }} * 2\n"
            "c = 'width {{_base_.model.stages.1.width}}'\n"
            "d = _base_.epochs + 1\n_base_.model.stages[0].width = 5\n"
        ),
    )
    cfg = Config.fromfile(child)
    assert (cfg.a, cfg.b, cfg.c, cfg.d) == ([{"width": 64}, {"width": 128}], 0.2, "width 128", 11)
    assert cfg.model.stages[0].width == 5
    assert str(cfg.origin("model.stages.0.width")) == "child.py, line 6"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.py", "a = '{{ fileDirname }}|{{fileBasename}}|{{ fileBasenameNoExtension }}|{{ fileExtname }}'\n"),
        ("run.yaml", "a: '{{ fileDirname }}|{{fileBasename}}|{{ fileBasenameNoExtension }}|{{ fileExtname }}'\n"),
        ("run.json", '{"a": "{{ fileDirname }}|{{fileBasename}}|{{ fileBasenameNoExtension }}|{{ fileExtname }}"}'),
    ],
)
def test_the_file_names_itself(write, name, text, tmp_path):
    path = write({name: text})
    ending = Path(path).suffix
    assert Config.fromfile(path).a == f"{tmp_path}|run{ending}|run|{ending}"
    assert Config.fromfile(path, use_predefined_variables=False).a.startswith("{{ fileDirname }}|")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.py", "a = '{{ $SIZE:3 }}'\nb = {{ $SIZE:3 }}\nc = {{'$SIZE:3'}}\nd = {{ $OTHER:[1, x] }}\n"),
        ("run.yaml", "a: '{{ $SIZE:3 }}'\nb: {{ $SIZE:3 }}\nc: {{'$SIZE:3'}}\nd: {{ $OTHER:[1, x] }}\n"),
        ("run.json", '{"a": "{{ $SIZE:3 }}", "b": {{ $SIZE:3 }}, "c": {{"$SIZE:3"}}, "d": {{ $OTHER:[1, x] }}}'),
    ],
)
def test_variables_of_the_environment(write, name, text, monkeypatch):
    path = write({name: text})
    monkeypatch.delenv("SIZE", raising=False)
    assert Config.fromfile(path) == {"a": "3", "b": 3, "c": 3, "d": [1, "x"]}
    monkeypatch.setenv("SIZE", "7")
    cfg = Config.fromfile(path)
    assert cfg == {"a": "7", "b": 7, "c": 7, "d": [1, "x"]}
    assert cfg.env_variables == {"SIZE": "7"}


def test_a_variable_that_is_not_there(write, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "/data")
    path = write(one="# {{ $DATA_ROOOT }} in a comment does no harm\nroot = '{{ $DATA_ROOOT }}'\n")
    with pytest.raises(
        ConfigKeyError, match=r"line 2: the environment has no variable 'DATA_ROOOT'. Did you mean 'DATA_ROOT'"
    ):
        Config.fromfile(path)
    assert Config.fromfile(path, use_environment_variables=False).root == "{{ $DATA_ROOOT }}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a = {{ _base_.modle }}", "line 2: the base has no 'modle'. Did you mean 'model'"),
        ("a = '{{ fileDirnam }}'", "line 2: there is no {{ fileDirnam }}. Did you mean 'fileDirname'"),
        ("x_{{ $NAME:a }} = 1", "line 2: a template stands for a value"),
        ("{{ $NAME:a }} = 1", "line 2: a template stands for a value"),
        ("a = b'{{ $NAME:a }}'", "line 2: a template stands for a value"),
    ],
)
def test_templates_that_mean_nothing(write, line, message):
    child = write(base=BASE, child=f"_base_ = 'base.py'\n{line}\n")
    with pytest.raises((ConfigKeyError, ConfigParsingError)) as raised:
        Config.fromfile(child)
    assert message in str(raised.value)


# Bases that are not there, or not right


def test_a_base_that_is_missing(write):
    child = write({"base.py": BASE, "own/child.py": "_base_ = '../bse.py'\n"})
    with pytest.raises(
        FileNotFoundError,
        match=r"no configuration 'bse\.py', which own/child\.py names as _base_\. Did you mean 'base\.py'\?",
    ):
        Config.fromfile(child)
    child = write({"own/child.py": "_base_ = '../basis/base.py'\n"})
    with pytest.raises(FileNotFoundError, match=r"There is no directory 'basis'"):
        Config.fromfile(child)
    with pytest.raises(FileNotFoundError, match=r"no configuration 'chld\.py'\."):
        Config.fromfile("chld.py")


def test_a_circle_of_bases(write):
    write({"c.yaml": "_base_: d.yaml\n", "d.yaml": "_base_: c.yaml\n"}, a="_base_ = 'b.py'\n", b="_base_ = 'c.yaml'\n")
    with pytest.raises(ConfigParsingError, match=r"its own base: c\.yaml -> d\.yaml -> c\.yaml"):
        Config.fromfile("a.py")


def test_two_bases_with_the_same_key(write):
    child = write(one="lr = 1\n", two="lr = 2\n", child="_base_ = ['one.py', 'two.py']\n")
    with pytest.raises(KeyError, match=r"child\.py has two bases with the key 'lr': one\.py and two\.py"):
        Config.fromfile(child)


@pytest.mark.parametrize("base", ["3", "[3]", "dict(a=1)"])
def test_a_base_that_is_no_name(write, base):
    with pytest.raises(ConfigParsingError, match="_base_ must be the path of a file or a list of them"):
        Config.fromfile(write(one=f"_base_ = {base}\n"))


@pytest.mark.parametrize(
    ("place", "name"), [(".mim/configs/models/net.py", "models/net.py"), ("configs/net.yaml", "net.yaml")]
)
def test_a_base_in_an_installed_library(write, tmp_path, monkeypatch, place, name):
    package = tmp_path / "site" / "zoo_of_nets"
    file = package / place
    file.parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nobody needs to import it')")
    file.write_text(
        "model: {type: Net, neck: {type: Neck}}"
        if name.endswith("yaml")
        else "model = dict(type='Net', neck=dict(type='Neck'))"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    cfg = Config.fromfile(write(child=f"_base_ = 'zoo_of_nets::{name}'\nmodel = dict(depth=3)\n"))
    assert cfg == {"model": {"type": "Net", "neck": {"type": "Neck"}, "_scope_": "zoo_of_nets", "depth": 3}}
    with pytest.raises(FileNotFoundError, match=r"no configuration 'nett\.py' in .*zoo_of_nets"):
        Config.fromfile(write(child="_base_ = 'zoo_of_nets::nett.py'\n"))


def test_a_library_that_is_not_installed(write):
    with pytest.raises(ConfigParsingError, match=r"there is no package 'zoo_of_no_nets' here\. Install"):
        Config.fromfile(write(child="_base_ = 'zoo_of_no_nets::net.py'\n"))


# Wrong files


def test_errors_of_a_program_keep_file_and_line(write):
    with pytest.raises(SyntaxError) as raised:
        Config.fromfile(write(one="a = 1\nb = dict(\nc = {{ $NAME:3 }}\n"))
    assert (raised.value.filename, raised.value.lineno) == (str(Path("one.py").absolute()), 2)
    with pytest.raises(ZeroDivisionError) as divided:
        Config.fromfile(write(one="a = 1\nb = 1 / 0\n"))
    assert divided.traceback[-1].lineno == 1
    assert divided.value.__notes__ == ["(raised while reading the configuration one.py)"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"a": 1,\n "b" 2}', "a.json cannot be read: line 2, column 6"),
        ("a.json", '{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("a.json", "[1]", "a.json is no configuration: it holds a list"),
        ("a.yaml", "a: 1\nb: [1\n", "a.yaml cannot be read: line 3"),
        ("a.yaml", "a: 1\nc: {x: 1,\n x: 2}\n", "line 3: the key 'x' stands there twice"),
        ("a.yaml", "just words", "a.yaml is no configuration: it holds a text"),
        ("a.yaml", "1: a\n", "the key 1 is no name"),
        ("a.txt", "a = 1", "its name must end in .py, .yaml, .yml, .json"),
    ],
)
def test_data_that_is_wrong(write, name, text, message):
    with pytest.raises(ConfigParsingError) as raised:
        Config.fromfile(write({name: text}))
    assert message in str(raised.value)


def test_text_that_is_not_utf8(write, tmp_path):
    (tmp_path / "latin.py").write_bytes("name = 'Köln'".encode("latin-1"))
    with pytest.raises(ConfigParsingError, match="no text in UTF-8: the byte 0xf6 at 9"):
        Config.fromfile(tmp_path / "latin.py")


def test_a_deprecated_file(write):
    child = write(
        old="_deprecation_ = dict(expected='new.py', reference='https://x')\na = 1\n", child="_base_ = 'old.py'\n"
    )
    with pytest.warns(FutureWarning, match=r"old\.py is deprecated\. Use new\.py instead\. See https://x\."):
        assert Config.fromfile(child) == {"a": 1}


# custom_imports


def test_custom_imports(write, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "parts_of_mine", raising=False)
    text = "custom_imports = dict(imports=['parts_of_mine'])\n"
    path = write(parts_of_mine="import mainspring\n", one=text)
    Config.fromfile(path, import_custom_modules=False)
    assert "parts_of_mine" not in sys.modules
    Config.fromfile(path)
    assert "parts_of_mine" in sys.modules


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            "dict(imports=['no_such_parts'])",
            ImportError,
            r"custom_imports\.imports\[0\]: there is no module 'no_such_parts'",
        ),
        (
            "dict(imports=['failing_parts'])",
            ImportError,
            r"'failing_parts' is there, but fails while it is imported: No module",
        ),
        ("dict(import_='x')", ValueError, r"custom_imports\.import_: there is no such option. Did you mean 'imports'"),
        ("dict(imports=[3])", TypeError, r"custom_imports\.imports\[0\] must be a string"),
        ("['x']", TypeError, r"custom_imports must be a dict"),
    ],
)
def test_custom_imports_that_fail(write, monkeypatch, tmp_path, given, error, message):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(error, match=message):
        Config.fromfile(write(failing_parts="import no_such_thing\n", one=f"custom_imports = {given}\n"))


def test_custom_imports_that_may_fail(write):
    path = write(one="custom_imports = dict(imports=['no_such_parts'], allow_failed_imports=True)\na = 1\n")
    with pytest.warns(UserWarning, match="no module 'no_such_parts'"):
        assert Config.fromfile(path).a == 1


# Origins


def test_origins(write):
    write(
        {"middle.yaml": "data:\n  root: x\n  sizes:\n    - 3\n    - 4\n"},
        base="\nmodel = dict(\n    depth=50,\n    stages=[dict(width=64),\n        dict(width=128)],\n)\nlr = 0.1\n",
        child="_base_ = ['base.py', 'middle.yaml']\nmodel = dict(neck=dict(\n    width=3))\n",
    )
    cfg = Config.fromfile("child.py")
    cfg.merge_from_dict({"data.root": "y", "model.stages.0.width": 65})
    found = {
        key: str(cfg.origin(key))
        for key in (
            "model.depth",
            "model.stages.1.width",
            "model.neck.width",
            "lr",
            "data.sizes.1",
            "data.root",
            "model.stages.0.width",
        )
    }
    assert found == {
        "model.depth": "base.py, line 3",
        "model.stages.1.width": "base.py, line 5",
        "model.neck.width": "child.py, line 3",
        "lr": "base.py, line 7",
        "data.sizes.1": "middle.yaml, line 5",
        "data.root": "an override",
        "model.stages.0.width": "an override",
    }
    with pytest.raises(KeyError, match=r"has no model\.dept\. Did you mean 'depth'"):
        cfg.origin("model.dept")
    assert Config({"a": 1}).origin("a") is None
