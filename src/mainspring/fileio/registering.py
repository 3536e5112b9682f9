"""Backends by name, and by the prefix of a URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from .base_backend import BaseStorageBackend
from .fsspec_backend import FsspecBackend, require_known
from .http_backend import HTTPBackend
from .local_backend import LocalBackend
from .paths import PathLike, scheme_of
from .remote_file import RemoteFile

__all__ = ["get_file_backend", "register_backend"]

Backend = TypeVar("Backend", bound=type[BaseStorageBackend])

_BY_NAME: dict[str, type[BaseStorageBackend]] = {
    **dict.fromkeys(("local", "file", "disk"), LocalBackend),  # disk is its older name
    **dict.fromkeys(("http", "https"), HTTPBackend),
}
_BY_PREFIX: dict[str, type[BaseStorageBackend]] = {
    **dict.fromkeys(("", "file", "local"), LocalBackend),
    **dict.fromkeys(("http", "https"), HTTPBackend),
}
_SINGLETONS: dict[str, BaseStorageBackend] = {}
_GONE = {
    "petrel": "Write the protocol of the store, as in backend='s3' with endpoint_url, key and secret",
    "memcached": "Write backend='local', or any protocol of fsspec",
    "lmdb": "Read the database with the lmdb package in the data set, or unpack it into files",
}


@overload
def register_backend(
    name: str, backend: None = None, force: bool = False, prefixes: str | list[str] | tuple[str, ...] | None = None
) -> Callable[[Backend], Backend]: ...
@overload
def register_backend(
    name: str,
    backend: type[BaseStorageBackend],
    force: bool = False,
    prefixes: str | list[str] | tuple[str, ...] | None = None,
) -> None: ...
def register_backend(
    name: str,
    backend: type[BaseStorageBackend] | None = None,
    force: bool = False,
    prefixes: str | list[str] | tuple[str, ...] | None = None,
) -> Callable[[Backend], Backend] | None:
    """Give a backend a name for ``backend_args=dict(backend=name)``; also as a decorator.

    Args:
        name: The name.
        backend: A subclass of :class:`~mainspring.fileio.BaseStorageBackend`; None for a decorator.
        force: Replace what is registered under the name and the prefixes.
        prefixes: Schemes of URLs that go to this backend by themselves, such as ``'s3'`` for ``s3://``.

    Raises:
        TypeError: An argument is of another type.
        ValueError: The name or a prefix is taken, and ``force`` is False.

    >>> @register_backend("reversed", prefixes="reversed")
    ... class ReversedBackend(BaseStorageBackend):
    ...     def get(self, filepath):
    ...         return str(filepath).encode()[::-1]
    ...
    ...     def get_text(self, filepath, encoding="utf-8"):
    ...         return self.get(filepath).decode(encoding)
    >>> get_file_backend("reversed://abc").get_text("abc")
    'cba'
    """
    if backend is None:

        def register(cls: Backend) -> Backend:
            register_backend(name, cls, force, prefixes)
            return cls

        return register

    if not isinstance(name, str):
        raise TypeError(f"The name of a backend must be a string, but it is {name!r} ({type(name).__name__}).")
    if not (isinstance(backend, type) and issubclass(backend, BaseStorageBackend)):
        raise TypeError(f"The backend {name!r} must be a subclass of BaseStorageBackend, but it is {backend!r}.")
    listed = [prefixes] if isinstance(prefixes, str) else prefixes or ()
    if not isinstance(listed, (list, tuple)) or not all(isinstance(prefix, str) for prefix in listed):
        raise TypeError(f"prefixes must be a string or a list of strings, but it is {prefixes!r}.")
    for kind, taken, wanted in (("name", _BY_NAME, [name]), ("prefix", _BY_PREFIX, listed)):
        for one in wanted:
            if one in taken and not force:
                raise ValueError(
                    f"The {kind} {one!r} is taken by {taken[one].__name__}. Choose another, or replace it with"
                    " force=True."
                )
    _BY_NAME[name] = backend
    _BY_PREFIX.update((prefix.lower(), backend) for prefix in listed)
    _SINGLETONS.clear()  # they may be of what has just been replaced
    return None


def get_file_backend(
    uri: PathLike | None = None, *, backend_args: Mapping[str, Any] | None = None, enable_singleton: bool = False
) -> BaseStorageBackend:
    """Return the backend for a path or URL.

    Args:
        uri: A path or URL. Its scheme decides, unless ``backend_args`` names a backend: what is registered for it,
            otherwise fsspec's file system of this name. A :class:`~mainspring.fileio.RemoteFile` has its own.
        backend_args: Arguments of the backend. ``backend`` in it is a registered name (``'local'``, ``'http'``) or a
            protocol of fsspec; the rest are its storage options.
        enable_singleton: Return the same object for the same arguments.

    Raises:
        ValueError: Neither ``uri`` nor ``backend`` is given, or it is unknown.
        TypeError: The backend does not take these arguments.
        ImportError: A library that it needs is not installed.

    >>> get_file_backend("runs/config.json").name
    'LocalBackend'
    >>> get_file_backend(backend_args=dict(backend="memory")).name
    'FsspecBackend'
    """
    if isinstance(uri, RemoteFile) and not backend_args:
        return uri.backend
    options = dict(backend_args or {})
    name = options.pop("backend", None)
    if name is not None:
        if not isinstance(name, str):
            raise TypeError(f"backend in backend_args must be a name such as 'local' or 's3', but it is {name!r}.")
        asked, table = name, _BY_NAME
    elif uri is not None:
        asked, table = scheme_of(uri), _BY_PREFIX
    else:
        raise ValueError("There is nothing to choose a backend by: give uri, or backend_args=dict(backend='...').")
    cls = table.get(asked)
    if cls is None and asked in _GONE:
        raise ValueError(f"There is no {asked} backend here. {_GONE[asked]}.")
    if cls is None:
        require_known(asked)
    arguments = (name,) if cls is None and name is not None else ()  # without a name each URL says its protocol
    cls = cls or FsspecBackend
    if not enable_singleton:
        return _make(cls, arguments, options)
    key = repr((cls, arguments, sorted(options.items())))
    if key not in _SINGLETONS:
        _SINGLETONS.setdefault(key, _make(cls, arguments, options))
    return _SINGLETONS[key]


def _make(cls: type[BaseStorageBackend], arguments: tuple[str, ...], options: dict[str, Any]) -> BaseStorageBackend:
    try:
        return cls(*arguments, **options)
    except TypeError as error:
        raise TypeError(f"{cls.__name__} cannot be made with the backend_args {options!r}: {error}") from error
