"""What is a path of this machine, and what is a URL."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

__all__ = ["PathLike", "is_local", "local_path", "scheme_of"]

PathLike = str | os.PathLike[str]

# One letter before "://" or ":/" is a drive of Windows. Before the scheme may stand others that it goes through,
# as in "simplecache::s3://bucket/key".
_WORD = r"[A-Za-z][A-Za-z0-9+._-]+"
_URL = re.compile(rf"(?P<first>{_WORD})(?:::{_WORD})*://")
_CLUSTER = re.compile(r"[^/:]+:(?P<url>[A-Za-z0-9]+://.*)", re.DOTALL)
_ONE_SLASH = re.compile(rf"(?P<scheme>{_WORD}):/(?!/)")
_FILE = re.compile("(?:file|local)://", re.IGNORECASE)


def scheme_of(path: PathLike) -> str:
    """Return the scheme of a URL in small letters, the first one of a chained URL, or ``''`` for a path.

    Raises:
        TypeError: It is neither a string nor a path.
        ValueError: It was a URL once, and a ``Path`` has made one slash of its two; or it names a Petrel cluster.

    >>> scheme_of("s3://bucket/weights.pth"), scheme_of("simplecache::s3://bucket/weights.pth")
    ('s3', 'simplecache')
    >>> scheme_of("runs/weights.pth"), scheme_of("C:/runs/weights.pth")
    ('', '')
    """
    text = _text(path)
    match = _URL.match(text)
    if match:
        return match["first"].lower()
    cluster = _CLUSTER.match(text)
    if cluster:
        raise ValueError(
            f"{text!r} names a cluster before the URL, which only Petrel understands: write {cluster['url']!r}, and"
            " the address and keys of the cluster into backend_args."
        )
    shortened = _ONE_SLASH.match(text)
    if shortened:
        root = "/" if shortened["scheme"].lower() == "file" else ""
        url = f"{shortened['scheme']}://{root}{text[shortened.end() :]}"
        raise ValueError(
            f"{text!r} has only one slash after the colon, as pathlib.Path leaves of a URL: write the string {url!r}."
        )
    return ""


def is_local(path: PathLike) -> bool:
    """Say whether a path or URL is of this machine's file system.

    Paths are, those with a drive letter too, and ``file://`` URLs; every other URL is not.

    Raises:
        TypeError: It is neither a string nor a path.
        ValueError: It is no URL any more; see :func:`scheme_of`.

    >>> is_local("runs"), is_local("file:///data/runs"), is_local("s3://bucket/runs")
    (True, True, False)
    """
    return scheme_of(path) == "" or _FILE.match(os.fspath(path)) is not None


def local_path(path: PathLike) -> Path:
    """Return a local path or a ``file://`` URL as a ``Path``.

    In a URL ``%20`` stands for a space and so on, as ``Path.as_uri()`` writes them.

    Raises:
        TypeError: It is neither a string nor a path.
        ValueError: It is somewhere else, or the URL names a host.

    >>> local_path("file:///data/my%20runs").as_posix()
    '/data/my runs'
    """
    text = _text(path)
    if scheme_of(text) == "":
        return Path(path)
    if not _FILE.match(text):
        raise ValueError(
            f"{text!r} is not on this machine, and a local path is needed here. Fetch it first, with:"
            f" with mainspring.fileio.get_local_path({text!r}) as path: ..."
        )
    host, _, rest = text.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise ValueError(
            f"{text!r} names the host {host!r}. A file URL has three slashes before an absolute path, as in"
            f" 'file:///{host}/{rest}'; a relative path is written without 'file://'."
        )
    decoded = unquote(f"/{rest}")
    return Path(decoded[1:] if re.match(r"/[A-Za-z]:", decoded) else decoded)


def _text(path: PathLike) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"A path must be a string or a pathlib.Path, but it is {path!r} ({type(path).__name__}).")
    return os.fspath(path)
