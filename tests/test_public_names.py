"""The public names of mainspring, and how they are called, stand in ``public_names.txt`` beside this file.

Who changes one on purpose writes the file anew, reads what has changed in it, and says so in the changelog:

    python tests/test_public_names.py
"""

from __future__ import annotations

import ast
import difflib
import enum
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mainspring
from mainspring.hooks import Hook
from mainspring.registry import Registry

FILE = Path(__file__).with_name("public_names.txt")
HEAD = "# Written by tests/test_public_names.py: do not edit it, run that file.\n"

# Classes whose methods others call or override. What they inherit from each other is left out; of other classes only
# the constructor stands in the file.
WITH_METHODS = {
    *("Runner", "BaseLoop", "BaseTrainLoop", "EpochBasedTrainLoop", "IterBasedTrainLoop", "ValLoop", "TestLoop"),
    *("BaseModel", "BaseModule", "BaseDataPreprocessor", "BaseDataElement", "OptimWrapper", "AmpOptimWrapper"),
    *("Evaluator", "Metric", "BaseMetric", "StreamingMetric", "DefaultSampler", "InfiniteSampler", "Registry"),
    *("Hook", "HookList", "CheckpointHook", "EMAHook", "LoggerHook", "LogProcessor", "Visualizer", "BaseAveragedModel"),
    *("CheckpointWriter",),
    *("MMLogger", "MessageHub", "HistoryBuffer"),
}


def packages() -> list[str]:
    """Return the names of the packages and modules that stand directly in mainspring."""
    found = pkgutil.iter_modules(mainspring.__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def described() -> str:
    """Return the text of the file."""
    lines = [HEAD, "mainspring", *(f"  {name}" for name in sorted(mainspring.__all__))]
    for package in packages():
        module = importlib.import_module(f"mainspring.{package}")
        lines += ["", f"mainspring.{package}"]
        for name in sorted(module.__all__):
            lines += [f"  {line}" for line in _described(name, getattr(module, name))]
    lines += ["", "Names in configs, by registry (those that torch brings are left out)"]
    registry_module = importlib.import_module("mainspring.registry")
    for name in sorted(registry_module.__all__):
        registry = getattr(registry_module, name)
        if isinstance(registry, Registry):
            registry.import_from_location()
            ours = [key for key, value in registry.module_dict.items() if value.__module__.startswith("mainspring.")]
            lines += [f"  {name}: {', '.join(sorted(ours))}"] if ours else []
    return "\n".join(lines) + "\n"


def _described(name: str, value: Any) -> list[str]:
    if not isinstance(value, type):
        kind = f" ({type(value).__name__})"
        return [name + (_signature(value) if callable(value) and not isinstance(value, Registry) else kind)]
    if issubclass(value, enum.Enum):
        return [f"{name}: {', '.join(value.__members__)}"]
    if issubclass(value, BaseException):
        return [f"{name} ({value.__base__.__name__})"]
    lines = [name + _signature(value)]
    if name in WITH_METHODS:
        for key in sorted(dir(value)):
            member = inspect.getattr_static(value, key)
            owner = _owner(value, key)
            inherited = owner is not value and owner.__name__ in WITH_METHODS
            if not key.startswith("_") and not inherited and owner.__module__.startswith("mainspring."):
                lines.append(f"  .{key}{_member(member)}")
    return lines


def _owner(cls: type, key: str) -> type:
    return next(base for base in cls.__mro__ if key in vars(base))


def _member(member: Any) -> str:
    if isinstance(member, staticmethod):
        return _signature(member.__func__)
    if isinstance(member, classmethod):
        member = member.__func__
    return _signature(member, without_first=True) if inspect.isfunction(member) else ""


def _signature(target: Any, without_first: bool = False) -> str:
    try:
        parameters = list(inspect.signature(target).parameters.values())[without_first:]
    except ValueError:  # that of a class written in C, as of a dict
        return ""
    text = str(inspect.Signature([p.replace(annotation=inspect.Parameter.empty) for p in parameters]))
    return re.sub(r"<function (\S+) at 0x[0-9a-f]+>", r"\1", text)


def test_names_and_signatures_are_those_of_the_file():
    before, now = FILE.read_text(encoding="utf-8"), described()
    lines = difflib.unified_diff(before.splitlines(), now.splitlines(), "public_names.txt", "now", lineterm="")
    assert now == before, "\n".join([*lines, "If this is meant: python tests/test_public_names.py"])


def test_hooks_have_the_stages_of_the_file():
    assert {stage for stage in Hook.stages if f"  .{stage}(" in FILE.read_text(encoding="utf-8")} == set(Hook.stages)
    assert len(Hook.stages) == 22


@pytest.mark.parametrize("package", packages())
def test_every_package_says_what_it_hands_on_and_has_it(package):
    module = importlib.import_module(f"mainspring.{package}")
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_stub_and_the_lazy_table_agree():
    stub = Path(mainspring.__file__).with_suffix(".pyi")
    in_stub = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        assert isinstance(node, ast.ImportFrom)
        assert node.level == 1
        for alias in node.names:
            assert alias.asname == alias.name, f"type checkers hand on only `{alias.name} as {alias.name}`"
            in_stub[alias.name] = node.module
    assert in_stub.pop("__version__") == "_version"
    assert in_stub == mainspring._HOME_OF
    assert mainspring.__all__ == ["__version__", *sorted(in_stub)]


def test_the_lazy_names_are_those_of_their_packages():
    for name, home in mainspring._HOME_OF.items():
        module = importlib.import_module(f"mainspring.{home}")
        assert name in module.__all__
        assert getattr(mainspring, name) is getattr(module, name)
        assert name in dir(mainspring)
    with pytest.raises(AttributeError, match="module 'mainspring' has no attribute 'Runer'"):
        _ = mainspring.Runer


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import mainspring", ["torch", "numpy", "rich"]),
        ("import mainspring; mainspring.__version__; dir(mainspring)", ["torch", "numpy"]),
        ("import mainspring.utils", ["rich", "mainspring.registry"]),
        ("import mainspring.registry", ["mainspring.model", "mainspring.runner", "rich"]),
        ("from mainspring import BaseModel", ["mainspring.runner", "mainspring.hooks"]),
        (
            "import mainspring.runner",
            ["matplotlib", "tensorboard", "torchmetrics", "sklearn", "torchvision", "cv2", "PIL", "IPython"],
        ),
    ],
)
def test_nothing_is_imported_that_is_not_needed(statement, absent):
    check = f"{statement}; import sys; print([name for name in {absent!r} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=100, check=True)
    assert finished.stdout == "[]\n"


if __name__ == "__main__":
    FILE.write_text(described(), encoding="utf-8")
    print(f"{FILE} is written.")
