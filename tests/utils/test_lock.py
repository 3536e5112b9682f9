"""One run at a time in a directory: real processes, some of them killed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import socket
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from mainspring.utils import DirectoryInUse, DirectoryLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the processes of these tests are forked")
FORK = multiprocessing.get_context("fork" if sys.platform != "win32" else None)


class Process:
    """A forked process that runs ``function(connection, *arguments)``, and is killed at the end of the test."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.connection, there = FORK.Pipe()
        self.process = FORK.Process(target=function, args=(there, *arguments), daemon=False)
        self.process.start()
        there.close()

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.fixture
def start() -> Any:
    started: list[Process] = []

    def start(function: Any, *arguments: Any) -> Process:
        started.append(Process(function, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def hold(connection: Connection, directory: Path) -> None:
    lock = DirectoryLock(directory)
    lock.acquire()
    connection.send("held")
    connection.recv()  # the process ends without a release


def hold_with_child(connection: Connection, directory: Path) -> None:
    DirectoryLock(directory).acquire()
    if os.fork():
        connection.send(None)
        threading.Event().wait()
    else:
        connection.send(os.getpid())
        connection.recv()  # this process outlives the other
        connection.send("still there")
        os._exit(0)


def try_once(connection: Connection, directory: Path) -> None:
    """Try when everybody is told to; who has it keeps it until everybody is told the end."""
    connection.send("ready")
    connection.recv()
    try:
        DirectoryLock(directory).acquire()
    except DirectoryInUse as error:
        connection.send(str(error))
    else:
        connection.send(os.getpid())
    connection.recv()


def use_the_parents(connection: Connection, lock: DirectoryLock) -> None:
    """What a worker might do with a lock that its parent holds."""
    connection.send(lock.held)
    lock.release()
    lock.__exit__(None, None, None)
    try:
        lock.acquire()
    except DirectoryInUse as error:
        connection.send(str(error))


def is_free(directory: Path) -> bool:
    try:
        with DirectoryLock(directory):
            return True
    except DirectoryInUse:
        return False


def test_another_process_is_refused_and_told_whom_to_wait_for(tmp_path: Path, start: Any) -> None:
    holder = start(hold, tmp_path)
    assert holder.connection.recv() == "held"
    with pytest.raises(DirectoryInUse) as refused:
        DirectoryLock(tmp_path).acquire()
    assert re.fullmatch(
        rf"'.*{tmp_path.name}' is in use by another run: process {holder.pid} on host {socket.gethostname()}, since"
        r" \d\d:\d\d:\d\d\. Wait for it, stop it, or choose another work_dir\.",
        str(refused.value),
    )
    assert isinstance(refused.value, RuntimeError)


def test_it_is_free_when_the_process_has_ended_without_a_release(tmp_path: Path, start: Any) -> None:
    holder = start(hold, tmp_path)
    holder.connection.recv()
    assert not is_free(tmp_path)
    holder.connection.send("end")
    holder.process.join()
    assert is_free(tmp_path)


def test_a_kill_frees_it_though_a_forked_child_lives_on(tmp_path: Path, start: Any) -> None:
    holder = start(hold_with_child, tmp_path)
    assert {holder.connection.recv(), holder.connection.recv()} > {None}
    assert not is_free(tmp_path)
    holder.kill()
    assert is_free(tmp_path)
    holder.connection.send("end")
    assert holder.connection.recv() == "still there"


def test_a_forked_process_neither_has_it_nor_gives_it_back(tmp_path: Path, start: Any) -> None:
    with DirectoryLock(tmp_path) as lock:
        child = start(use_the_parents, lock)
        assert child.connection.recv() is False
        assert f"in use by another run: process {os.getpid()} on host" in child.connection.recv()
        child.process.join()
        assert lock.held
        other = start(try_once, tmp_path)
        other.connection.recv(), other.connection.send("go")
        assert f"process {os.getpid()} on" in other.connection.recv()
    assert not lock.held


def test_of_eight_at_once_exactly_one_has_it(tmp_path: Path, start: Any) -> None:
    (tmp_path / ".mainspring.lock").write_text('{"left by": "a run that was killed"}')
    runs = [start(try_once, tmp_path) for _ in range(8)]
    for run in runs:
        run.connection.recv()
    for run in runs:
        run.connection.send("go")
    answers = [run.connection.recv() for run in runs]
    assert [answer for answer in answers if isinstance(answer, int)] == [
        run.pid for run, answer in zip(runs, answers, strict=True) if isinstance(answer, int)
    ]
    assert sum(isinstance(answer, int) for answer in answers) == 1
    assert sum("is in use by another run" in str(answer) for answer in answers) == 7


def test_two_runs_of_one_process_are_kept_apart_by_any_name(tmp_path: Path, start: Any) -> None:
    (tmp_path / "alias").symlink_to(tmp_path / "run")
    with DirectoryLock(tmp_path / "run") as lock:
        for again in (DirectoryLock(tmp_path / "alias"), DirectoryLock(tmp_path / "run"), lock):
            with pytest.raises(DirectoryInUse, match=r"by another run of this process\. Wait for its end, or choose"):
                again.acquire()
        assert lock.held
        other = start(try_once, tmp_path / "run")  # to refuse them has not lost the lock
        other.connection.recv(), other.connection.send("go")
        assert "is in use by another run: process" in other.connection.recv()
        with DirectoryLock(tmp_path / "another"):
            pass
    with lock:
        assert lock.held


def test_of_many_threads_exactly_one_has_it(tmp_path: Path) -> None:
    together, locks = threading.Barrier(8), [DirectoryLock(tmp_path) for _ in range(8)]
    refused: list[DirectoryInUse] = []

    def run(lock: DirectoryLock) -> None:
        together.wait()
        try:
            lock.acquire()
        except DirectoryInUse as error:
            refused.append(error)

    threads = [threading.Thread(target=run, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lock.held for lock in locks) == 1
    assert len(refused) == 7
    for lock in locks:
        lock.release()
    assert is_free(tmp_path)


def test_a_release_leaves_a_file_that_names_nobody(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "deep" / "down"):
        assert str(os.getpid()) in (tmp_path / "deep" / "down" / ".mainspring.lock").read_text()
    assert (tmp_path / "deep" / "down" / ".mainspring.lock").read_text() == ""


def test_an_error_in_the_block_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), DirectoryLock(tmp_path):
        raise ZeroDivisionError
    assert is_free(tmp_path)


def test_a_file_system_without_locks_gives_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, command: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", refuse)  # no such file system is at hand
    with (
        pytest.warns(RuntimeWarning, match=r"knows no locks \(No locks available\).*only one runs") as seen,
        DirectoryLock(tmp_path),
        pytest.raises(DirectoryInUse),
    ):
        DirectoryLock(tmp_path).acquire()
    assert len(seen) == 1
    monkeypatch.undo()
    assert is_free(tmp_path)


def as_nobody(connection: Connection, directory: Path) -> None:
    os.chdir(directory)
    if os.getuid() == 0:  # to whom everything is writable
        os.setuid(65534)
    try:
        DirectoryLock(".").acquire()
    except OSError as error:
        connection.send(error)


def test_a_directory_that_is_not_writable_is_named(tmp_path: Path, start: Any) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o555)
    error = start(as_nobody, directory).connection.recv()
    assert isinstance(error, PermissionError)
    assert "Nothing can be written to the work_dir (Permission denied)" in str(error)
    assert "choose another work_dir" in str(error)
    assert error.filename == "."


def test_a_file_of_that_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no directory")
    with pytest.raises(OSError, match="Nothing can be written to the work_dir") as refused:
        DirectoryLock(tmp_path / "run").acquire()
    assert refused.value.filename.endswith("run")
    assert is_free(tmp_path)
