"""Reading a configuration with all its bases."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..utils import display_path
from .data_file import OR_TRUST, fill, read_data, restrict
from .errors import ConfigKeyError, ConfigParsingError
from .lazy import raw_items
from .lazy_file import Namespace, is_lazy, run_lazy
from .merging import DELETE, merged
from .places import FORMATS, base_file, check_file, module_file
from .python_file import PythonFile
from .source import Source, changes
from .templates import Templates

__all__ = ["Found", "Reader", "first_file"]


@dataclass
class Found:
    """What was read."""

    values: dict[str, Any]
    """The keys and values, those of the bases included."""
    names: dict[str, Any]
    """The names that a lazy configuration takes from it as its base."""
    imported: frozenset[str] = frozenset()
    """Those of them that are imports."""
    sources: list[Source] = field(default_factory=list)
    """The files, each behind its bases."""
    texts: list[str] = field(default_factory=list)
    """Their names and contents."""
    is_data: bool = False
    """Whether it is YAML or JSON, for which nothing is imported."""


class Reader:
    """Reads files, each with its bases.

    Args:
        predefined: Whether ``{{ fileDirname }}`` and its like are replaced.
        environment: Whether ``{{ $VARIABLE }}`` is.
        lazy: Whether the files are in the lazy style; None looks at each.
        trust: Whether YAML and JSON may name what is to be imported.
    """

    def __init__(
        self, predefined: bool = True, environment: bool = True, lazy: bool | None = None, trust: bool = False
    ) -> None:
        self._predefined = predefined
        self._environment = environment
        self._lazy = lazy
        self._trust = trust
        self._open: list[Path] = []
        self.environment: dict[str, str] = {}
        """The environment variables that were used, with their values."""

    def read(self, path: Path) -> Found:
        """Read a file.

        Raises:
            ConfigParsingError: It is not written as a configuration, or is its own base.
            FileNotFoundError: One of its bases is not there.
            ConfigKeyError: Two of its bases have the same key, or a variable is not there.
            SyntaxError: It is no Python.
        """
        with self._opened(path):
            text = _text_of(path)
            found = self.read_text(text, FORMATS[path.suffix], path)
        return found

    def read_text(self, text: str, kind: str, path: Path | None) -> Found:
        """Read the content of a file, or a string that is none."""
        templates = Templates(text, path, self._predefined, self._environment)
        self.environment.update(templates.environment)
        found = self._python(templates, path) if kind == "py" else self._data(templates, kind, path)
        found.texts.append(f"{path or '<string>'}\n{text}")
        return found

    @contextmanager
    def _opened(self, path: Path) -> Iterator[None]:
        resolved = path.resolve()
        if resolved in self._open:
            circle = [*self._open[self._open.index(resolved) :], resolved]
            raise ConfigParsingError(
                f"A configuration cannot be its own base: {' -> '.join(display_path(one) for one in circle)}."
            )
        self._open.append(resolved)
        try:
            yield
        finally:
            self._open.pop()

    # In Python

    def _python(self, templates: Templates, path: Path | None) -> Found:
        file = PythonFile(templates, path)
        lazy = _is_lazy(file) if self._lazy is None else self._lazy
        if not lazy and "read_base" in templates.code and _is_lazy(file):
            raise ConfigParsingError(
                f"{_shown(path)} has its base under read_base(), as only a lazy configuration can. Leave"
                " lazy_import=False out, or write _base_ = [...]."
            )
        try:
            if lazy:
                return self._lazily(file, templates, path)
            found = self._bases(file.bases(), path, is_data=False)
            own, base = file.run(found.values)
        except (ConfigParsingError, ConfigKeyError, FileNotFoundError, SyntaxError):
            raise
        except Exception as error:
            error.add_note(f"(raised while reading the configuration {_shown(path)})")
            raise
        if base is not found.values:  # it has used _base_, and may have changed it: that is what it says, too
            changed = changes(found.values, base)
            found.sources.append(_source("py", templates, path, deepcopy(changed)))
            found.values = base
        return self._on_top(found, own, "py", templates, path)

    def _lazily(self, file: PythonFile, templates: Templates, path: Path | None) -> Found:
        found = Found({}, {})
        base: dict[str, Any] = {}

        def load(module: str, level: int, line: int) -> Namespace:
            one = self.read(module_file(module, level, path, line))
            found.sources.extend(one.sources)
            found.texts.extend(one.texts)
            base.update(deepcopy(one.values))  # the file may change what it gets
            return Namespace(one.values, one.names, one.imported)

        templates.take_base({})  # which it does not have by that name
        made = run_lazy(file.filled_tree(), path, load, templates.bare)
        if "_base_" in made.values:
            raise ConfigParsingError(
                f"{_shown(path)} names its base by _base_, which a lazy configuration imports under `with"
                " read_base():`. Leave lazy_import=True out, or import it so."
            )
        _warn_of(made.values.pop("_deprecation_", None), path)
        found.values, found.names, found.imported = made.values, made.names, made.imported
        own = deepcopy(changes(base, made.values)) if base else made.values
        found.sources.append(_source("lazy", templates, path, own))
        return found

    # In YAML and JSON

    def _data(self, templates: Templates, kind: str, path: Path | None) -> Found:
        name = _shown(path)
        read = read_data(templates, kind, name)
        named = read.pop("_base_", [])
        names = [named] if isinstance(named, str) else named
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            raise ConfigParsingError(
                f"{name}: _base_ must be the path of a file or a list of them, but it is {named!r}."
            )
        found = self._bases([str(templates.filled(one)) for one in names], path, is_data=True)
        templates.take_base(found.values)
        own = fill(read, templates, name)
        if not self._trust:
            own = restrict(own, name)
        found.is_data = True
        return self._on_top(found, own, kind, templates, path)

    # Inheritance

    def _bases(self, names: list[str], path: Path | None, is_data: bool) -> Found:
        found = Found({}, {})
        owners: dict[str, Path] = {}
        for name in names:
            file, scope = base_file(name, path)
            if is_data and file.suffix == ".py" and not self._trust:
                raise ConfigParsingError(
                    f"{_shown(path)} has the base {name!r}, which is a program, but"
                    f" reading YAML or JSON runs none. {OR_TRUST}"
                )
            one = self.read(file)
            for key in one.values:
                if key in owners:
                    raise ConfigKeyError(
                        f"{_shown(path)} has two bases with the key {key!r}:"
                        f" {display_path(owners[key])} and {display_path(file)}. Give it in one of them only, or let"
                        " one be the base of the other."
                    )
                owners[key] = file
            found.values.update(_scoped(one.values, scope))
            found.sources.extend(one.sources)
            found.texts.extend(one.texts)
        return found

    def _on_top(self, found: Found, own: dict[str, Any], kind: str, templates: Templates, path: Path | None) -> Found:
        """Put what a file says itself on top of its bases."""
        _warn_of(own.pop("_deprecation_", None), path)
        own.pop(DELETE, None)
        found.sources.append(_source(kind, templates, path, own))
        try:
            found.values = merged(found.values, own)
        except (TypeError, ConfigKeyError) as error:
            error.add_note(f"(in the configuration {_shown(path)})")
            raise
        found.names = found.values
        return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigParsingError(
            f"{display_path(path)} is no text in UTF-8: the byte {error.object[error.start]:#04x} at {error.start}."
            " Save it as UTF-8."
        ) from error


def _shown(path: Path | None) -> str:
    return "<string>" if path is None else display_path(path)


def _source(kind: str, templates: Templates, path: Path | None, values: Mapping[str, Any]) -> Source:
    return Source("<string>" if path is None else str(path), kind, templates.code, values)


def _scoped(values: dict[str, Any], scope: str | None) -> dict[str, Any]:
    """Return values of another library, in which the outermost dicts with a type look names up in its scope."""
    if scope is None:
        return values

    def scoped(value: Any) -> Any:
        if isinstance(value, dict):
            if dict.__contains__(value, "type"):
                return {**dict(raw_items(value)), "_scope_": dict.get(value, "_scope_") or scope}
            return {key: scoped(item) for key, item in raw_items(value)}
        if type(value) is list or type(value) is tuple:
            return type(value)(scoped(item) for item in value)
        return value

    return {key: scoped(value) for key, value in values.items()}


def _warn_of(deprecation: Any, path: Path | None) -> None:
    if deprecation is None:
        return
    told = deprecation if isinstance(deprecation, Mapping) else {}
    name = _shown(path)
    instead = f" Use {told['expected']} instead." if told.get("expected") else ""
    more = f" See {told['reference']}." if told.get("reference") else ""
    warnings.warn(f"{name} is deprecated.{instead}{more}", FutureWarning, stacklevel=2)


def first_file(filename: str | Path) -> Path:
    """Return the file to begin with, as an absolute path."""
    path = Path(filename).expanduser().absolute()
    check_file(path)
    return path


def _is_lazy(file: PythonFile) -> bool:
    return not file.is_plain and is_lazy(file.tree)
