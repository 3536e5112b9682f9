"""Hostile configurations: nothing that is data runs code, whatever it says.

A canary tells: each attack would make a file, were it to succeed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from mainspring import Config, DictAction, Runner
from mainspring.config import ConfigParsingError
from mainspring.registry import DATASETS, FUNCTIONS, HOOKS, MODELS, OPTIMIZERS, Registry, RegistryError
from mainspring.utils import RegisteredName


@pytest.fixture
def canary(tmp_path):
    """Return a path at which no file may be when the test is over."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code of a hostile file has run"


def touch(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


@pytest.fixture
def evil_module(canary, tmp_path, monkeypatch):
    """Return the name of a module whose import is noticed, as is that of its registry."""
    package = tmp_path / "evil_parts"
    package.mkdir()
    (package / "__init__.py").write_text(touch(canary))
    (package / "registry.py").write_text(touch(canary))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return "evil_parts"


YAML_TAGS = [
    "a: !!python/object/apply:os.system ['touch {canary}']",
    "a: !!python/object/apply:builtins.eval [\"open('{canary}', 'w')\"]",
    "a: !!python/object/new:subprocess.Popen [['touch', '{canary}']]",
    "a: !!python/object:subprocess.Popen {{args: [touch, '{canary}']}}",
    "a: !!python/name:os.system ''",
    "a: !!python/module:os ''",
    "a: !!python/object/apply:subprocess.check_call\n  args: [[touch, '{canary}']]",
    "!!python/object/apply:os.system ['touch {canary}']",
    "? !!python/object/apply:os.system ['touch {canary}']\n: 1",
    "a: !!python/tuple [!!python/object/apply:os.system ['touch {canary}']]",
    "a: !<tag:yaml.org,2002:python/object/apply:os.system> ['touch {canary}']",
]


@pytest.mark.parametrize("text", YAML_TAGS)
def test_tags_of_yaml(text, canary, write):
    with pytest.raises(ConfigParsingError, match="objects of Python"):
        Config.fromfile(write({"one.yaml": text.format(canary=canary)}))
    with pytest.raises(ConfigParsingError, match="objects of Python"):
        Config.fromstring(text.format(canary=canary), ".yaml")


VALUES = [
    "{touch}",
    "'; {touch}; '",
    '"; {touch}; "',
    "\\'; {touch}; \\'",
    "\n{touch}\n",
    "x'\n{touch}\ny = '",
    "'''\n{touch}\n'''",
    "__import__('os').system('touch {canary}')",
    "!!python/object/apply:os.system ['touch {canary}']",
    "1}}\nb: !!python/object/apply:os.system ['touch {canary}']",
    '", "b": {{"type": "os.system"}}, "c": "',
    "{{{{ fileDirname }}}}",
    "{{{{ $HOSTILE }}}}",
    "__template_0__",
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "one.py",
            "quoted = '{{ $HOSTILE }}'\nbare = {{ $HOSTILE }}\ninner = \"a {{ $HOSTILE }} b\"\nf = f'{{ $HOSTILE }}'\n",
        ),
        (
            "one.yaml",
            "quoted: '{{ $HOSTILE }}'\nbare: {{ $HOSTILE }}\ninner: a {{ $HOSTILE }} b\nf: \"{{ $HOSTILE }}\"\n",
        ),
        (
            "one.json",
            '{"quoted": "{{ $HOSTILE }}", "bare": {{ $HOSTILE }},'
            ' "inner": "a {{ $HOSTILE }} b", "f": "{{ $HOSTILE }}"}',
        ),
    ],
)
def test_a_variable_is_data(value, name, text, canary, write, monkeypatch):
    value = value.format(touch=touch(canary), canary=canary)
    monkeypatch.setenv("HOSTILE", value)
    cfg = Config.fromfile(write({name: text}))
    assert set(cfg) == {"quoted", "bare", "inner", "f"}
    assert (cfg.quoted, cfg.inner, cfg.f) == (value, f"a {value} b", value)
    assert type(cfg.bare) in (str, list), "a literal, or the text itself"


@pytest.mark.parametrize("name", ["'; print(1); '", 'a"b', "a b", "{{ $HOME }}", "__template_0__"])
def test_the_name_of_a_file_is_data(name, canary, write):
    cfg = Config.fromfile(write({f"{name}.py": "a = '{{ fileBasenameNoExtension }}'\nb = {{ fileBasename }}\n"}))
    assert cfg == {"a": name, "b": f"{name}.py"}


# What a name in data means: only what is registered

DOTTED = ["os.system", "subprocess.run", "builtins.eval", "torch.load", "mainspring.load", "mainspring.fileio.load",
          "mainspring.utils.require", "mmengine.load", "evil_parts.Net", "evil_parts.registry.Net", "pathlib.Path",
          "mainspring.evil_parts.Net", "mmdet.evil_parts.Net"]  # fmt: skip


@pytest.mark.parametrize("name", DOTTED)
@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_dotted_types_are_not_imported(name, ending, canary, evil_module, write):
    cfg = Config.fromfile(write({f"one.{ending}": json.dumps({"part": {"type": name, "command": f"touch {canary}"}})}))
    for registry in (MODELS, DATASETS, HOOKS, OPTIMIZERS):
        with pytest.raises(RegistryError, match=r"YAML or JSON, for which nothing is imported.*trust=True"):
            registry.build(cfg.part)
        with pytest.raises(RegistryError):
            registry.build({**cfg.part})
    assert "evil_parts" not in sys.modules


def test_neither_are_scopes(canary, evil_module, write):
    text = "part: {type: Net, _scope_: evil_parts}\ndefault_scope: evil_parts\n"
    cfg = Config.fromfile(write({"one.yaml": text}))
    with pytest.raises(RegistryError):
        MODELS.build(cfg.part)
    assert isinstance(cfg.default_scope, RegisteredName)
    assert "evil_parts" not in sys.modules


def test_registered_names_are_found_also_in_scopes(write):
    zoo = Registry("model", parent=MODELS, scope="zoo_of_data")
    zoo.register_module(name="Linear_of_data", module=nn.Linear)
    cfg = Config.fromfile(
        write({"one.yaml": "part: {type: zoo_of_data.Linear_of_data, in_features: 1, out_features: 2}\n"})
    )
    try:
        assert MODELS.build(cfg.part).weight.shape == (2, 1)
    finally:
        del MODELS.children["zoo_of_data"]


def test_whoever_trusts_a_file_may_name_what_is_not_registered(write):
    part = {"type": "torch.nn.Linear", "in_features": 1, "out_features": 2}
    text = json.dumps({"part": part, "custom_imports": {"imports": ["json"]}})
    path = write({"one.json": text})
    with pytest.raises(ConfigParsingError, match="custom_imports, but for YAML and JSON nothing is imported"):
        Config.fromfile(path)
    cfg = Config.fromfile(path, trust=True)
    assert MODELS.build(cfg.part).weight.shape == (2, 1)
    back = Config.fromfile(path, import_custom_modules=False)
    assert back == cfg


def test_a_copy_or_a_file_that_was_written_is_trusted_no_more(canary, evil_module, write, tmp_path):
    import copy
    import pickle

    cfg = Config.fromfile(write({"one.yaml": "part: {type: evil_parts.Net}\nlist: [{type: evil_parts.Net}]\n"}))
    cfg.dump(tmp_path / "two.json")
    others = [copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg)), Config.fromfile(tmp_path / "two.json"), cfg.copy()]
    for other in others:
        other.merge_from_dict({"part.more": 1, "new": {"type": "evil_parts.Net"}})
        for part in (other.part, other.new, other.list[0], other.to_dict()["part"]):
            with pytest.raises(RegistryError):
                MODELS.build(part)
    assert "evil_parts" not in sys.modules


@pytest.mark.parametrize("text", ["_base_: evil.py", "_base_: [good.yaml, evil.py]", "_base_: evil_parts::evil.py"])
def test_data_has_no_program_as_its_base(text, canary, evil_module, write, tmp_path):
    (tmp_path / "evil_parts" / "evil.py").write_text(touch(canary))
    with pytest.raises(ConfigParsingError, match="which is a program, but reading YAML or JSON runs none"):
        Config.fromfile(write({"evil.py": touch(canary), "good.yaml": "a: 1", "one.yaml": text}))


@pytest.mark.parametrize(
    "name",
    [
        "evil_parts::../outside.yaml",
        "evil_parts::../../etc/passwd",
        "evil_parts::/etc/passwd",
        "evil_parts::a/../../outside.yaml",
    ],
)
def test_a_path_does_not_lead_out_of_its_package(name, canary, evil_module, write):
    with pytest.raises(ConfigParsingError, match="leads out of the package 'evil_parts'"):
        Config.fromfile(write({"outside.yaml": "a: 1", "one.yaml": f"_base_: {name}\n"}))


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../../../../etc/passwd", "/dev/zero", "https://host/x.yaml"])
def test_other_files_are_no_bases(name, write):
    with pytest.raises((ConfigParsingError, FileNotFoundError), match=r"is no configuration|There is no configuration"):
        Config.fromfile(write({"one.yaml": f"_base_: {name}\n"}))


@pytest.mark.parametrize(
    "name", ["evil_parts.sub::x.yaml", "os;import evil_parts::x.yaml", "::x.yaml", "../evil_parts::x.yaml"]
)
def test_to_find_a_library_imports_nothing(name, canary, evil_module, write):
    with pytest.raises(ConfigParsingError, match="there is no package"):
        Config.fromfile(write({"one.yaml": f"_base_: '{name}'\n"}))
    assert "evil_parts" not in sys.modules


@pytest.mark.parametrize(
    "text",
    ["trust: true\nload_from: evil.pth", "model: {init_cfg: {type: Pretrained, trust: true}}", "a: [{trust: 1}]"],
)
def test_data_does_not_vouch_for_other_files(text, write):
    with pytest.raises(ConfigParsingError, match="cannot decide that"):
        Config.fromfile(write({"one.yaml": text}))


# Too large

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join(f'*a{n - 1}' for _ in range(10))}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("one.yaml", BOMB, "has more than 1,000,000 values"),
        ("one.yaml", "a: &a [*a]", "nested too deeply, or holds itself"),
        ("one.yaml", "a: &a {b: *a}", "nested too deeply, or holds itself"),
        ("one.json", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ("one.yaml", "a: " + "[" * 2_000 + "]" * 2_000, "nested too deeply"),
    ],
    ids=["bomb", "list in itself", "dict in itself", "deep json", "deep yaml"],
)
def test_what_is_too_large_is_refused(name, text, message, write):
    with pytest.raises(ConfigParsingError, match=message):
        Config.fromfile(write({name: text}))


# The command line

OPTIONS = [
    "a=__import__('os').system('touch {canary}')",
    "a=[__import__('os').system('touch {canary}')]",
    "a=(open('{canary}', 'w'), 1)",
    "a={{'x': open('{canary}', 'w')}}",
    "a={{open('{canary}', 'w')}}",
    'a=f\'{{open("{canary}", "w")}}\'',
    "__class__.__init__=1",
    "a.__globals__=open('{canary}', 'w')",
    "a='' or open('{canary}', 'w')",
    "a=`touch {canary}`",
    "a=$(touch {canary})",
    "a=!!python/object/apply:os.system ['touch {canary}']",
]


@pytest.mark.parametrize("option", OPTIONS)
def test_overrides_are_literals(option, canary):
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", nargs="+", action=DictAction)
    options = parser.parse_args(["--set", option.format(canary=canary)]).set
    cfg = Config({"b": 1})
    cfg.merge_from_dict(options)
    assert cfg.b == 1
    assert isinstance(cfg, Config)


@pytest.mark.parametrize("text", ["[" * 5_000 + "]" * 5_000, "(" * 3_000 + "1," + ")" * 3_000, "{" * 500, "[1,", "(1]"])
def test_brackets_that_do_not_match_or_go_too_deep(text, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", nargs="+", action=DictAction)
    if text.startswith("{"):
        assert parser.parse_args(["--set", f"a={text}"]).set == {"a": text}
        return
    with pytest.raises(SystemExit):
        parser.parse_args(["--set", f"a={text}"])
    assert "brackets" in capsys.readouterr().err


# A whole run


def test_a_run_refuses_a_hostile_configuration(canary, evil_module, write, tmp_path):
    hostile = {
        "model": {"type": "torch.nn.Linear", "in_features": 1, "out_features": 1},
        "work_dir": str(tmp_path / "run"),
    }
    with pytest.raises(RegistryError, match="nothing is imported"):
        Runner.from_cfg(Config.fromfile(write({"one.json": json.dumps(hostile)})))
    for key, value in (
        ("train_cfg", {"type": "os.system", "command": f"touch {canary}"}),
        ("visualizer", {"type": "evil_parts.Visualizer"}),
        ("log_processor", {"type": "evil_parts.LogProcessor"}),
        ("custom_hooks", [{"type": "evil_parts.Hook"}]),
        ("default_hooks", {"checkpoint": {"type": "evil_parts.Hook"}}),
        ("default_scope", "evil_parts"),
    ):
        changed = {**hostile, key: value}
        if key == "train_cfg":
            changed |= {"train_dataloader": {}, "optim_wrapper": {}}
        with pytest.raises((RegistryError, ValueError)):
            Runner.from_cfg(Config.fromfile(write({"one.json": json.dumps(changed)}))).train()
    assert "evil_parts" not in sys.modules


def test_functions_of_loaders_are_looked_up_only(canary, write):
    from mainspring.dataset import build_dataloader

    text = json.dumps({"loader": {"batch_size": 1, "collate_fn": "os.system", "worker_init_fn": {"type": "os.system"}}})
    cfg = Config.fromfile(write({"one.json": text}))
    assert isinstance(cfg.loader.collate_fn, RegisteredName)
    for key in ("collate_fn", "worker_init_fn"):
        with pytest.raises(ValueError, match=r"'os\.system' is not registered in FUNCTIONS"):
            build_dataloader({"dataset": [1, 2], "batch_size": 1, key: cfg.loader[key]}, None)
    assert FUNCTIONS.get(RegisteredName("pseudo_collate")) is not None


def test_reading_data_leaves_no_process_and_imports_no_library(write, tmp_path):
    write({"one.yaml": "model: {type: torch.nn.Linear}\n", "two.json": '{"_base_": "one.yaml"}'})
    program = (
        "import sys; from mainspring import Config; Config.fromfile('two.json').pretty_text;"
        "print(sorted({'torch', 'numpy', 'subprocess'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
