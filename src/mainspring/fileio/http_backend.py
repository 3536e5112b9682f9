"""Files of the web."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any, NoReturn

from ..utils import require
from .fsspec_backend import FsspecBackend
from .paths import PathLike

__all__ = ["HTTPBackend"]


class HTTPBackend(FsspecBackend):
    """Files behind ``http://`` and ``https://`` URLs, to be read.

    A transfer may take as long as it needs, but a server that says nothing for a minute is an error. An answer that
    breaks off is one too, where the server has told its length.

    Args:
        **storage_options: What fsspec's ``HTTPFileSystem`` takes, such as ``headers=dict(Authorization='...')`` or
            ``client_kwargs=dict(timeout=aiohttp.ClientTimeout(total=600))``.

    Raises:
        ImportError: aiohttp is not installed.
    """

    def __init__(self, **storage_options: Any) -> None:
        self._aiohttp = require("aiohttp", extra="http", purpose="Reading http:// and https:// URLs")
        timeout = self._aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=60)
        client = {"timeout": timeout, **storage_options.pop("client_kwargs", {})}
        super().__init__("http", client_kwargs=client, **storage_options)

    @property
    def writable(self) -> bool:
        """Whether files can be written there: no."""
        return False

    def put(self, obj: bytes, filepath: PathLike) -> NoReturn:
        """Refuse to write: these URLs are for reading.

        Raises:
            io.UnsupportedOperation: Always.
        """
        self._cannot("write files", filepath)

    def put_stream(self, write: Callable[[IO[bytes]], object], filepath: PathLike) -> NoReturn:
        """Refuse to write; see :meth:`put`."""
        self._cannot("write files", filepath)

    def copyfile_from_local(self, src: PathLike, dst: PathLike) -> NoReturn:
        """Refuse to write; see :meth:`put`."""
        self._cannot("write files", dst)

    def _require_absence(self, error: FileNotFoundError) -> None:
        # fsspec says FileNotFoundError of whatever goes wrong: no connection, no permission.
        behind = error.__cause__
        if isinstance(behind, self._aiohttp.ClientResponseError) and behind.status in (404, 410):
            return
        if behind is not None:
            raise behind
