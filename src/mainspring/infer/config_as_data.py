"""The configuration that a checkpoint keeps, read without running it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from ..config import Config, ConfigParsingError
from ..config.data_file import restrict

__all__ = ["config_of", "model_names"]

_MADE: Mapping[str, Callable[..., Any]] = {
    "dict": dict,
    "set": set,
    "frozenset": frozenset,
    "float": float,
    "complex": complex,
    "range": range,
}
"""What a configuration that is written as text calls."""


def config_of(checkpoint: Mapping[str, Any], name: str, trust: bool = False) -> Config:
    """Return the configuration of the run that a checkpoint is from.

    Args:
        checkpoint: A checkpoint of mainspring or MMEngine, as it was read.
        name: What it is called in messages.
        trust: Import what the configuration names and, where it is a program, run it. Otherwise it is read as data, and
            the classes that it names are looked up in registries only.

    Raises:
        ValueError: It keeps none.
        ConfigParsingError: Without ``trust``: it is not data alone. It is a ValueError.
    """
    text = _text_of(checkpoint)
    if not text:
        raise ValueError(
            f"{name!r} keeps no configuration from which a model could be built. Runs that are made by Runner.from_cfg,"
            " or with cfg=..., keep theirs. Pass it, as cfg=dict(model=dict(type=...)) or the path of a file, or make"
            " the model and call mainspring.load_checkpoint(model, ...)."
        )
    if trust:
        return Config.fromstring(text, ".py")
    cure = f"Pass trust=True if you trust whoever made {name!r} as you trust a program of theirs, or cfg=..."
    try:
        values = _read(text)
    except _CodeError as error:
        raise ConfigParsingError(
            f"The configuration in {name!r} is not data alone, and reading it would run code: {error}. {cure}"
        ) from error
    values.pop("trust", None)  # of the run, for what that read
    values.pop("custom_imports", None)
    try:
        return Config(restrict(values, f"The configuration in {name!r}"), text)
    except ConfigParsingError as error:
        raise ConfigParsingError(
            f"The configuration in {name!r} says trust=True somewhere, by which files may run code. {cure}"
        ) from error


def model_names(cfg: Any) -> list[str]:
    """Return what stands as ``type`` in a configuration and in all that is within it."""
    if isinstance(cfg, Mapping):
        own = [cfg["type"]] if isinstance(cfg.get("type"), str) else []
        return own + [name for value in cfg.values() for name in model_names(value)]
    return [name for value in cfg for name in model_names(value)] if isinstance(cfg, (list, tuple)) else []


def _text_of(checkpoint: Mapping[str, Any]) -> str:
    """Return the text of the configuration, as mainspring and, in newer versions, MMEngine keep it."""
    for path in (("meta", "cfg"), ("message_hub", "runtime_info", "cfg")):
        value: Any = checkpoint
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value.strip():
            return value
    return ""


class _CodeError(Exception):
    """Says what in a text is not data."""


def _read(text: str) -> dict[str, Any]:
    """Return the values of assignments of literals."""
    values: dict[str, Any] = {}
    try:
        for statement in ast.parse(text).body:
            values.update(_assigned(statement))
    except (SyntaxError, RecursionError, MemoryError, ValueError, TypeError) as error:
        raise _CodeError(f"it cannot be read ({type(error).__name__}: {error})") from error
    return values


def _assigned(statement: ast.stmt) -> dict[str, Any]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return {target.id: _value(statement.value)}
    # Keys that are no names of Python are written so.
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        if ast.unparse(call.func) == "globals().update" and len(call.args) == 1 and not call.keywords:
            found = _value(call.args[0])
            if isinstance(found, dict) and all(isinstance(key, str) for key in found):
                return found
    raise _code(statement)


def _value(node: ast.expr) -> Any:
    """Return what an expression of literals says; nothing is called but the constructors of Python's containers."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):  # as MMEngine writes them
        return float(node.id)
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Set):
        return {_value(item) for item in node.elts}
    if isinstance(node, ast.Dict):
        if None in node.keys:  # **other
            raise _code(node)
        return {_value(key): _value(item) for key, item in zip(node.keys, node.values, strict=True) if key is not None}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        number = _value(node.operand)
        if isinstance(number, (int, float, complex)):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MADE:
        named = {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
        given = [_value(argument) for argument in node.args]
        # A range in brackets is short, and what is made of it may fill the memory.
        if (
            len(named) == len(node.keywords)
            and (node.func.id == "dict" or not named)
            and not any(isinstance(one, range) for one in given)
        ):
            return _MADE[node.func.id](*given, **named)
    raise _code(node)


def _code(node: ast.stmt | ast.expr) -> _CodeError:
    shown = ast.unparse(node).splitlines()[0]
    return _CodeError(f"line {node.lineno} has {shown[:60] + '...' if len(shown) > 60 else shown}")
