"""Lists and dicts out of text files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .arguments import chosen_backend_args
from .operations import get_text
from .paths import PathLike

__all__ = ["dict_from_file", "list_from_file"]


def list_from_file(
    filename: PathLike,
    prefix: str = "",
    offset: int = 0,
    max_num: int = 0,
    encoding: str = "utf-8",
    file_client_args: Mapping[str, Any] | None = None,
    backend_args: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the lines of a text file, without their ends.

    Args:
        filename: A path or URL.
        prefix: Put before each line.
        offset: How many lines to leave out at the beginning.
        max_num: How many lines to return at most; 0 for all.
        encoding: Of the file.
        file_client_args: The older name of ``backend_args``.
        backend_args: See :func:`~mainspring.fileio.get_file_backend`.

    >>> from mainspring.fileio import put_text
    >>> put_text("cat\\ndog\\nowl\\n", "memory://classes.txt")
    >>> list_from_file("memory://classes.txt", offset=1)
    ['dog', 'owl']
    """
    text = get_text(filename, encoding, chosen_backend_args(file_client_args, backend_args))
    lines = text.removesuffix("\n").split("\n") if text else []
    return [prefix + line for line in lines[offset : offset + max_num if max_num > 0 else None]]


def dict_from_file(
    filename: PathLike,
    key_type: Callable[[str], Any] = str,
    encoding: str = "utf-8",
    file_client_args: Mapping[str, Any] | None = None,
    backend_args: Mapping[str, Any] | None = None,
) -> dict[Any, str | list[str]]:
    """Return a dict from a text file, in which each line holds a key and one or more values, with spaces between.

    Args:
        filename: A path or URL.
        key_type: Makes the key of its text.
        encoding: Of the file.
        file_client_args: The older name of ``backend_args``.
        backend_args: See :func:`~mainspring.fileio.get_file_backend`.

    Returns:
        For each key the value's text, or the list of them where there are several.

    Raises:
        ValueError: A line has no value; the message says which line.

    >>> from mainspring.fileio import put_text
    >>> put_text("1 cat\\n2 brown dog\\n", "memory://names.txt")
    >>> dict_from_file("memory://names.txt", key_type=int)
    {1: 'cat', 2: ['brown', 'dog']}
    """
    mapping: dict[Any, str | list[str]] = {}
    backend_args = chosen_backend_args(file_client_args, backend_args)
    for number, line in enumerate(list_from_file(filename, encoding=encoding, backend_args=backend_args), 1):
        key, *values = line.split() or [""]
        if not values:
            raise ValueError(
                f"{filename}, line {number}: {line!r} should hold a key and a value with a space between them."
            )
        mapping[key_type(key)] = values[0] if len(values) == 1 else values
    return mapping
