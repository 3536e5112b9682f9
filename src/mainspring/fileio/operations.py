"""Reading, writing, copying and deleting, by path or URL.

Each function chooses the backend by the path and ``backend_args`` (see
:func:`~mainspring.fileio.get_file_backend`), and calls its method of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .base_backend import BaseStorageBackend
from .paths import PathLike
from .registering import get_file_backend

__all__ = [
    "copy_if_symlink_fails",
    "copyfile",
    "copyfile_from_local",
    "copyfile_to_local",
    "copytree",
    "copytree_from_local",
    "copytree_to_local",
    "exists",
    "generate_presigned_url",
    "get",
    "get_local_path",
    "get_text",
    "isdir",
    "isfile",
    "join_path",
    "list_dir_or_file",
    "put",
    "put_text",
    "remove",
    "rmtree",
]

BackendArgs = Mapping[str, Any] | None


def get(filepath: PathLike, backend_args: BackendArgs = None) -> bytes:
    """Return the bytes of a file.

    Args:
        filepath: A path or URL.
        backend_args: See :func:`~mainspring.fileio.get_file_backend`; here and in all functions of this module.

    Raises:
        FileNotFoundError: There is none.

    >>> put(b"whole", "memory://runs/weights.bin")
    >>> get("memory://runs/weights.bin")
    b'whole'
    """
    return _backend(filepath, backend_args).get(filepath)


def get_text(filepath: PathLike, encoding: str = "utf-8", backend_args: BackendArgs = None) -> str:
    r"""Return the text of a file, in which every line ends with ``\n``, whatever ends it in the file."""
    return _backend(filepath, backend_args).get_text(filepath, encoding)


def put(obj: bytes, filepath: PathLike, backend_args: BackendArgs = None) -> None:
    """Write bytes to a file; missing directories are made.

    On this machine the file is there whole or not at all, whatever happens meanwhile. Of other places,
    :class:`~mainspring.fileio.FsspecBackend` says what holds.

    Raises:
        TypeError: ``obj`` is not bytes.
    """
    if not isinstance(obj, (bytes, bytearray, memoryview)):
        raise TypeError(f"put writes bytes, but it was given {type(obj).__name__}. For a text there is put_text.")
    _backend(filepath, backend_args).put(obj, filepath)


def put_text(obj: str, filepath: PathLike, backend_args: BackendArgs = None) -> None:
    """Write a text to a file in UTF-8; see :func:`put`.

    Raises:
        TypeError: ``obj`` is no string.
    """
    if not isinstance(obj, str):
        raise TypeError(f"put_text writes a string, but it was given {type(obj).__name__}. For bytes there is put.")
    _backend(filepath, backend_args).put_text(obj, filepath)


def exists(filepath: PathLike, backend_args: BackendArgs = None) -> bool:
    """Say whether there is a file or a directory.

    Raises:
        OSError: It cannot be found out: no connection, no permission.
    """
    return _backend(filepath, backend_args).exists(filepath)


def isdir(filepath: PathLike, backend_args: BackendArgs = None) -> bool:
    """Say whether it is a directory; see :func:`exists`."""
    return _backend(filepath, backend_args).isdir(filepath)


def isfile(filepath: PathLike, backend_args: BackendArgs = None) -> bool:
    """Say whether it is a file; see :func:`exists`."""
    return _backend(filepath, backend_args).isfile(filepath)


def join_path(filepath: PathLike, *filepaths: PathLike, backend_args: BackendArgs = None) -> str:
    """Put the parts of a path or URL together.

    >>> join_path("s3://bucket/runs", "digits", "epoch_1.pth")
    's3://bucket/runs/digits/epoch_1.pth'
    """
    return _backend(filepath, backend_args).join_path(filepath, *filepaths)


@contextmanager
def get_local_path(filepath: PathLike, backend_args: BackendArgs = None) -> Iterator[PathLike]:
    """Lend a path on this machine with a file's content, for code that opens nothing but local files.

    A local path is lent as it is. Anything else is downloaded to a temporary file of the same name, which is removed
    at the end of the block.

    >>> put(b"whole", "memory://runs/weights.bin")
    >>> with get_local_path("memory://runs/weights.bin") as path:
    ...     with open(path, "rb") as file:
    ...         file.read()
    b'whole'
    """
    with _backend(filepath, backend_args).get_local_path(filepath) as path:
        yield path


def copyfile(src: PathLike, dst: PathLike, backend_args: BackendArgs = None) -> PathLike:
    """Copy a file within one file system, into ``dst`` if that is a directory, and return where to.

    Raises:
        shutil.SameFileError: Both are the same file.
    """
    return _backend(src, backend_args).copyfile(src, dst)


def copytree(src: PathLike, dst: PathLike, backend_args: BackendArgs = None) -> PathLike:
    """Copy a directory within one file system, and return where to.

    Raises:
        FileExistsError: There is a ``dst`` already.
    """
    return _backend(src, backend_args).copytree(src, dst)


def copyfile_from_local(src: PathLike, dst: PathLike, backend_args: BackendArgs = None) -> PathLike:
    """Copy a file of this machine to a path or URL, into ``dst`` if that is a directory, and return where to."""
    return _backend(dst, backend_args).copyfile_from_local(src, dst)


def copytree_from_local(src: PathLike, dst: PathLike, backend_args: BackendArgs = None) -> PathLike:
    """Copy a directory of this machine to a path or URL, and return where to; see :func:`copytree`."""
    return _backend(dst, backend_args).copytree_from_local(src, dst)


def copyfile_to_local(src: PathLike, dst: PathLike, backend_args: BackendArgs = None) -> PathLike:
    """Copy a file to this machine, into ``dst`` if that is a directory, and return where to."""
    return _backend(src, backend_args).copyfile_to_local(src, dst)


def copytree_to_local(src: PathLike, dst: PathLike, backend_args: BackendArgs = None) -> PathLike:
    """Copy a directory to this machine, and return where to; see :func:`copytree`."""
    return _backend(src, backend_args).copytree_to_local(src, dst)


def remove(filepath: PathLike, backend_args: BackendArgs = None) -> None:
    """Delete a file.

    Raises:
        FileNotFoundError: There is none.
        IsADirectoryError: It is a directory.
    """
    _backend(filepath, backend_args).remove(filepath)


def rmtree(dir_path: PathLike, backend_args: BackendArgs = None) -> None:
    """Delete a directory and all that is in it.

    Raises:
        FileNotFoundError: There is none.
    """
    _backend(dir_path, backend_args).rmtree(dir_path)


def copy_if_symlink_fails(src: PathLike, dst: PathLike, backend_args: BackendArgs = None) -> bool:
    """Make ``dst`` a symbolic link to ``src``, or a copy where that does not go; say whether it is a link."""
    return _backend(src, backend_args).copy_if_symlink_fails(src, dst)


def list_dir_or_file(
    dir_path: PathLike,
    list_dir: bool = True,
    list_file: bool = True,
    suffix: str | tuple[str, ...] | None = None,
    recursive: bool = False,
    backend_args: BackendArgs = None,
) -> Iterator[str]:
    """Return the paths of directories and files, seen from ``dir_path``, in the order of their names.

    Files whose name begins with a dot are left out.

    Args:
        dir_path: The directory.
        list_dir: Return directories.
        list_file: Return files.
        suffix: How a file's name must end; only with ``list_dir=False``.
        recursive: Also look into the directories below.
        backend_args: See :func:`get`.

    Raises:
        TypeError: ``suffix`` is given together with ``list_dir``, or is no string.

    >>> put(b"", "memory://listed/a/1.txt")
    >>> put(b"", "memory://listed/2.txt")
    >>> list(list_dir_or_file("memory://listed", recursive=True))
    ['2.txt', 'a', 'a/1.txt']
    """
    return _backend(dir_path, backend_args).list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)


def generate_presigned_url(
    url: str, client_method: str = "get_object", expires_in: int = 3600, backend_args: BackendArgs = None
) -> str:
    """Return a URL with which anyone can read a file for ``expires_in`` seconds, where the store can sign one.

    Raises:
        io.UnsupportedOperation: It cannot.
    """
    return _backend(url, backend_args).generate_presigned_url(url, client_method, expires_in)


def _backend(path: PathLike, backend_args: BackendArgs) -> BaseStorageBackend:
    return get_file_backend(path, backend_args=backend_args, enable_singleton=True)
