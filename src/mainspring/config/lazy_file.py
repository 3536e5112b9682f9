"""Lazy configurations: programs whose bases and classes are imported, so that an editor can follow them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..utils import did_you_mean, display_path
from .config_dict import ConfigDict
from .errors import ConfigParsingError
from .lazy import LazyObject
from .python_file import is_of_ours, settings

__all__ = ["Namespace", "is_lazy", "run_lazy"]

_LAZY, _TAKE = "__lazy_object__", "__take_base__"


class Namespace(NamedTuple):
    """What a configuration hands on to those that import it as their base."""

    values: dict[str, Any]
    """Its keys and values."""
    names: dict[str, Any]
    """All its names: imports and functions, too."""
    imported: frozenset[str]
    """Those of the names that are imports."""


Load = Callable[[str, int, int], Namespace]
"""Reads a base, from its module, the number of dots before that, and the line of the import."""


def is_lazy(tree: ast.Module) -> bool:
    """Whether a program is in the lazy style: it has ``read_base()``, or imports what is not of Python itself."""
    nodes = list(ast.walk(tree))
    if any(isinstance(one, ast.Name) and one.id == "_base_" and isinstance(one.ctx, ast.Store) for one in nodes):
        return False
    return any(_is_lazy(node) for node in nodes)


def _is_lazy(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return not all(_is_standard(alias.name) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return bool(node.level) or not (_is_standard(node.module or "") or is_of_ours(node))
    return isinstance(node, ast.With) and _reads_base(node)


def run_lazy(tree: ast.Module, path: Path | None, load: Load, given: Mapping[str, Any]) -> Namespace:
    """Run a lazy configuration, and return what it has made.

    Args:
        tree: Its syntax tree, which is changed.
        path: The file; None for a string.
        load: Reads a base.
        given: Further names that it uses.

    Raises:
        ConfigParsingError: An import stands where it means nothing.
    """
    filename = "<string>" if path is None else str(path)
    shown = filename if path is None else display_path(path)
    rewriting = _Rewriting(shown, load)
    tree = ast.fix_missing_locations(rewriting.visit(tree))
    names: dict[str, Any] = {
        **given,
        "__name__": "config",
        "__file__": filename,
        _LAZY: lambda module, attributes, line: LazyObject(module, attributes, f"{shown}, line {line}"),
        _TAKE: lambda index: names.update(rewriting.taken[index]),
    }
    exec(compile(tree, filename, "exec", dont_inherit=True), names)
    handed_on = {name: value for name, value in names.items() if not name.startswith("__")}
    imported = frozenset(name for name in rewriting.imported if isinstance(handed_on.get(name), LazyObject))
    values = {name: value for name, value in settings(handed_on).items() if name not in imported}
    return Namespace(values, handed_on, imported)


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _reads_base(node: ast.With) -> bool:
    calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
    functions = [call.func for call in calls]
    return any(
        (isinstance(function, ast.Name) and function.id == "read_base")
        or (isinstance(function, ast.Attribute) and function.attr == "read_base")
        for function in functions
    )


class _Rewriting(ast.NodeTransformer):
    """Puts lazy objects in place of imports, and the names of bases in place of ``with read_base()``."""

    def __init__(self, filename: str, load: Load) -> None:
        self._filename = filename
        self._load = load
        self.taken: list[dict[str, Any]] = []
        """For each import of a base, the names that it brings."""
        self.imported: set[str] = set()
        """The names that imports have bound."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node  # what a function imports is for when it runs

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_With(self, node: ast.With) -> Any:
        if not _reads_base(node):
            return self.generic_visit(node)
        return [self._take(statement) for statement in node.body if not isinstance(statement, ast.Pass)]

    def visit_Import(self, node: ast.Import) -> Any:
        statements: list[ast.stmt] = []
        for alias in node.names:
            if _is_standard(alias.name):
                statements.append(ast.Import([alias]))
            else:  # "import a.b" binds a, "import a.b as c" binds a.b
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                statements.append(self._lazy(alias.asname or module, module, (), node.lineno))
        return [ast.copy_location(statement, node) for statement in statements]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        module = node.module or ""
        if node.level:
            raise self._wrong(
                node, "imports a file beside it, which only a base can be: write it under `with read_base():`"
            )
        if _is_standard(module):
            return node
        if is_of_ours(node):
            return ast.copy_location(ast.ImportFrom("mainspring.config", node.names, 0), node)
        if any(alias.name == "*" for alias in node.names):
            raise self._wrong(node, f"imports * from {module!r}: name what you want, or write it under read_base()")
        return [
            ast.copy_location(self._lazy(alias.asname or alias.name, module, (alias.name,), node.lineno), node)
            for alias in node.names
        ]

    def _lazy(self, target: str, module: str, attributes: tuple[str, ...], line: int) -> ast.stmt:
        self.imported.add(target)
        arguments = [ast.Constant(module), ast.Tuple([ast.Constant(one) for one in attributes], ast.Load())]
        call = ast.Call(ast.Name(_LAZY, ast.Load()), [*arguments, ast.Constant(line)], [])
        return ast.Assign([ast.Name(target, ast.Store())], call)

    def _take(self, statement: ast.stmt) -> ast.stmt:
        if not isinstance(statement, ast.ImportFrom):
            raise self._wrong(statement, "stands under read_base(), where only `from ... import ...` may stand")
        module = statement.module or ""
        base = self._load(module, statement.level, statement.lineno)
        brought: dict[str, Any] = {}
        for alias in statement.names:
            if alias.name == "*":
                brought.update(base.names)
                self.imported |= base.imported
            elif alias.name in base.names:
                brought[alias.asname or alias.name] = base.names[alias.name]
                if alias.name in base.imported:
                    self.imported.add(alias.asname or alias.name)
            else:
                raise self._wrong(
                    statement,
                    f"imports {alias.name!r} from the base {'.' * statement.level}{module}, which has no such name."
                    f"{did_you_mean(alias.name, base.names)}".removesuffix("."),
                )
        self.taken.append(
            {name: ConfigDict.within(one, name) if type(one) is dict else one for name, one in brought.items()}
        )
        call = ast.Call(ast.Name(_TAKE, ast.Load()), [ast.Constant(len(self.taken) - 1)], [])
        return ast.copy_location(ast.Expr(call), statement)

    def _wrong(self, node: ast.stmt, what: str) -> ConfigParsingError:
        return ConfigParsingError(f"{self._filename}, line {node.lineno}, {what}.")
