"""Files of every other place: whatever fsspec opens."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from ..utils import did_you_mean
from .base_backend import BaseStorageBackend, FileFacts, check_listing
from .fsspec_tools import errors_of, facts_of, listing, making_directory, move, stream, write_whole
from .local_backend import LocalBackend
from .paths import PathLike, local_path, scheme_of

if TYPE_CHECKING:  # it costs a start milliseconds that most runs, whose files are all local, need not pay
    from fsspec.spec import AbstractFileSystem

__all__ = ["FsspecBackend", "require_known"]

_SITE = re.compile(r"(?:[^:/]+://[^/]*)?")


class FsspecBackend(BaseStorageBackend):
    """Files of any file system that fsspec knows, such as ``s3``, ``gs``, ``sftp``, ``hf`` or ``memory``.

    A file is written under the temporary name ``.<name>.tmp`` beside its place and then moved there. Where the file
    system renames (sftp, smb, hdfs), or shows a copy only when it is complete (s3, gs, az, memory), what stands under
    the name is whole at every moment; where a rename refuses to replace, the old file is deleted right before it.
    Whether the bytes have reached a disk by then is up to the file system. A file has one writer at a time.

    Whatever goes wrong in the driver is raised as an ``OSError`` that names the URL; it is a ``FileNotFoundError``,
    ``PermissionError`` and so on where the driver says so.

    Args:
        protocol: fsspec's name of the file system. None leaves it to each URL; chained ones need that, such as
            ``'simplecache::s3://bucket/key'``.
        **storage_options: What the file system's constructor takes: keys, hosts, ``endpoint_url`` and so on.

    Raises:
        ValueError: fsspec knows no such protocol.
        ImportError: When it is used: the driver's library is not installed; the message says which.

    >>> backend = FsspecBackend("memory")
    >>> backend.put(b"whole", "memory://runs/weights.bin")
    >>> backend.get("memory://runs/weights.bin")
    b'whole'
    """

    def __init__(self, protocol: str | None = None, /, **storage_options: Any) -> None:
        if protocol is not None:
            require_known(protocol)
        self._protocol = protocol
        self._options = storage_options
        self._found: dict[tuple[int, str], AbstractFileSystem] = {}
        """By process and site; fsspec itself would make another one, with a connection of its own, for each thread."""

    def prepare(self, filepath: PathLike) -> None:
        """Find the file system of a path, which imports its driver; other threads then use what was found."""
        self._locate(filepath)

    def get(self, filepath: PathLike) -> bytes:
        """Return the bytes of a file."""
        fs, path = self._locate(filepath)
        with errors_of(filepath, "read"):
            return bytes(fs.cat_file(path))

    def get_range(self, filepath: PathLike, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` up to, and without, ``end``; the rest is not read."""
        fs, path = self._locate(filepath)
        with errors_of(filepath, "read"):
            return bytes(fs.cat_file(path, start=start, end=end))

    def get_text(self, filepath: PathLike, encoding: str = "utf-8") -> str:
        r"""Return the text of a file, in which every line ends with ``\n``."""
        return io.TextIOWrapper(io.BytesIO(self.get(filepath)), encoding).read()

    def put(self, obj: bytes, filepath: PathLike) -> None:
        """Write bytes to a file; missing directories are made."""
        self._write(filepath, lambda fs, temporary: fs.pipe_file(temporary, obj))

    def put_stream(self, write: Callable[[IO[bytes]], object], filepath: PathLike) -> None:
        """Let ``write`` write a file, which appears when that has returned; missing directories are made.

        Where there is no directory yet, ``write`` may be called a second time.
        """
        self._write(filepath, lambda fs, temporary: stream(fs, temporary, write))

    def exists(self, filepath: PathLike) -> bool:
        """Say whether there is a file or a directory.

        Raises:
            OSError: It cannot be found out: no connection, no permission.
        """
        return self._kind(filepath) is not None

    def isdir(self, filepath: PathLike) -> bool:
        """Say whether it is a directory; see :meth:`exists`."""
        return self._kind(filepath) == "directory"

    def isfile(self, filepath: PathLike) -> bool:
        """Say whether it is a file; see :meth:`exists`."""
        return self._kind(filepath) == "file"

    def join_path(self, filepath: PathLike, *filepaths: PathLike) -> str:
        """Put the parts of a path together, with one slash between them."""
        first = os.fspath(filepath)
        parts = [os.fspath(part).strip("/") for part in filepaths]
        start = first if first.endswith("://") else f"{first.rstrip('/')}/"
        return start + "/".join(filter(None, parts)) if any(parts) else first

    @contextmanager
    def get_local_path(self, filepath: PathLike) -> Iterator[PathLike]:
        """Lend a copy of the same name in a temporary directory, which is removed at the end of the block."""
        fs, path = self._locate(filepath)
        with tempfile.TemporaryDirectory(prefix="mainspring-") as directory:
            copy = os.path.join(directory, _name_of(path))
            with errors_of(filepath, "read"):
                fs.get_file(path, copy)
                if not os.path.isfile(copy):  # fsspec makes a directory of a directory
                    raise IsADirectoryError(errno.EISDIR, "It is a directory, not a file", str(filepath))
            yield copy

    def copyfile(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a file within the file system, into ``dst`` if that is a directory, and return where to.

        Raises:
            shutil.SameFileError: Both are the same file.
            ValueError: They are in different file systems.
        """
        fs, source = self._locate(src)
        if self._locate(dst)[0] is not fs:
            raise ValueError(
                f"{src} and {dst} are in different file systems. Copy through this machine, with copyfile_to_local"
                " and copyfile_from_local."
            )
        dst = self._into(dst, _name_of(source))
        if source == self._locate(dst)[1]:
            raise shutil.SameFileError(f"{src} and {dst} are the same file, so there is nothing to copy.")
        if not self.isfile(src):
            raise FileNotFoundError(errno.ENOENT, "There is no such file to copy", str(src))
        self._write(dst, lambda fs, temporary: fs.cp_file(source, temporary))
        return dst

    def copytree(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a directory with its files within the file system, and return where to.

        Raises:
            FileExistsError: There is a ``dst`` already.
        """
        names = self._files(src)
        self._refuse_existing(dst)
        for name in names:
            self.copyfile(self.join_path(src, name), self.join_path(dst, name))
        return dst

    def copyfile_from_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Upload a file, into ``dst`` if that is a directory, and return where to."""
        source = local_path(src)
        if not source.is_file():
            raise FileNotFoundError(errno.ENOENT, "There is no such file to copy", str(src))
        dst = self._into(dst, source.name)
        self._write(dst, lambda fs, temporary: fs.put_file(str(source), temporary))
        return dst

    def copytree_from_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Upload a directory with its files, and return where to.

        Raises:
            FileExistsError: There is a ``dst`` already.
        """
        source = local_path(src)
        if not source.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "There is no such directory to copy", str(src))
        self._refuse_existing(dst)
        for path in sorted(source.rglob("*")):
            if path.is_file():
                self.copyfile_from_local(path, self.join_path(dst, path.relative_to(source).as_posix()))
        return dst

    def copyfile_to_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Download a file, into ``dst`` if that is a directory, and return where to.

        It is there whole or not at all: it goes through the temporary directory (``TMPDIR``), which needs room for it.
        """
        with self.get_local_path(src) as copy:
            return LocalBackend().copyfile(copy, dst)

    def copytree_to_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Download a directory with its files, and return where to.

        Raises:
            FileExistsError: There is a ``dst`` already.
        """
        names = self._files(src)
        target = local_path(dst)
        target.mkdir(parents=True)
        for name in names:
            self.copyfile_to_local(self.join_path(src, name), target / name)
        return dst

    def move(self, src: PathLike, dst: PathLike) -> None:
        """Move a file within the file system; missing directories are made."""
        (fs, source), target = self._locate(src), self._locate(dst)[1]
        with errors_of(src, "moved"):
            making_directory(fs, target, lambda: move(fs, source, target))

    def remove(self, filepath: PathLike) -> None:
        """Delete a file.

        Raises:
            FileNotFoundError: There is none.
            IsADirectoryError: It is a directory.
        """
        if self.isdir(filepath):
            raise IsADirectoryError(errno.EISDIR, "It is a directory: use rmtree for these", str(filepath))
        fs, path = self._locate(filepath)
        with errors_of(filepath, "deleted"):
            fs.rm_file(path)

    def rmtree(self, dir_path: PathLike) -> None:
        """Delete a directory and all that is in it.

        Raises:
            FileNotFoundError: There is no such directory.
        """
        if not self.isdir(dir_path):
            raise FileNotFoundError(errno.ENOENT, "There is no such directory", str(dir_path))
        fs, path = self._locate(dir_path)
        with errors_of(dir_path, "deleted"):
            # File by file: fs.rm(path, recursive=True) reads '*' and '[' in a name as a pattern.
            found = fs.find(path, withdirs=True, detail=True)
            directories = {path, *(name for name, info in found.items() if info["type"] == "directory")}
            for name in found.keys() - directories:
                fs.rm_file(name)
            for name in sorted(directories, reverse=True):
                with suppress(FileNotFoundError, NotImplementedError):  # where a directory is only a part of names
                    fs.rmdir(name)

    def copy_if_symlink_fails(self, src: PathLike, dst: PathLike) -> bool:
        """Copy a file or a directory, and return False: there are no symbolic links here."""
        (self.copytree if self.isdir(src) else self.copyfile)(src, dst)
        return False

    def list_dir_or_file(
        self,
        dir_path: PathLike,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Return the paths of directories and files, seen from ``dir_path``, in the order of their names.

        Files whose name begins with a dot are left out.
        """
        check_listing(list_dir, suffix)
        fs, path = self._locate(dir_path)
        with errors_of(dir_path, "listed"):
            return iter(list(listing(fs, path, list_dir, list_file, suffix, recursive)))

    def files_in(self, dir_path: PathLike) -> list[FileFacts]:
        """Return the files in a directory, hidden ones too; none where there is no such directory."""
        fs, path = self._locate(dir_path)
        with errors_of(dir_path, "listed"):
            try:
                return facts_of(fs, path)
            except FileNotFoundError as error:
                self._require_absence(error)
                return []

    def generate_presigned_url(self, url: str, client_method: str = "get_object", expires_in: int = 3600) -> str:
        """Return a URL with which anyone can read the file for ``expires_in`` seconds.

        Args:
            url: The file.
            client_method: What the URL allows, in the words of S3; other stores know only reading.
            expires_in: In seconds.

        Raises:
            io.UnsupportedOperation: The file system does not sign URLs.
        """
        fs, path = self._locate(url)
        words = {} if client_method == "get_object" else {"client_method": client_method}
        with errors_of(url, "signed"):
            return str(fs.sign(path, expiration=expires_in, **words))

    def _locate(self, filepath: PathLike) -> tuple[AbstractFileSystem, str]:
        """Return the file system of a path and what the path is called there."""
        import fsspec

        url = os.fspath(filepath)
        scheme = scheme_of(url)
        if self._protocol is None:
            if scheme == "":
                raise ValueError(
                    f"{url!r} is a path of this machine, and a URL is needed here. Between the two there are"
                    " copyfile_to_local and copyfile_from_local."
                )
            require_known(scheme)
        # What a chain of URLs needs depends on all of them, so that it is found anew each time.
        site = os.getpid(), url if "::" in url else _SITE.findall(url)[0]
        with errors_of(url, "reached"):
            if site in self._found:
                fs = self._found[site]
                path = fs._strip_protocol(url)
            elif self._protocol is None or scheme == self._protocol:
                fs, path = fsspec.url_to_fs(url, **self._options)
            else:
                fs = fsspec.filesystem(self._protocol, **self._options)
                path = fs._strip_protocol(url)
        names = [fs.protocol] if isinstance(fs.protocol, str) else fs.protocol
        if self._protocol is not None and scheme not in ("", *names, self._options.get("target_protocol")):
            raise ValueError(
                f"{url} is not of the backend {self._protocol!r}, which opens {self._protocol}:// URLs: give"
                f" backend={scheme!r}, or leave 'backend' out of backend_args."
            )
        if "::" not in url:
            self._found[site] = fs
        fs.invalidate_cache()  # it may remember listings, and another process may have written since
        return fs, str(path)

    def _kind(self, filepath: PathLike) -> str | None:
        """Return ``'file'``, ``'directory'``, or None where there is nothing."""
        fs, path = self._locate(filepath)
        with errors_of(filepath, "looked up"):
            try:
                return str(fs.info(path)["type"])
            except FileNotFoundError as error:
                self._require_absence(error)
                return None

    def _require_absence(self, error: FileNotFoundError) -> None:
        """Raise the error behind ``error`` if that does not mean that there is no such file."""

    def _files(self, directory: PathLike) -> list[str]:
        fs, path = self._locate(directory)
        with errors_of(directory, "listed"):
            return list(listing(fs, path, list_dir=False, list_file=True, suffix=None, recursive=True, hidden=True))

    def _into(self, target: PathLike, name: str) -> PathLike:
        return self.join_path(target, name) if self.isdir(target) else target

    def _refuse_existing(self, target: PathLike) -> None:
        if self.exists(target):
            raise FileExistsError(errno.EEXIST, "There is one already: delete it, or choose another name", str(target))

    def _write(self, filepath: PathLike, write: Callable[[AbstractFileSystem, str], Any]) -> None:
        fs, path = self._locate(filepath)
        with errors_of(filepath, "written"):
            write_whole(fs, path, lambda temporary: write(fs, temporary))


def _name_of(path: str) -> str:
    return re.split(r"[?#]", path.rstrip("/").rpartition("/")[2])[0] or "file"


def require_known(protocol: str) -> None:
    """Refuse a protocol that fsspec does not know."""
    import fsspec

    known = {*fsspec.available_protocols(), *fsspec.registry}  # the latter are registered as classes
    if protocol not in known:
        raise ValueError(
            f"{protocol!r} is neither a registered backend nor a protocol of fsspec.{did_you_mean(protocol, known)}"
            f" fsspec knows: {', '.join(sorted(known))}. A backend of your own gets its name with"
            " mainspring.fileio.register_backend."
        )
