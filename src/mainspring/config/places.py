"""Where the files are that a configuration inherits from."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from ..utils import display_path, nearest
from .errors import ConfigParsingError

__all__ = ["FORMATS", "base_file", "check_file", "module_file"]

FORMATS = {".py": "py", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
_IN_PACKAGES = (".mim/configs", ".mim", "configs", "")
"""Where the files of an installed library may lie, below its own directory."""


def check_file(path: Path, asked_by: str = "") -> None:
    """Raise an error unless ``path`` is a file of a known format.

    Args:
        path: The file.
        asked_by: Which file has named it, and how, for the message.

    Raises:
        FileNotFoundError: It is not there; the message names the files that look like it.
        ConfigParsingError: Its ending is of no known format.
    """
    asked = f", {asked_by}" if asked_by else ""
    if not path.is_file():
        raise FileNotFoundError(f"There is no configuration {display_path(path)!r}{asked}.{_near(path)}")
    if path.suffix not in FORMATS:
        raise ConfigParsingError(
            f"{display_path(path)!r}{asked} is no configuration: its name must end in {', '.join(FORMATS)}."
        )


def base_file(name: str, asked_by: Path | None) -> tuple[Path, str | None]:
    """Return the file that ``_base_`` names, and the scope of the library that it is from.

    Args:
        name: A path, relative to the file that names it, or ``'package::path'``.
        asked_by: The file that names it; without one, the current directory is meant.

    Raises:
        FileNotFoundError: It is not there.
        ConfigParsingError: The library is not installed, or the path leads out of it.
    """
    asker = "" if asked_by is None else display_path(asked_by)
    asked = f"which {asker} names as _base_" if asker else "which _base_ names"
    package, separator, inner = name.partition("::")
    if not separator:
        folder = Path.cwd() if asked_by is None else asked_by.parent
        path = Path(os.path.normpath(folder / Path(name).expanduser()))
        check_file(path, asked)
        return path, None
    root = _package_folder(package, f"_base_ = {name!r}" + (f" in {asker}" if asker else ""))
    places = [Path(os.path.normpath(root / place / inner)) for place in _IN_PACKAGES]
    if not all(place.is_relative_to(root) for place in places):
        raise ConfigParsingError(f"_base_ = {name!r} leads out of the package {package!r}: write a path within it.")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        folder = next((root / place for place in _IN_PACKAGES if (root / place).is_dir()), root)
        raise FileNotFoundError(
            f"There is no configuration {inner!r} in {display_path(folder)}, {asked}.{_near(folder / inner)}"
        )
    check_file(found, asked)
    return found, package


def module_file(module: str, level: int, asked_by: Path | None, line: int) -> Path:
    """Return the file of a module that is imported under ``read_base()``.

    Args:
        module: Its name, without the leading dots.
        level: The number of leading dots.
        asked_by: The file that imports it.
        line: Where.

    Raises:
        FileNotFoundError: It is not there.
        ConfigParsingError: The import is absolute, and its package is not installed, or no file is named in it.
    """
    asker = "<string>" if asked_by is None else display_path(asked_by)
    asked = f"which {asker} imports in line {line}, under read_base()"
    parts = module.split(".") if module else []
    if level:
        folder = Path.cwd() if asked_by is None else asked_by.parent
        path = Path(os.path.normpath(folder.joinpath(*[".."] * (level - 1), *parts)))
        path = path.with_name(f"{path.name}.py") if parts else path
        check_file(path, asked)
        return path
    if len(parts) < 2:
        raise ConfigParsingError(
            f"{asker}, line {line}: under read_base(), {module!r} is a whole package, but a configuration is one file."
            " Name the file: from package.configs.file import *."
        )
    root = _package_folder(parts[0], f"{asker}, line {line}, imports {module!r} under read_base()")
    places = [root.joinpath(*parts[1:]), root.joinpath(".mim", *parts[1:])]
    files = [place.with_name(f"{place.name}.py") for place in places]
    found = next((file for file in files if file.is_file()), files[0])
    check_file(found, asked)
    return found


def _package_folder(package: str, asked: str) -> Path:
    # By its first name only: to look for a package within a package imports the outer one.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise ConfigParsingError(
            f"{asked}, but there is no package {package!r} here. Install the library that has it, with pip install"
            f" {package}, or copy the file beside yours."
        )
    return Path(os.path.normpath(places[0]))


def _near(path: Path) -> str:
    """Say which files look like one that is not there."""
    folder = path.parent
    if not folder.is_dir():
        above = next((one for one in folder.parents if one.is_dir()), None)
        if above is None:
            return ""
        missing = above / folder.relative_to(above).parts[0]
        folders = nearest(missing.name, [one.name for one in above.iterdir() if one.is_dir()])
        meant = f" Did you mean {display_path(above / folders[0])!r}?" if folders else ""
        return f" There is no directory {display_path(missing)!r}.{meant}"
    names = [one.name for one in folder.iterdir() if one.suffix in FORMATS]
    near = nearest(path.name, names, 3, cutoff=0.7)
    if near:
        return f" Did you mean {' or '.join(repr(name) for name in near)}?"
    return f" In {display_path(folder)} there are: {', '.join(sorted(names)[:8])}." if names else ""
