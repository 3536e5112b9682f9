"""Signals, kills and stuck code: what becomes of a loader's workers. Real processes and real signals."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, IterableDataset

from mainspring.dataset import pass_over, resumable
from mainspring.dataset.worker_processes import end_workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

PROGRAM = '''
import os, signal, sys, time
import torch
from torch.utils.data import DataLoader
from mainspring.dataset import pass_over, resumable

torch.set_num_threads(1)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
begun = False

class Noise:
    def __len__(self):
        return 24
    def __getitem__(self, index):
        time.sleep(0.001)
        return index, begun, torch.rand(2)

class Stuck(Noise):
    def __getitem__(self, index):
        if index > 7:
            time.sleep(3600)
        return index

def begin(worker_id):
    global begun
    begun = True

def read(dataset=Noise, **options):
    loader = DataLoader(dataset(), batch_size=4, shuffle=dataset is Noise, **options)
    return pass_over(resumable(loader, seed=5), 0, seed=5)

def within_a_storm(method, passes, num_workers):
    """Read while the test sends signals to the whole group; then sit there, stuck, to be killed."""
    came = {number: 0 for number in SIGNALS}
    def count(number, frame):
        came[number] += 1
    for number in SIGNALS:
        signal.signal(number, count)
    begin(None)
    workers = dict(num_workers=int(num_workers), multiprocessing_context=method)
    expected = list(read())
    print("ready", flush=True)
    for _ in range(int(passes)):
        batches = list(read(worker_init_fn=begin, **workers))
        for one, other in zip(expected, batches, strict=True):
            assert all(map(torch.equal, one, other))
    assert all(came.values()), came
    print("read", flush=True)
    batches = read(Stuck, **workers)
    next(batches)
    print("stuck", flush=True)
    time.sleep(3600)

def with_workers_at_the_end():
    globals()["kept"] = read(Stuck, num_workers=2)
    next(kept)

if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
'''


class Pids:
    """Says which process reads."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> Any:
        return os.getpid()


class Calling(Pids):
    def __init__(self, function: Callable[[], Any], begin: int = 0) -> None:
        self.function = function
        self.begin = begin

    def __getitem__(self, index: int) -> Any:
        return self.function() if index >= self.begin else os.getpid()


class Endless(IterableDataset):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield os.getpid()


class Own(DataLoader[Any]):
    """Iterates in a way of its own."""

    def __iter__(self) -> Any:
        yield from super().__iter__()


def make(dataset: Any = None, kind: type[DataLoader[Any]] = DataLoader, **options: Any) -> DataLoader[Any]:
    options = {"num_workers": 2, "batch_size": 2, "collate_fn": list, **options}
    return resumable(kind(Pids() if dataset is None else dataset, **options), seed=5)


def pids_of(batches: Iterator[Any]) -> set[int]:
    return {*next(batches), *next(batches)}


def children() -> set[int | None]:
    return {child.pid for child in multiprocessing.active_children()}


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """End the workers of loaders that other tests have left as garbage."""
    gc.collect()


@pytest.fixture
def silence() -> Any:
    """Keep torch from raising an error, anywhere, when a worker is killed."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    yield
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    signal.signal(signal.SIGCHLD, before)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Return a function that starts the program in a process group of its own."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, os.fspath(program), *arguments]
        with (tmp_path / "errors").open("w") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


@pytest.mark.parametrize(("method", "passes", "num_workers"), [("fork", 5, 2), ("spawn", 1, 1), ("forkserver", 1, 1)])
def test_signals_do_not_reach_workers_but_the_kill_of_their_parent_does(
    run: Any, tmp_path: Path, method: str, passes: int, num_workers: int
) -> None:
    process = run("within_a_storm", method, str(passes), str(num_workers))
    assert process.stdout.readline() == "ready\n"
    over = threading.Event()

    def storm() -> None:
        while not over.wait(0.002):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                os.killpg(process.pid, number)

    thread = threading.Thread(target=storm)
    thread.start()
    said = process.stdout.readline()
    over.set()
    thread.join()
    assert said == "read\n", (tmp_path / "errors").read_text()

    assert process.stdout.readline() == "stuck\n"
    process.kill()
    process.communicate(timeout=1)  # until nobody has the other end of the pipe any more


def test_a_program_ends_though_its_workers_are_stuck(run: Any, tmp_path: Path) -> None:
    process = run("with_workers_at_the_end")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "errors").read_text() == ""


@pytest.mark.parametrize(
    "loader",
    [make, lambda: make(kind=Own), lambda: make(Endless())],
    ids=["resumable", "own way of iterating", "iterable data"],
)
def test_workers_of_any_loader_are_sheltered(loader: Callable[[], DataLoader[Any]]) -> None:
    batches = pass_over(loader(), 0, seed=5)
    readers = pids_of(batches)
    for reader in readers:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(reader, number)
    for _ in range(20):
        readers |= pids_of(batches)
    assert readers == children()
    assert len(readers) == 2
    batches.close()
    assert children() == set()


def test_a_killed_worker_is_an_error_and_the_next_pass_has_others() -> None:
    loader = make(persistent_workers=True)
    batches = pass_over(loader, 0, seed=5)
    readers = pids_of(batches)
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid"):  # torch has two ways to say it
        os.kill(min(readers), signal.SIGKILL)
        for _ in batches:
            pass
    others = pids_of(pass_over(loader, 1, seed=5))
    assert len(others - readers) == 2


def hold_the_interpreter() -> None:
    time.sleep(0.1)  # another thread of the worker sends what was read before
    ctypes.PyDLL(None).sleep(3600)  # no thread can run any Python now


def spin() -> None:
    while True:
        pass


@pytest.mark.parametrize("stuck_in", [hold_the_interpreter, spin])
def test_a_pass_that_is_left_ends_stuck_workers(stuck_in: Callable[[], Any]) -> None:
    batches = pass_over(make(Calling(stuck_in, begin=4)), 0, seed=5)
    assert pids_of(batches) == children()
    begin = time.monotonic()
    batches.close()
    assert time.monotonic() - begin < 3  # torch awaits each for 5 seconds
    assert children() == set()


@pytest.mark.usefixtures("silence")
def test_terminate_ends_a_stuck_worker() -> None:
    batches = iter(make(Calling(hold_the_interpreter, begin=4)))
    assert pids_of(batches) == children()
    for child in multiprocessing.active_children():
        child.terminate()
        child.join(timeout=10)
        assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("kind", "persistent"), [(DataLoader, False), (DataLoader, True), (Own, False)])
def test_an_error_in_a_worker_ends_all_of_them_at_once(kind: type[DataLoader[Any]], persistent: bool) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    begin = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        list(pass_over(make(Calling(fail, begin=7), kind, persistent_workers=persistent), 0, seed=5))
    assert children() == set()
    assert time.monotonic() - begin < 3  # torch: 10, when the error is forgotten


def test_persistent_workers_stay_when_a_pass_is_left() -> None:
    loader = make(persistent_workers=True)
    batches = pass_over(loader, 0, seed=5)
    readers = pids_of(batches)
    batches.close()
    assert children() == readers
    assert pids_of(pass_over(loader, 1, seed=5)) == readers


def test_a_forked_process_leaves_the_workers_of_its_parent_alone() -> None:
    batches = iter(make())
    readers = pids_of(batches)
    child = multiprocessing.get_context("fork").Process(target=end_workers, args=[batches])
    child.start()
    child.join()
    assert child.exitcode == 0
    assert readers.union(*batches) == readers


def test_workers_end_when_their_loader_is_collected_as_garbage() -> None:
    loader = make(persistent_workers=True)
    list(pass_over(loader, 0, seed=5))
    assert len(children()) == 2
    cycle = [loader]
    cycle.append(cycle)
    del loader, cycle
    begin = time.monotonic()
    gc.collect()
    assert children() == set()
    assert time.monotonic() - begin < 3  # torch: 10


def test_workers_outlive_the_thread_that_began_them() -> None:
    loader = make(persistent_workers=True)
    readers: set[int] = set()
    thread = threading.Thread(target=lambda: readers.update(*pass_over(loader, 0, seed=5)))
    thread.start()
    thread.join()
    assert set().union(*pass_over(loader, 1, seed=5)) == readers == children()


def start_programs() -> list[int]:
    """Return with what two programs ended, of which one was sent a SIGINT first."""
    codes = []
    for first in ([], [signal.SIGINT]):
        program = subprocess.Popen(["sleep", "3600"])
        for number in (*first, signal.SIGTERM):
            program.send_signal(number)
        codes.append(program.wait())
    return codes


def test_programs_of_a_worker_can_be_terminated() -> None:
    batches = pass_over(make(Calling(start_programs)), 0, seed=5)
    assert next(batches) == [[-signal.SIGTERM, -signal.SIGTERM]] * 2


def blocked() -> list[int]:
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_the_mask_is_that_of_before_here_and_in_the_workers() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
    handler = signal.getsignal(signal.SIGINT)
    try:
        expected = blocked()
        batches = pass_over(make(Calling(blocked)), 0, seed=5)
        assert next(batches) == [expected] * 2
        assert blocked() == expected
        assert {signal.SIGUSR1, signal.SIGUSR2} <= {*expected}
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_signal_that_another_thread_gets_is_handled_when_the_workers_have_begun() -> None:
    happened: list[str] = []
    begin, came = threading.Event(), threading.Event()

    class Sampler:
        """Has the signal come while the workers begin."""

        def __len__(self) -> int:
            return 8

        def __iter__(self) -> Iterator[int]:
            begin.set()
            came.wait()
            happened.append("sampled")
            return iter(range(8))

    def press() -> None:
        begin.wait()
        signal.raise_signal(signal.SIGUSR1)
        came.set()

    thread = threading.Thread(target=press)  # begun here, it has nothing blocked
    thread.start()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: happened.append(f"handled, {len(children())} workers"))
    try:
        next(pass_over(make(sampler=Sampler()), 0, seed=5))
    finally:
        signal.signal(signal.SIGUSR1, before)
        thread.join()
    assert happened == ["sampled", "handled, 2 workers"]


class Unwilling(Pids):
    """Can be sent to one process only."""

    def __init__(self) -> None:
        self.sent = 0

    def __getstate__(self) -> Any:
        self.sent += 1
        if self.sent > 1:
            raise ZeroDivisionError
        return {}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch's iterator is not complete
def test_if_one_cannot_begin_the_others_end() -> None:
    loader = make(Unwilling(), multiprocessing_context="spawn")
    with pytest.raises(ZeroDivisionError):
        next(pass_over(loader, 0, seed=5))
    assert children() == set()
    assert blocked() == []


def test_the_users_function_runs_and_the_loader_is_as_before() -> None:
    asked: list[int] = []
    loader = make(Calling(lambda: list(asked)), worker_init_fn=asked.append, kind=Own)
    batches = pass_over(loader, 0, seed=5)
    assert [next(batches), next(batches)] == [[[0], [0]], [[1], [1]]]
    assert loader.worker_init_fn == asked.append
    batches.close()
    assert "_get_iterator" not in vars(loader)
