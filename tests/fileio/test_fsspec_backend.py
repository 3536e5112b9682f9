import errno
import io
import os
import threading
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mainspring import fileio
from mainspring.fileio import FsspecBackend, exists, get, get_local_path, put


class Renaming(MemoryFileSystem):
    """Renames in one go, as sftp does; directories have to be made, and errors can be asked for by name."""

    protocol = "renaming"
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix(f"{cls.protocol}://"))

    def info(self, path, **kwargs):
        if "forbidden" in path:
            raise PermissionError("who are you?")
        if "offline" in path:
            raise ConnectionResetError("gone")
        return super().info(path, **kwargs)

    def pipe_file(self, path, value, **kwargs):
        if self._parent(path) not in self.pseudo_dirs:
            raise FileNotFoundError(path)
        super().pipe_file(path, value[:2], **kwargs)
        if value == b"too much":
            raise OSError(errno.ENOSPC, "No space left")
        super().pipe_file(path, value, **kwargs)

    def mv(self, path1, path2, **kwargs):
        self.store[path2] = self.store.pop(path1)


class NeverReplacing(Renaming):
    """A rename fails where there is a file already, as on HDFS: with an error, or without a word."""

    protocol = "neverreplacing"
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]
    says_so = True

    def mv(self, path1, path2, **kwargs):
        if path2 not in self.store:
            super().mv(path1, path2)
        elif self.says_so:
            raise OSError("there is one already")


class ReadOnly(MemoryFileSystem):
    protocol = "readonly"

    def _open(self, path, mode="rb", **kwargs):
        if mode != "rb":
            raise NotImplementedError
        return super()._open(path, mode, **kwargs)


@pytest.fixture(params=[Renaming, NeverReplacing])
def renaming(request):
    cls = request.param
    cls.store.clear()
    cls.pseudo_dirs[:] = [""]
    fsspec.register_implementation(cls.protocol, cls, clobber=True)
    return cls


@pytest.mark.parametrize("says_so", [True, False])
def test_a_file_is_renamed_to_its_place_also_over_an_older_one(renaming, monkeypatch, says_so):
    monkeypatch.setattr(NeverReplacing, "says_so", says_so)
    url = f"{renaming.protocol}://runs/deep/file"
    for content in (b"old", b"new"):
        put(content, url)
        assert get(url) == content
        assert list(renaming.store) == ["/runs/deep/file"]


def test_a_stream_and_a_move_go_into_new_directories(renaming):
    backend = FsspecBackend()
    backend.put_stream(lambda file: file.write(b"stream"), f"{renaming.protocol}://runs/deep/file")
    backend.move(f"{renaming.protocol}://runs/deep/file", f"{renaming.protocol}://runs/aside/file")
    assert {path: file.getvalue() for path, file in renaming.store.items()} == {"/runs/aside/file": b"stream"}


def test_a_missing_directory_is_made_where_the_driver_has_an_error_of_its_own():
    class PermanentError(Exception):
        """As ftplib's, which is no OSError."""

    class Server(Renaming):
        protocol = "server"
        store: ClassVar = {}
        pseudo_dirs: ClassVar = [""]

        def pipe_file(self, path, value, **kwargs):
            try:
                super().pipe_file(path, value, **kwargs)
            except FileNotFoundError as error:
                raise PermanentError("550 No such file or directory.") from error

    fsspec.register_implementation("server", Server, clobber=True)
    put(b"content", "server://runs/deep/file")
    assert get("server://runs/deep/file") == b"content"


def test_threads_use_the_file_system_that_was_found():
    """fsspec keeps one for each thread, and each would import and connect."""
    made = []

    class Counted(MemoryFileSystem):
        protocol = "counted"

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.removeprefix("counted://"))

        def __init__(self, *args, **kwargs):
            made.append(threading.current_thread())
            super().__init__(*args, **kwargs)

    fsspec.register_implementation("counted", Counted, clobber=True)
    backend = FsspecBackend()
    backend.prepare("counted://bucket/a")
    thread = threading.Thread(target=backend.put, args=(b"x", "counted://bucket/b/c"))
    thread.start()
    thread.join()
    assert made == [threading.main_thread()]
    assert backend.get("counted://bucket/b/c") == b"x"


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_write_that_fails_leaves_all_as_it_was(renaming, before):
    url = f"{renaming.protocol}://runs/file"
    if before is not None:
        put(before, url)
    with pytest.raises(OSError, match=f"{url} could not be written: OSError.*No space left"):
        put(b"too much", url)
    assert {path: file.getvalue() for path, file in renaming.store.items()} == (
        {} if before is None else {"/runs/file": before}
    )


def test_what_cannot_be_found_out_is_not_called_absent(renaming):
    with pytest.raises(PermissionError) as caught:
        exists(f"{renaming.protocol}://forbidden/file")
    assert caught.value.filename == f"{renaming.protocol}://forbidden/file"
    with pytest.raises(OSError, match="offline/file could not be looked up: ConnectionResetError: gone"):
        fileio.isfile(f"{renaming.protocol}://offline/file")


def test_a_file_system_that_cannot_write_says_so():
    fsspec.register_implementation("readonly", ReadOnly, clobber=True)
    with pytest.raises(io.UnsupportedOperation, match="readonly://file could not be written: its file system has no"):
        put(b"", "readonly://file")
    with pytest.raises(io.UnsupportedOperation, match="could not be signed"):
        fileio.generate_presigned_url("readonly://file")


def test_the_lent_copy_goes_at_the_end_of_the_block_also_after_an_error(memory):
    put(b"content", f"{memory}/weights.pth")

    def use():
        with get_local_path(f"{memory}/weights.pth") as path:
            lent.append(path)
            raise ZeroDivisionError("the user's own")

    lent: list[str] = []
    with pytest.raises(ZeroDivisionError, match="the user's own"):
        use()
    assert not os.path.exists(lent[0])
    assert not Path(lent[0]).parent.exists()


def test_a_directory_is_not_lent(memory):
    put(b"", f"{memory}/directory/file")
    with pytest.raises(IsADirectoryError, match="directory"), get_local_path(f"{memory}/directory"):
        pass


def test_a_listing_is_never_an_old_one():
    class Remembering(Renaming):
        protocol = "remembering"
        store: ClassVar = {}

        def ls(self, path, detail=True, **kwargs):
            if path not in self.dircache:
                self.dircache[path] = super().ls(path, detail=True, **kwargs)
            return self.dircache[path]

        def invalidate_cache(self, path=None):
            self.dircache.clear()

    fsspec.register_implementation("remembering", Remembering)
    Remembering.pseudo_dirs = ["", "/runs"]
    put(b"", "remembering://runs/a")
    assert list(fileio.list_dir_or_file("remembering://runs")) == ["a"]
    Remembering.store["/runs/b"] = Remembering.store["/runs/a"]  # another process writes
    assert list(fileio.list_dir_or_file("remembering://runs")) == ["a", "b"]


def test_a_name_that_leads_out_of_the_directory_is_not_copied(memory, tmp_path):
    put(b"in", f"{memory}/tree/file")
    fsspec.filesystem("memory").store[f"/{memory[9:]}/tree/../outside"] = io.BytesIO(b"out")
    fileio.copytree_to_local(f"{memory}/tree", tmp_path / "down" / "tree")
    assert [path.name for path in (tmp_path / "down").rglob("*")] == ["tree", "file"]


def test_copies_stay_within_one_file_system(memory, tmp_path):
    put(b"", f"{memory}/a")
    with pytest.raises(ValueError, match=r"is a path of this machine.*copyfile_to_local"):
        fileio.copyfile(f"{memory}/a", str(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"different file systems.*copyfile_to_local"):
        fileio.copyfile(f"{memory}/a", (tmp_path / "a").as_uri())
    assert os.listdir(tmp_path) == []


def test_chained_urls_and_a_named_protocol(memory, tmp_path):
    put(b"content", f"{memory}/file")
    assert get(f"simplecache::{memory}/file") == b"content"
    options = {"backend": "simplecache", "target_protocol": "memory", "cache_storage": str(tmp_path)}
    assert get(f"{memory}/file", backend_args=options) == b"content"
    assert len(os.listdir(tmp_path)) == 1
    assert get(f"/{memory.removeprefix('memory://')}/file", backend_args={"backend": "memory"}) == b"content"


def test_paths_of_another_protocol_than_the_named_one_are_refused(memory):
    with pytest.raises(ValueError, match=r"gs://bucket/key is not of the backend 'memory'.*backend='gs'"):
        get("gs://bucket/key", backend_args={"backend": "memory"})


def test_a_missing_library_is_named():
    fsspec.register_implementation("nodriver", "no_such_library.FileSystem", errtxt="Install no_such_library")
    with pytest.raises(ImportError, match="nodriver://x needs a library that is not installed: Install no_such_libr"):
        get("nodriver://x")


def test_an_unknown_protocol_is_named_with_the_nearest():
    for read in (lambda: get("memry://x"), lambda: FsspecBackend("memry")):
        with pytest.raises(ValueError, match=r"'memry' is neither a registered backend nor.*Did you mean 'memory'"):
            read()


def test_signing_asks_the_store():
    class Signing(MemoryFileSystem):
        protocol = "signing"

        def sign(self, path, expiration=100, **kwargs):
            return f"https://host/{path}?expires={expiration}{''.join(kwargs.values())}"

        @classmethod
        def _strip_protocol(cls, path):
            return path.removeprefix("signing://")

    fsspec.register_implementation("signing", Signing)
    assert fileio.generate_presigned_url("signing://a") == "https://host/a?expires=3600"
    assert fileio.generate_presigned_url("signing://a", "put_object", 9) == "https://host/a?expires=9put_object"


def test_joining():
    assert fileio.join_path("memory://", "a", "b/", "/c") == "memory://a/b/c"
    assert fileio.join_path("s3://bucket/", "", Path("a")) == "s3://bucket/a"
    assert fileio.join_path("s3://bucket/") == "s3://bucket/"
