"""Where a class or function that nothing has registered may be hiding."""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["loaded_definitions", "unloaded_modules"]

# A look-up that failed may search the disk, but not a disk full of images.
_MAX_ENTRIES = 20_000
_MAX_BYTES = 1_000_000


def loaded_definitions(name: str) -> list[str]:
    """Return the dotted paths of classes and functions called ``name`` in modules imported so far."""
    modules = set()
    for module in list(sys.modules.values()):
        candidate = getattr(module, "__dict__", {}).get(name)
        if (inspect.isclass(candidate) or inspect.isfunction(candidate)) and candidate.__qualname__ == name:
            modules.add(str(candidate.__module__))
    public = [module for module in modules if module == "__main__" or "._" not in f".{module}"]
    return [f"{module}.{name}" for module in sorted(public, key=lambda module: (module.count("."), module))]


def unloaded_modules(name: str) -> list[str]:
    """Return the modules among the user's own files that register ``name`` and are not imported yet.

    The files are those that the directories of ``sys.path`` hold, installed packages aside.
    """
    word = re.escape(name)
    definition = re.compile(rf"^(?:class|def)\s+{word}\b|register_module\([^)]*['\"]{word}['\"]", re.MULTILINE)
    now = int(time.monotonic())
    found = [module for module, text in _registering(tuple(sys.path), now) if definition.search(text)]
    return sorted(module for module in found if module not in sys.modules)


@functools.lru_cache(maxsize=1)
def _registering(path: tuple[str, ...], second: int) -> list[tuple[str, str]]:
    """Return the modules that register something, with their texts.

    They are kept for a second: a configuration may have many names that are not there, all looked up in a row.
    """
    found = []
    for module, file in _own_modules():
        try:
            if file.stat().st_size > _MAX_BYTES:
                continue
            text = file.read_text(encoding="utf-8", errors="ignore")
        except OSError:  # gone, or not ours to read
            continue
        if "register_module" in text:
            found.append((module, text))
    return found


def _own_modules() -> Iterator[tuple[str, Path]]:
    import sysconfig

    installed = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    installed -= {Path(sysconfig.get_paths()["data"]).resolve()}  # the prefix, where a project may well lie
    roots = {Path(entry).resolve() for entry in sys.path}
    main = Path(getattr(sys.modules["__main__"], "__file__", None) or "").resolve()
    seen: set[Path] = set()
    entries = 0
    # The deepest first, so that what lies in src/ is not taken for a package "src" of the directory above.
    for root in sorted(roots, key=lambda path: -len(path.parts)):
        if {"site-packages", "dist-packages"} & set(root.parts) or installed & {root, *root.parents}:
            continue
        waiting = [root]
        while waiting:
            directory = waiting.pop(0)
            if directory in seen:
                continue
            seen.add(directory)
            for entry in _scan(directory):
                entries += 1
                if entries > _MAX_ENTRIES:
                    return
                path = Path(entry.path)
                if not entry.name.removesuffix(".py").isidentifier():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif path.suffix == ".py" and path != main:
                    parts = path.relative_to(root).with_suffix("").parts
                    yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _scan(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except OSError:  # no directory, or not ours to read
        return
