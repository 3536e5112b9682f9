"""Python files that make a Runner themselves."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..config.merging import nested
from ..utils import did_you_mean, display_path
from .errors import UsageError
from .options import RunOptions, pairs

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["is_program", "runner_of_program"]

FUNCTION, VARIABLE = "make_runner", "runner"


def is_program(path: Path) -> bool:
    """Whether a Python file defines ``make_runner``, or makes a ``runner``, and is no configuration.

    The file is looked at, and not run.

    Raises:
        UsageError: It is a program that does neither.
    """
    if path.suffix != ".py" or not path.is_file():
        return False
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return False  # reading it as a configuration tells where
    if any(_makes_runner(statement) for statement in tree.body):
        return True
    if any(_is_guard(statement) for statement in tree.body):
        raise UsageError(
            f"{display_path(path)} is neither a configuration nor a program that hands over its Runner: it runs by"
            f" itself. Run it with python, or let it define {FUNCTION}(), which returns the Runner."
        )
    return False


def _makes_runner(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return statement.name == FUNCTION
    # A configuration may have a key of this name, which is a dict.
    return (
        isinstance(statement, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == VARIABLE for target in statement.targets)
        and isinstance(statement.value, ast.Call)
        and ast.unparse(statement.value.func) != "dict"
    )


def _is_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in {
        node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name)
    }


def runner_of_program(path: Path, options: RunOptions, more: Mapping[str, Any], is_needed: bool) -> Runner:
    """Run a program, and return its Runner.

    ``make_runner`` gets the options of the command line as keyword arguments: ``--work-dir x`` is ``work_dir='x'``, and
    ``--set model.depth=50`` is ``model={'depth': 50}``.

    Args:
        path: The file.
        options: Those of the command line.
        more: Further arguments.
        is_needed: Whether an argument of ``more`` that the function does not have is an error.

    Raises:
        UsageError: The function does not take an option.
        TypeError: What it returns is no Runner.
    """
    module = _run(path)
    make = getattr(module, FUNCTION, None)
    asked = {**nested({key: value for key, value, _ in pairs(options.set)}), **options.given()}
    if make is None:
        given = [*asked, *(more if is_needed else ())]
        if given:
            names = ", ".join(given)
            raise UsageError(
                f"{display_path(path)} makes its Runner as it is, but the command line gives {names}. Let it define"
                f" {FUNCTION}({names}), which returns the Runner."
            )
        runner: Any = getattr(module, VARIABLE)
    else:
        runner = make(**_arguments(make, path, asked, more, is_needed))
    from ..runner import Runner

    if not isinstance(runner, Runner):
        what = f"{FUNCTION}() returned" if make is not None else f"{VARIABLE} is"
        raise TypeError(f"In {display_path(path)}, {what} {runner!r} ({type(runner).__name__}), and no Runner.")
    return runner


def _arguments(
    make: Any, path: Path, asked: Mapping[str, Any], more: Mapping[str, Any], is_needed: bool
) -> dict[str, Any]:
    parameters = inspect.signature(make).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    arguments = dict(asked)
    for name, value in more.items():
        if name in parameters or takes_any or is_needed:
            arguments.setdefault(name, value)
    for name in arguments:
        if name not in parameters and not takes_any:
            raise UsageError(
                f"{FUNCTION}{inspect.signature(make)} of {display_path(path)} has no argument {name!r}, which the"
                f" command line gives.{did_you_mean(name, parameters)} Add it there, and use it."
            )
    return arguments


def _run(path: Path) -> ModuleType:
    """Run a file as ``python file`` would, but for its name: what stands under ``__main__`` is left out."""
    file = path.resolve()
    folder = str(file.parent)
    sys.argv = [str(path)]
    if sys.path[0] != folder:
        sys.path.insert(0, folder)
    name = file.stem if file.stem.isidentifier() and file.stem not in sys.modules else "mainspring_program"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{display_path(path)} cannot be run as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # for worker processes, which import what they unpickle
    spec.loader.exec_module(module)
    return module
