"""Earlier ways to files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ..fileio import BaseStorageBackend, LocalBackend, get_file_backend, register_backend

__all__ = ["FileClient", "HardDiskBackend"]

HardDiskBackend = LocalBackend
"""An earlier name."""


class FileClient:
    """Makes the backend that :func:`mainspring.fileio.get_file_backend` returns, whose methods are those of a client.

    Args:
        backend: The name of the backend; ``'disk'`` by default.
        prefix: The scheme of a URL, such as ``'s3'``, for which a backend is looked up where ``backend`` is None.
        **kwargs: Arguments of the backend.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "names.txt"
    >>> client = FileClient(backend="disk")
    >>> client.put_text("cat", path)
    >>> client.get(path), client is FileClient()
    (b'cat', True)
    """

    def __new__(cls, backend: str | None = None, prefix: str | None = None, **kwargs: Any) -> BaseStorageBackend:  # type: ignore[misc]
        """Return the backend: the same object for the same arguments."""
        if backend is None and prefix is not None:
            return get_file_backend(f"{prefix}://", backend_args=kwargs, enable_singleton=True)
        return get_file_backend(backend_args={"backend": backend or "disk", **kwargs}, enable_singleton=True)

    @classmethod
    def infer_client(
        cls, file_client_args: Mapping[str, Any] | None = None, uri: str | os.PathLike[str] | None = None
    ) -> BaseStorageBackend:
        """Return the backend for arguments, or, where there are none, for a path or URL."""
        if file_client_args is not None:
            return cls(**file_client_args)
        return get_file_backend(uri, enable_singleton=True)

    @staticmethod
    def parse_uri_prefix(uri: str | os.PathLike[str]) -> str | None:
        """Return the scheme of a URL, such as ``'s3'``, or None of a path."""
        scheme, separator, _ = os.fspath(uri).partition("://")
        return scheme.rpartition(":")[2] if separator else None

    @classmethod
    def register_backend(
        cls,
        name: str,
        backend: type[BaseStorageBackend] | None = None,
        force: bool = False,
        prefixes: str | list[str] | tuple[str, ...] | None = None,
    ) -> Callable[..., Any] | None:
        """Register a backend; see :func:`mainspring.fileio.register_backend`."""
        if backend is None:
            return register_backend(name, None, force, prefixes)
        register_backend(name, backend, force, prefixes)
        return None
