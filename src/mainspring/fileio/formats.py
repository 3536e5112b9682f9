"""Objects in files, by format: ``load`` and ``dump``."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from ..utils import did_you_mean
from .arguments import chosen_backend_args
from .base_handler import BaseFileHandler
from .json_handler import JsonHandler
from .operations import get, get_text, put, put_text
from .paths import PathLike, is_local
from .pickle_handler import PickleHandler
from .yaml_handler import YamlHandler

__all__ = ["dump", "load", "register_handler"]

Handler = TypeVar("Handler", bound=type[BaseFileHandler])

_HANDLERS: dict[str, BaseFileHandler] = {
    "json": JsonHandler(),
    **dict.fromkeys(("yaml", "yml"), YamlHandler()),
    **dict.fromkeys(("pickle", "pkl"), PickleHandler()),
}


def register_handler(file_formats: str | list[str] | tuple[str, ...], **kwargs: Any) -> Callable[[Handler], Handler]:
    """Decorate a subclass of :class:`~mainspring.fileio.BaseFileHandler` with the formats that it handles.

    Args:
        file_formats: The endings of their files, without the dot.
        **kwargs: Arguments of the class.

    Raises:
        TypeError: The class is no handler, or a format no string.

    >>> @register_handler("note")
    ... class TextHandler(BaseFileHandler):
    ...     def load_from_fileobj(self, file):
    ...         return file.read()
    ...
    ...     def dump_to_fileobj(self, obj, file):
    ...         file.write(obj)
    ...
    ...     def dump_to_str(self, obj):
    ...         return obj
    >>> dump("a text", "memory://pinned.note")
    >>> load("memory://pinned.note")
    'a text'
    """
    formats = [file_formats] if isinstance(file_formats, str) else file_formats
    if not isinstance(formats, (list, tuple)) or not all(isinstance(one, str) for one in formats):
        raise TypeError(f"file_formats must be a string or a list of strings, but it is {file_formats!r}.")

    def register(cls: Handler) -> Handler:
        if not (isinstance(cls, type) and issubclass(cls, BaseFileHandler)):
            raise TypeError(f"A handler must be a subclass of BaseFileHandler, but it is {cls!r}.")
        _HANDLERS.update(dict.fromkeys((one.lower() for one in formats), cls(**kwargs)))
        return cls

    return register


def load(
    file: Any,
    file_format: str | None = None,
    file_client_args: Mapping[str, Any] | None = None,
    backend_args: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Read an object from a file: JSON, YAML, pickle, or a format of your own (:func:`register_handler`).

    YAML is read safely: data, never Python objects. Of pickles only plain data is read, unless ``trust=True`` is
    given; see :class:`~mainspring.fileio.PickleHandler`.

    Args:
        file: A path, a URL, or an open file.
        file_format: ``'json'``, ``'yaml'``, ``'yml'``, ``'pickle'`` or ``'pkl'``; by default the ending of the path.
        file_client_args: The older name of ``backend_args``.
        backend_args: See :func:`~mainspring.fileio.get_file_backend`.
        **kwargs: Arguments of the format, such as ``encoding='latin1'`` of pickles that Python 2 wrote.

    Raises:
        TypeError: The format is unknown, or ``file`` is none of these.
        ValueError: The content cannot be read, as a rule; a note at the error names the file.

    >>> dump({"epochs": 12}, "memory://runs/config.json")
    >>> load("memory://runs/config.json")
    {'epochs': 12}
    """
    handler = _handler(file, file_format)
    backend_args = chosen_backend_args(file_client_args, backend_args)
    if not isinstance(file, (str, os.PathLike)):
        if not hasattr(file, "read"):
            raise TypeError(f"load reads a path, a URL or an open file, but it was given {file!r}.")
        return handler.load_from_fileobj(file, **kwargs)
    content = (
        io.StringIO(get_text(file, backend_args=backend_args))
        if handler.str_like
        else io.BytesIO(get(file, backend_args))
    )
    try:
        return handler.load_from_fileobj(content, **kwargs)
    except Exception as error:
        error.add_note(f"This was while reading {os.fspath(file)!r} with {type(handler).__name__}.")
        raise


def dump(
    obj: Any,
    file: Any = None,
    file_format: str | None = None,
    file_client_args: Mapping[str, Any] | None = None,
    backend_args: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Write an object to a file, or return it as a string: JSON, YAML, pickle, or a format of your own.

    A file on this machine is there whole or not at all; of other places :func:`~mainspring.fileio.put` says what
    holds. If the object cannot be written, what stood there before is untouched.

    Args:
        obj: Plain data, as the format knows it.
        file: A path, a URL, or a file open for writing; None returns the string (of a pickle: the bytes).
        file_format: See :func:`load`; needed without a path.
        file_client_args: The older name of ``backend_args``.
        backend_args: See :func:`~mainspring.fileio.get_file_backend`.
        **kwargs: Arguments of the format, such as ``indent=2`` of JSON.

    Raises:
        TypeError: The format is unknown, ``file`` is none of these, or ``obj`` is more than the format can write.
        ValueError: Neither ``file`` nor ``file_format`` is given.

    >>> dump({"epochs": 12}, file_format="json")
    '{"epochs": 12}'
    """
    if file is None and file_format is None:
        raise ValueError("Without a file there is no ending to tell the format by: give file_format='json', say.")
    handler = _handler(file, file_format)
    backend_args = chosen_backend_args(file_client_args, backend_args)
    if file is None:
        return handler.dump_to_str(obj, **kwargs)
    if not isinstance(file, (str, os.PathLike)):
        if not hasattr(file, "write"):
            raise TypeError(f"dump writes to a path, a URL or an open file, but it was given {file!r}.")
        handler.dump_to_fileobj(obj, file, **kwargs)
    elif handler.str_like:
        text = io.StringIO()
        handler.dump_to_fileobj(obj, text, **kwargs)
        put_text(text.getvalue(), file, backend_args)
    else:
        content = io.BytesIO()
        handler.dump_to_fileobj(obj, content, **kwargs)
        put(content.getvalue(), file, backend_args)
    return None


def _handler(file: Any, file_format: str | None) -> BaseFileHandler:
    if file_format is None:
        if not isinstance(file, (str, os.PathLike)):
            raise TypeError(f"The format of {file!r} is not known: give file_format='json', say.")
        file_format = _ending(file)
    handler = _HANDLERS.get(file_format.lower())
    if handler is None:
        raise TypeError(
            f"{file_format!r} is no known file format.{did_you_mean(file_format, _HANDLERS)} Give file_format=, one of"
            f" {', '.join(_HANDLERS)}; others are added with mainspring.fileio.register_handler."
        )
    return handler


def _ending(file: PathLike) -> str:
    path = os.fspath(file)
    if is_local(file):
        return PurePath(path).suffix.removeprefix(".")
    links = (re.split("[?#]", link.partition("://")[2])[0] for link in path.split("::"))
    return next(filter(None, (PurePath(link).suffix.removeprefix(".") for link in links)), "")
