"""How the workers of a loader begin and end, seen from the process that has them."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader

from .worker import OUTSIDE_SIGNALS, Sheltered

if sys.platform != "win32":
    from multiprocessing import resource_tracker

__all__ = ["Held", "are_alive", "end_workers", "start_workers", "workers_end"]

_GRACE = 1.0
"""Seconds that workers get to finish what they are reading, when nobody wants it any more."""

_started: weakref.WeakKeyDictionary[BaseProcess, int] = weakref.WeakKeyDictionary()  # and by which process


def start_workers(loader: DataLoader[Any], begin: Callable[[], Any]) -> Any:
    """Return ``begin()``, an iterator over a loader, whose workers no signal from outside can break.

    From their first instruction to the last these workers ignore SIGINT, SIGTERM and SIGUSR1, and they end with their
    parent; see :class:`~mainspring.dataset.worker.Sheltered`. Signals that come to this process meanwhile are handled
    when the workers have begun.
    """
    if loader.num_workers == 0:
        return begin()
    method = (loader.multiprocessing_context or torch.multiprocessing).get_start_method()
    if sys.platform != "win32" and method != "fork":
        with _signals_wait():  # and before the next block, since it takes SIGINT and SIGTERM out of the mask
            resource_tracker.ensure_running()
    given = loader.worker_init_fn
    others: set[BaseProcess] = set(multiprocessing.active_children())
    thread_is_parent = method != "forkserver" and _in_main_thread()
    with _signals_wait() as mask:
        loader.worker_init_fn = Sheltered(given, mask, thread_is_parent)
        try:
            batches = begin()
        except BaseException:
            _kill_all(_workers_but(others))
            raise
        finally:
            loader.worker_init_fn = given
        workers = _workers_but(others)
        for worker in workers:
            _started[worker] = os.getpid()
            worker.terminate = partial(_kill, weakref.ref(worker))  # type: ignore[method-assign]
        if hasattr(batches, "_shutdown_workers"):  # it is torch's own, and not what a user makes of it
            weakref.finalize(batches, _end_with_garbage, id(batches), workers).atexit = False
    return batches


def _workers_but(others: set[BaseProcess]) -> list[BaseProcess]:
    return [worker for worker in multiprocessing.active_children() if worker.daemon and worker not in others]


def _is_ours(worker: BaseProcess) -> bool:
    return _started.get(worker) == os.getpid()  # a forked process finds the workers of its parent here


class Held:
    """An iterator with workers that persist, for who reads it: the loader keeps the iterator itself, for the next pass.

    Args:
        batches: The iterator; what is asked of this is asked of it.
    """

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)


def are_alive(batches: Any) -> bool:
    """Whether an iterator has all the workers with which it began."""
    return all(worker.is_alive() for worker in getattr(batches, "_workers", []))


def end_workers(batches: Any) -> None:
    """End the workers of an iterator that nobody wants to read any more, in little more than a second.

    Otherwise torch ends them when the iterator is forgotten, and awaits each that is reading for 5 seconds.
    """
    batches = batches.batches if isinstance(batches, Held) else batches
    workers = getattr(batches, "_workers", [])
    if not any(map(_is_ours, workers)) or sys.is_finalizing():  # then they are dead already
        return
    _unregister(id(batches))
    impatience = threading.Timer(_GRACE, _kill_all, args=[workers])
    impatience.daemon = True
    impatience.start()
    try:
        batches._shutdown_workers()
    finally:
        impatience.cancel()


def _end_with_garbage(key: int, workers: list[BaseProcess]) -> None:
    """Kill the workers of an iterator that is collected as part of a cycle, as it is after an exception.

    Python calls this before torch's ``__del__``, which would wait 5 seconds for each: the threads by which it could
    tell them the end are collected first.
    """
    left = [worker for worker in workers if _is_ours(worker) and worker.is_alive()]
    if left:
        _unregister(key)
        _kill_all(left)


def _unregister(key: int) -> None:
    """Let the end of an iterator's workers be no error any more, whatever ends them."""
    with suppress(ValueError):  # torch has done so
        torch._C._remove_worker_pids(key)
        torch._C._set_worker_pids(key, ())  # to be removed by torch


@contextmanager
def workers_end(loader: DataLoader[Any]) -> Iterator[None]:
    """For the length of the block, let a loader of any class start its workers by :func:`start_workers`.

    With the block they end, unless they are to persist.
    """
    begin = loader._get_iterator
    started: list[Any] = []

    def get_iterator() -> Any:
        batches = start_workers(loader, begin)
        started.append(batches)
        return batches

    loader._get_iterator = get_iterator  # type: ignore[method-assign]
    try:
        yield
    finally:
        vars(loader).pop("_get_iterator", None)
        for batches in started:
            if not loader.persistent_workers:
                end_workers(batches)


@contextmanager
def _signals_wait() -> Iterator[set[int]]:
    """Let the outside signals wait for the end of the block, and give the mask of before.

    They are blocked, and processes that are started meanwhile inherit that. But another thread may take them, and
    Python runs their handlers in the main thread all the same; an exception from there could lose the process that is
    just being made. So the handlers are held back too.
    """
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)

    def bring_back() -> None:
        for number in dict.fromkeys(came):
            signal.raise_signal(number)

    with ExitStack() as stack:
        mask: set[int] = set()
        if sys.platform != "win32":
            mask.update(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
            signal.pthread_sigmask(signal.SIG_BLOCK, OUTSIDE_SIGNALS)
        stack.callback(bring_back)
        for number in OUTSIDE_SIGNALS if _in_main_thread() else ():
            handler = signal.getsignal(number)
            if callable(handler):
                stack.callback(signal.signal, number, handler)
                signal.signal(number, remember)
        yield mask


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _kill(worker: weakref.ref[BaseProcess]) -> None:
    """End a worker, for whoever calls its ``terminate()``: it ignores SIGTERM."""
    process = worker()
    if process is not None:
        process.kill()


def _kill_all(workers: Iterable[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


@atexit.register
def _end_all() -> None:
    """Kill the workers that are left when the program ends, before Python terminates and awaits them."""
    left = [worker for worker in _started if _is_ours(worker) and worker.is_alive()]
    if left and sys.platform != "win32":
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise an error for each
    _kill_all(left)
