"""Files of this machine."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..utils import atomic_write
from .base_backend import BaseStorageBackend, FileFacts, check_listing
from .paths import PathLike, local_path, scheme_of

__all__ = ["LocalBackend"]


class LocalBackend(BaseStorageBackend):
    """Files of this machine, by path or by ``file://`` URL.

    A file is written beside its place, flushed to the disk and renamed: it is there whole or not at all (see
    :func:`~mainspring.utils.atomic_write`). Missing directories are made.
    """

    @property
    def allow_symlink(self) -> bool:
        """Whether symbolic links can be made: yes."""
        return True

    def get(self, filepath: PathLike) -> bytes:
        """Return the bytes of a file."""
        return local_path(filepath).read_bytes()

    def get_text(self, filepath: PathLike, encoding: str = "utf-8") -> str:
        r"""Return the text of a file, in which every line ends with ``\n``."""
        return local_path(filepath).read_text(encoding)

    def get_range(self, filepath: PathLike, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` up to, and without, ``end``."""
        with local_path(filepath).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def put(self, obj: bytes, filepath: PathLike) -> None:
        """Write bytes to a file, which is there whole or not at all."""
        path = _writable(filepath)
        if path.exists() and not path.is_file():  # a pipe or a device: nothing may be renamed over it
            path.write_bytes(obj)
            return
        with atomic_write(path) as file:
            file.write(obj)

    def put_stream(self, write: Callable[[IO[bytes]], object], filepath: PathLike) -> None:
        """Let ``write`` write a file, which is there whole or not at all."""
        with atomic_write(_writable(filepath)) as file:
            write(file)

    def exists(self, filepath: PathLike) -> bool:
        """Say whether there is a file or a directory."""
        return local_path(filepath).exists()

    def isdir(self, filepath: PathLike) -> bool:
        """Say whether it is a directory."""
        return local_path(filepath).is_dir()

    def isfile(self, filepath: PathLike) -> bool:
        """Say whether it is a file."""
        return local_path(filepath).is_file()

    def join_path(self, filepath: PathLike, *filepaths: PathLike) -> str:
        """Put the parts of a path together, as ``os.path.join`` does; a URL becomes a path."""
        return os.path.join(filepath if scheme_of(filepath) == "" else local_path(filepath), *filepaths)

    @contextmanager
    def get_local_path(self, filepath: PathLike) -> Iterator[PathLike]:
        """Lend the path itself."""
        path = local_path(filepath)
        yield filepath if path == Path(filepath) else str(path)

    def copyfile(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a file, into ``dst`` if that is a directory, and return where to.

        Raises:
            shutil.SameFileError: Both are the same file.
        """
        source, target = local_path(src), local_path(dst)
        if target.is_dir():
            dst = self.join_path(dst, source.name)
            target = target / source.name
        if target.exists() and source.samefile(target):
            raise shutil.SameFileError(f"{src} and {dst} are the same file, so there is nothing to copy.")
        with source.open("rb") as read, atomic_write(_writable(target)) as write:
            shutil.copyfileobj(read, write, 1 << 20)
        shutil.copymode(source, target)
        return dst

    def copytree(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a directory, and return where to.

        Raises:
            FileExistsError: There is a ``dst`` already.
        """
        shutil.copytree(local_path(src), local_path(dst))
        return dst

    def copyfile_from_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a file; see :meth:`copyfile`."""
        return self.copyfile(src, dst)

    def copytree_from_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a directory; see :meth:`copytree`."""
        return self.copytree(src, dst)

    def copyfile_to_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a file; see :meth:`copyfile`."""
        return self.copyfile(src, dst)

    def copytree_to_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a directory; see :meth:`copytree`."""
        return self.copytree(src, dst)

    def move(self, src: PathLike, dst: PathLike) -> None:
        """Rename a file; missing directories are made."""
        target = local_path(dst)
        target.parent.mkdir(parents=True, exist_ok=True)
        local_path(src).replace(target)

    def remove(self, filepath: PathLike) -> None:
        """Delete a file.

        Raises:
            FileNotFoundError: There is none.
            IsADirectoryError: It is a directory.
        """
        path = local_path(filepath)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "It is a directory: use rmtree for these", str(filepath))
        path.unlink()

    def rmtree(self, dir_path: PathLike) -> None:
        """Delete a directory and all that is in it."""
        shutil.rmtree(local_path(dir_path))

    def copy_if_symlink_fails(self, src: PathLike, dst: PathLike) -> bool:
        """Make ``dst`` a symbolic link to ``src``, or a copy where there are no links; say whether it is a link."""
        source, target = local_path(src), local_path(dst)
        try:
            target.symlink_to(source)
        except OSError:
            (self.copytree if source.is_dir() else self.copyfile)(source, target)
            return False
        return True

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
        return _listing(local_path(dir_path), "", list_dir, list_file, suffix, recursive)

    def files_in(self, dir_path: PathLike) -> list[FileFacts]:
        """Return the files in a directory, hidden ones too; none where there is no such directory."""
        files = []
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(local_path(dir_path)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # deleted meanwhile
                    if entry.is_file():
                        info = entry.stat()
                        files.append(FileFacts(entry.name, info.st_size, info.st_mtime_ns, entry.is_symlink()))
        return files


def _listing(
    root: Path, within: str, list_dir: bool, list_file: bool, suffix: str | tuple[str, ...] | None, recursive: bool
) -> Iterator[str]:
    with os.scandir(root / within) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        relative = os.path.join(within, entry.name)
        if entry.is_dir():
            if list_dir:
                yield relative
            if recursive:
                yield from _listing(root, relative, list_dir, list_file, suffix, recursive)
        elif list_file and entry.is_file() and not entry.name.startswith(".") and relative.endswith(suffix or ""):
            yield relative


def _writable(path: PathLike) -> Path:
    """Return the path of a file to write; where it is a link, the path of the file that it leads to."""
    target = local_path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "There is a directory of this name, so no file can be written", str(path))
    return target.resolve() if target.is_symlink() else target
