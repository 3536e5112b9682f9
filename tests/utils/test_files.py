import errno
import os
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from mainspring.utils import atomic_write, display_path, explained, explaining

WRITE_AND_HANG = """
import sys
from mainspring.utils import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"new" * 100_000)
    file.flush()
    print("half", flush=True)
    sys.stdin.read()  # until it is killed
"""


def test_the_file_is_there_when_the_block_ends_and_not_before(tmp_path):
    target = tmp_path / "deep" / "down" / "weights.pth"
    with atomic_write(target) as file:
        file.write(b"whole")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert os.listdir(target.parent) == ["weights.pth"]


def test_it_takes_strings_and_replaces_what_was_there(tmp_path):
    target = str(tmp_path / "pointer")
    for text in (b"a longer text", b"short"):
        with atomic_write(target) as file:
            file.write(text)
    assert Path(target).read_bytes() == b"short"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [None, b"old"])
def test_an_error_leaves_all_as_it_was(tmp_path, error, before):
    target = tmp_path / "weights.pth"
    if before is not None:
        target.write_bytes(before)
    listing = os.listdir(tmp_path)

    def write():
        with atomic_write(target) as file:
            file.write(b"half of")
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == listing
    assert before is None or target.read_bytes() == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path):
    target = tmp_path / "weights.pth"
    target.write_bytes(b"old")
    command = [sys.executable, "-c", WRITE_AND_HANG, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    with atomic_write(target) as file:  # what the kill has left beside it is taken, and goes with it
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["weights.pth"]


def test_the_mask_of_the_process_is_left_alone(tmp_path, monkeypatch):
    """Another thread that makes a file meanwhile would make it for everybody."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the mask was changed"))
    with atomic_write(tmp_path / "file"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="directories are not flushed there")
@pytest.mark.parametrize(("number", "tolerated"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_disk_that_cannot_flush_a_directory_will_do(tmp_path, monkeypatch, number, tolerated):
    flush = os.fsync

    def of_a_network_disk(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", of_a_network_disk)
    outcome = nullcontext() if tolerated else pytest.raises(OSError, match=os.strerror(number))
    with outcome, atomic_write(tmp_path / "file") as file:
        file.write(b"x")
    assert (tmp_path / "file").read_bytes() == b"x"


@pytest.mark.skipif(os.name == "nt", reason="permissions are another thing there")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "file") as file:
            file.write(b"x")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
        assert os.umask(mask) == mask, "the mask is as it was"
    finally:
        os.umask(before)


def test_a_directory_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"), atomic_write(tmp_path / "file" / "weights.pth"):
        pass


def test_paths_are_shown_as_a_person_would_type_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert display_path(tmp_path / "run" / "epoch_1.pth") == os.path.join("run", "epoch_1.pth")
    assert display_path(tmp_path.parent / "elsewhere") == str(tmp_path.parent / "elsewhere")


def test_a_url_is_shown_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert display_path("s3://bucket/run/epoch_1.pth") == "s3://bucket/run/epoch_1.pth"


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "Make room there, or choose another work_dir"),
        (errno.EROFS, "Make it writable, or choose another work_dir"),
        (errno.EFBIG, "Raise the limit for the size of a file, which 'ulimit -f' shows"),
        (errno.ENOTDIR, "A file stands where a directory should be: move it away"),
        (errno.EIO, "Choose another work_dir"),
    ],
)
def test_an_error_of_the_system_says_what_it_means(number, cure):
    with pytest.raises(OSError) as caught, explaining("The log cannot be made", "run.log"):
        raise OSError(number, os.strerror(number), ".run.log.tmp")
    error = caught.value
    assert type(error) is type(OSError(number, ""))
    assert (error.errno, error.filename) == (number, "run.log")
    assert error.strerror.startswith(f"The log cannot be made ({os.strerror(number)}). {cure}")
    assert error.__cause__.filename == ".run.log.tmp"


def test_an_error_without_a_number_is_explained_too():
    assert (
        str(explained(OSError("gone"), "It cannot be made", "x")) == "It cannot be made (gone). Choose another work_dir"
    )


def test_other_errors_are_left_alone():
    with pytest.raises(KeyError), explaining("It cannot be made", "x"):
        raise KeyError("mine")
