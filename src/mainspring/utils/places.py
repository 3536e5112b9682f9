"""Files and directories of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = [
    "check_file_exist",
    "fopen",
    "is_abs",
    "is_filepath",
    "mkdir_or_exist",
    "scandir",
    "symlink",
]

Place = str | os.PathLike[str]


def is_filepath(x: Any) -> bool:
    """Whether it is a string or a path."""
    return isinstance(x, (str, Path))


def is_abs(path: Place) -> bool:
    """Whether a path is absolute, or a URL.

    >>> is_abs("/data"), is_abs("s3://bucket/data"), is_abs("data")
    (True, True, False)
    """
    return os.path.isabs(path) or "://" in os.fspath(path)


def fopen(filepath: Place, *args: Any, **kwargs: Any) -> IO[Any]:
    """Open a file of this machine; the further arguments are those of :func:`open`.

    Raises:
        TypeError: ``filepath`` is no path, such as a number, of which :func:`open` would think as of a descriptor.
    """
    if not is_filepath(filepath):
        raise TypeError(f"filepath must be a string or a Path, but it is {filepath!r} ({type(filepath).__name__}).")
    file: IO[Any] = open(filepath, *args, **kwargs)  # noqa: SIM115  the caller closes it
    return file


def check_file_exist(filename: Place, msg_tmpl: str = 'file "{}" does not exist') -> None:
    """Raise a ``FileNotFoundError`` unless there is such a file; a directory is none.

    Args:
        filename: The file.
        msg_tmpl: The message, with ``{}`` for the name.
    """
    if not os.path.isfile(filename):
        raise FileNotFoundError(msg_tmpl.format(filename))


def mkdir_or_exist(dir_name: Place, mode: int = 0o777) -> None:
    """Make a directory, and those above it, where it is missing; an empty name is the current one, which is there.

    Args:
        dir_name: The directory; ``~`` is the user's own.
        mode: Its permissions, of which the process's umask takes away some.
    """
    if dir_name != "":
        os.makedirs(os.path.expanduser(dir_name), mode=mode, exist_ok=True)


def symlink(src: Place, dst: Place, overwrite: bool = True, **kwargs: Any) -> None:
    """Make ``dst`` a symbolic link to ``src``.

    Args:
        src: What the link leads to, as seen from the directory of the link.
        dst: The link.
        overwrite: Whether a file or link that stands there is replaced.
        **kwargs: As for :func:`os.symlink`.

    Raises:
        FileExistsError: Something stands there, and ``overwrite`` is False.
        IsADirectoryError: A directory stands there.
    """
    if overwrite and os.path.lexists(dst):
        os.remove(dst)
    os.symlink(src, dst, **kwargs)


def scandir(
    dir_path: Place,
    suffix: str | tuple[str, ...] | None = None,
    recursive: bool = False,
    case_sensitive: bool = True,
) -> Iterator[str]:
    """Iterate over the files of a directory, by their paths relative to it.

    Files whose names begin with a dot are left out.

    Args:
        dir_path: The directory.
        suffix: How names end, or several such; None for any.
        recursive: Whether the directories in it are looked into.
        case_sensitive: Whether upper and lower case of the suffix differ.

    Raises:
        TypeError: ``dir_path`` or ``suffix`` has another type.
        FileNotFoundError: There is no such directory; raised by the first step of the iteration.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "cat.JPG").touch(), (folder / "notes.txt").touch()
    (None, None)
    >>> list(scandir(folder, suffix=".jpg", case_sensitive=False))
    ['cat.JPG']
    """
    if not is_filepath(dir_path):
        raise TypeError(f"dir_path must be a string or a Path, but it is {dir_path!r} ({type(dir_path).__name__}).")
    endings = (suffix,) if isinstance(suffix, str) else suffix
    if endings is not None and not (isinstance(endings, tuple) and all(isinstance(item, str) for item in endings)):
        raise TypeError(f"suffix must be a string or a tuple of strings, but it is {suffix!r}.")
    if endings is not None and not case_sensitive:
        endings = tuple(ending.lower() for ending in endings)
    return _files(os.fspath(dir_path), "", endings, recursive, case_sensitive)


def _files(
    directory: str, prefix: str, endings: tuple[str, ...] | None, recursive: bool, case_sensitive: bool
) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir():
                if recursive:
                    inner = os.path.join(prefix, entry.name)
                    yield from _files(entry.path, inner, endings, recursive, case_sensitive)
            elif not entry.name.startswith("."):
                name = entry.name if case_sensitive else entry.name.lower()
                if endings is None or name.endswith(endings):
                    yield os.path.join(prefix, entry.name)
