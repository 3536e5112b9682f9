import os
import threading
from pathlib import Path

import pytest

from mainspring.fileio import LocalBackend, copyfile, get, get_local_path, join_path, list_dir_or_file, put


def test_the_previous_file_stays_when_the_new_one_cannot_be_written(tmp_path):
    put(b"old", tmp_path / "file")

    with pytest.raises(TypeError, match="bytes-like"):
        LocalBackend().put("no bytes", tmp_path / "file")
    assert get(tmp_path / "file") == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_written_through_a_link(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    put(b"new", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    put(b"through", pipe)
    reader.join(timeout=60)
    assert read == [b"through"]
    assert pipe.is_fifo()


def test_a_directory_is_not_written_over(tmp_path):
    with pytest.raises(IsADirectoryError, match="no file can be written"):
        put(b"", tmp_path)


def test_a_copy_keeps_who_may_do_what_with_it(tmp_path):
    (tmp_path / "script").write_bytes(b"#!")
    (tmp_path / "script").chmod(0o750)
    copyfile(tmp_path / "script", tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode == (tmp_path / "script").stat().st_mode


def test_what_was_given_is_lent_and_joined_in_its_own_form(tmp_path):
    for path in ("runs/a", Path("runs/a")):
        with get_local_path(path) as lent:
            assert lent is path
    with get_local_path((tmp_path / "a b").as_uri()) as lent:
        assert lent == str(tmp_path / "a b")
    assert join_path("runs", "a", "b") == os.path.join("runs", "a", "b")
    assert join_path((tmp_path / "a b").as_uri(), "c d") == str(tmp_path / "a b" / "c d")


def test_links_are_listed_as_what_they_lead_to(tmp_path):
    put(b"", tmp_path / "a" / "1")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "lost").symlink_to("nowhere")
    assert list(list_dir_or_file(tmp_path, recursive=True)) == ["a", "a/1", "b", "b/1"]


def test_other_places_are_refused():
    with pytest.raises(ValueError, match="not on this machine"):
        get("s3://bucket/key", backend_args={"backend": "local"})
    assert LocalBackend().allow_symlink
