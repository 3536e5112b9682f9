"""What is installed: packages, programs, and objects by their dotted names."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

__all__ = [
    "call_command",
    "check_prerequisites",
    "get_installed_path",
    "get_object_from_string",
    "import_modules_from_strings",
    "install_package",
    "is_installed",
    "requires_executable",
    "requires_package",
]

F = TypeVar("F", bound=Callable[..., Any])

_MISSING = 'Prerequisites "{}" are required in method "{}" but not found, please install them first.'


def import_modules_from_strings(
    imports: str | Sequence[str] | None, allow_failed_imports: bool = False
) -> ModuleType | list[ModuleType | None] | None:
    """Import modules by their names.

    Args:
        imports: A name, or a list of names; nothing where it is empty or None.
        allow_failed_imports: Warn of a module that cannot be imported, and have None in its place.

    Returns:
        The module of a single name, a list of the modules of a list of names, or None where there are none.

    Raises:
        ImportError: A module cannot be imported, and that is not allowed.
        TypeError: ``imports`` is neither a string nor a list of strings.

    >>> import_modules_from_strings("json").__name__
    'json'
    """
    if not imports:
        return None
    if isinstance(imports, str):
        return _imported(imports, allow_failed_imports)
    if not isinstance(imports, (list, tuple)) or not all(isinstance(name, str) for name in imports):
        raise TypeError(f"imports must be the name of a module, or a list of such, but it is {imports!r}.")
    return [_imported(name, allow_failed_imports) for name in imports]


def _imported(name: str, allow_failed_imports: bool) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if not allow_failed_imports:
            raise ImportError(f"{name!r} cannot be imported: {error}.", name=name) from error
        warnings.warn(f"{name} failed to import and is ignored: {error}.", UserWarning, stacklevel=3)
        return None


def get_object_from_string(obj_name: str) -> Any:
    """Return what stands at a dotted name, or None where there is nothing.

    >>> get_object_from_string("json.decoder.JSONDecoder").__name__
    'JSONDecoder'
    >>> get_object_from_string("json.JsonDecoder") is None
    True
    """
    try:
        return pkgutil.resolve_name(obj_name)
    except ValueError as error:
        raise ValueError(f"A dotted name is such as 'package.module.Class', but this is {obj_name!r}.") from error
    except (ImportError, AttributeError):
        return None


def check_prerequisites(
    prerequisites: str | Sequence[str], checker: Callable[[str], bool], msg_tmpl: str = _MISSING
) -> Callable[[F], F]:
    """Return a decorator, by which a function asks, whenever it is called, whether what it needs is there.

    Args:
        prerequisites: One thing, or several.
        checker: Says of each whether it is there.
        msg_tmpl: The message of the error, with ``{}`` for what is missing and for the function's name.

    Raises:
        RuntimeError: By the function: something is missing.

    >>> @check_prerequisites(["coffee", "tea"], lambda drink: drink == "tea", "{} is needed by {}")
    ... def think():
    ...     return 42
    >>> think()
    Traceback (most recent call last):
    ...
    RuntimeError: coffee is needed by think
    """
    listed = [prerequisites] if isinstance(prerequisites, str) else list(prerequisites)

    def decorate(func: F) -> F:
        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            missing = [item for item in listed if not checker(item)]
            if missing:
                raise RuntimeError(msg_tmpl.format(", ".join(missing), func.__name__))
            return func(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate


def requires_package(prerequisites: str | Sequence[str]) -> Callable[[F], F]:
    """Return a decorator of functions that need packages; see :func:`check_prerequisites`.

    >>> @requires_package("numpy")
    ... def zeros():
    ...     import numpy
    ...     return numpy.zeros(2).tolist()
    >>> zeros()
    [0.0, 0.0]
    """
    return check_prerequisites(prerequisites, _can_be_imported)


def requires_executable(prerequisites: str | Sequence[str]) -> Callable[[F], F]:
    """Return a decorator of functions that need programs, such as ``'ffmpeg'``; see :func:`check_prerequisites`."""
    return check_prerequisites(prerequisites, lambda program: shutil.which(program) is not None)


def _can_be_imported(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def call_command(cmd: Sequence[str]) -> None:
    """Run a program, and wait until it ends.

    Args:
        cmd: The program and its arguments.

    Raises:
        subprocess.CalledProcessError: It says that it failed.
        FileNotFoundError: There is no such program.
    """
    subprocess.run(cmd, check=True)


def is_installed(package: str) -> bool:
    """Whether a package is installed, by the name of its distribution (``'opencv-python'``) or module (``'cv2'``)."""
    return _found(package) is not None or _distribution(package) is not None


def install_package(package: str) -> None:
    """Install a package with pip into the environment of this process, unless it is installed."""
    if not is_installed(package):
        call_command([sys.executable, "-m", "pip", "install", package])


def get_installed_path(package: str) -> str:
    """Return the directory of an installed package.

    Args:
        package: The name of its module, or of its distribution.

    Raises:
        ModuleNotFoundError: It is not installed.

    >>> get_installed_path("json").endswith("json")
    True
    """
    path = _found(package)
    distribution = None if path is not None else _distribution(package)
    if distribution is not None:
        modules = {file.parts[0] for file in distribution.files or () if file.suffix == ".py" and len(file.parts) > 1}
        named = (distribution.read_text("top_level.txt") or "").split()
        names = sorted((*named, *modules), key=lambda name: name.startswith("_"))  # what is public first
        path = next(filter(None, map(_found, names)), None)
    if path is None:
        raise ModuleNotFoundError(
            f"{package!r} is not installed, neither as a distribution nor as a module. Install it with: pip install"
            f" {package}",
            name=package,
        )
    return str(path)


def _found(module: str) -> Path | None:
    """Return the directory of a module, without importing it."""
    if not all(part.isidentifier() for part in module.split(".")):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # the package above it is missing, or a module that was made by hand
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin).parent if spec.has_location and spec.origin else Path(sys.prefix)


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
