"""Configurations in Python: programs whose global names are the keys."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeGuard

from .config_dict import ConfigDict
from .errors import ConfigParsingError
from .templates import Templates

__all__ = ["PythonFile", "is_of_ours", "settings"]

_PACKAGES = ("mainspring", "mmengine")
_HOMES = frozenset(name for package in _PACKAGES for name in (package, f"{package}.config"))
_OURS = frozenset(("Config", "ConfigDict", "read_base"))
"""What a configuration imports from there for its own use."""

_BASE = re.compile(r"^_base_(?=\s*=[^=])", re.MULTILINE)
_IMPORT = re.compile(r"\bimport\b")
_HIDDEN = "__b___"
"""Stands for ``_base_`` where that is assigned; as long, so that columns in messages are right."""


class PythonFile:
    """A configuration of the text style, which says ``_base_ = ...``, or of none.

    Most files are compiled as they are, and tell their bases when they have run. One that uses its base's values, in
    templates or by ``_base_.key``, is run when these are known.

    Args:
        templates: Its content.
        path: The file; None for a string.

    Raises:
        SyntaxError: It is no Python.
    """

    def __init__(self, templates: Templates, path: Path | None) -> None:
        self._templates = templates
        self._filename = "<string>" if path is None else str(path)
        self._names: dict[str, Any] = {"__name__": "config", "__file__": self._filename}
        self._tree: ast.Module | None = None
        self._has_run = False
        code = templates.code
        self.is_plain = not templates and code.count("_base_") == len(_BASE.findall(code)) and not _IMPORT.search(code)
        """Whether it imports nothing and has no templates, so that it can be run as it is."""

    @property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        if self._tree is None:
            try:
                self._tree = ast.parse(self._templates.code, self._filename)
            except SyntaxError as error:
                raise self._as_written(error) from error
        return self._tree

    def bases(self) -> list[str]:
        """Return what ``_base_`` names.

        Raises:
            ConfigParsingError: It names no files.
        """
        if self.is_plain:
            self._run(compile(_BASE.sub(_HIDDEN, self._templates.code), self._filename, "exec", dont_inherit=True))
            named = self._names.pop(_HIDDEN, [])
        else:
            statement = next(filter(_is_base, self.tree.body), None)
            if statement is None:
                return []
            value = _Filling(self._templates, self._filename).visit(deepcopy(statement.value))
            expression = ast.fix_missing_locations(ast.Expression(value))
            names = {"__file__": self._filename, **self._templates.bare}
            named = eval(compile(expression, self._filename, "eval", dont_inherit=True), names)  # it is a program's
        files = [named] if isinstance(named, str) else named
        if not isinstance(files, (list, tuple)) or not all(isinstance(file, str) for file in files):
            raise ConfigParsingError(
                f"{self._filename}: _base_ must be the path of a file or a list of them, but it is {named!r}."
            )
        return list(files)

    def run(self, base: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the keys and values that the program has made, and its base, which it may have changed.

        Args:
            base: What its bases say; it stays as it is.
        """
        given: dict[str, Any] = base
        if not self._has_run:
            self._templates.take_base(base)
            tree = self.filled_tree()
            tree.body = [statement for statement in tree.body if not _is_base(statement)]
            for statement in tree.body:
                if isinstance(statement, ast.ImportFrom) and is_of_ours(statement):
                    statement.module = "mainspring.config"
            self._names.update(self._templates.bare)
            if "_base_" in self._templates.code:
                given = self._names["_base_"] = ConfigDict.within(base, "_base_", self._filename)
            self._run(compile(tree, self._filename, "exec", dont_inherit=True))
            self._names.pop("_base_", None)
        return settings(self._names), given

    def filled_tree(self) -> ast.Module:
        """Return the syntax tree with values in place of the templates."""
        if self._templates:
            self._tree = ast.fix_missing_locations(_Filling(self._templates, self._filename).visit(self.tree))
        return self.tree

    def _run(self, code: types.CodeType) -> None:
        self._has_run = True
        exec(code, self._names)

    def _as_written(self, error: SyntaxError) -> SyntaxError:
        if self._templates and error.lineno is not None and error.text is not None:
            error.text = self._templates.original(error.lineno)
        return error


def settings(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of a program that are settings: no modules, functions and classes that it defines or imports."""
    return {
        name: value
        for name, value in names.items()
        if not name.startswith("__")
        and not isinstance(value, (types.ModuleType, types.FunctionType))
        and not (callable(value) and getattr(value, "__name__", None) == name)
    }


def is_of_ours(node: ast.AST) -> bool:
    """Whether a statement imports what configurations are made with, by our name or by MMEngine's."""
    return (
        isinstance(node, ast.ImportFrom) and node.module in _HOMES and all(alias.name in _OURS for alias in node.names)
    )


def _is_base(statement: ast.stmt) -> TypeGuard[ast.Assign]:
    return isinstance(statement, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "_base_" for target in statement.targets
    )


class _Filling(ast.NodeTransformer):
    """Puts values in place of the markers in strings; a marker that is a name is a global of the program."""

    def __init__(self, templates: Templates, filename: str) -> None:
        self._templates = templates
        self._filename = filename

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        value = node.value
        if isinstance(value, bytes) and self._templates.has_marker(value.decode("latin-1")):
            raise self._misplaced(node)
        if not isinstance(value, str) or not self._templates.has_marker(value):
            return node
        filled = self._templates.filled(value)
        new: ast.expr = ast.Constant(filled) if isinstance(filled, str) else ast.Name(value, ast.Load())
        return ast.copy_location(new, node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Refuse markers that are parts of names, or names that something is assigned to."""
        for name, value in ast.iter_fields(node):
            if isinstance(value, str) and self._templates.has_marker(value) and name != "type_comment":
                is_value = (
                    isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and self._templates.is_marker(value)
                )
                if not is_value:
                    raise self._misplaced(node)
                self._templates.value(value)  # which says why there is none
        return super().generic_visit(node)

    def _misplaced(self, node: Any) -> ConfigParsingError:
        line = getattr(node, "lineno", 0)
        return ConfigParsingError(
            f"{self._filename}, line {line}: a template stands for a value, or for a part of a string, and not where it"
            f" is here: {self._templates.original(line).strip()}"
        )
