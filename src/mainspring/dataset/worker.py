"""What a loader's worker does first."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from torch.utils.data import get_worker_info

from ..registry import FUNCTIONS
from ..utils import Stream, mix, seed_generators

__all__ = ["OUTSIDE_SIGNALS", "Sheltered", "worker_init_fn"]

OUTSIDE_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
"""The signals that ask a run to end. They usually go to all of its processes; only the main one heeds them."""

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


@FUNCTIONS.register_module()
def worker_init_fn(
    worker_id: int,
    num_workers: int,
    rank: int,
    seed: int,
    disable_subprocess_warning: bool = False,
    sampler: Any = None,
) -> None:
    """Seed the generators of Python, NumPy and torch in a loader's worker.

    Two workers never share a stream, on one rank or on several. Nor do two epochs, where workers start anew
    in each.

    Args:
        worker_id: From 0 to ``num_workers - 1``.
        num_workers: How many workers the loader has.
        rank: Rank of the process that the loader belongs to.
        seed: Seed of the run.
        disable_subprocess_warning: Show no warnings of workers other than the first.
        sampler: The loader's sampler. The epoch that was last set in it becomes part of the seed. Where it
            has none, the number that torch draws for each ``iter()`` of the loader, from the global
            generator, does.
    """
    epoch = getattr(sampler, "epoch", None)  # the sampler may be anyone's
    if epoch is None:
        worker = get_worker_info()
        epoch = 0 if worker is None else worker.seed - worker.id
    seed_generators(mix(Stream.SAMPLE, seed, rank, worker_id, epoch))
    if disable_subprocess_warning and worker_id != 0:
        warnings.simplefilter("ignore")


class Sheltered:
    """A loader's ``worker_init_fn`` that first makes its worker one that nobody but its parent ends.

    OpenCV uses one thread there, as torch does, unless another number was set before; otherwise each worker would take
    as many as there are cores.

    The worker ends with its parent, however that ends, and ignores the outside signals; so its parent ends it by
    SIGKILL where it does not end by itself. Programs that the worker starts get SIGTERM as usual, so that
    ``Popen.terminate()`` ends them, and ignore the other two unless they handle them.

    Args:
        given: The user's function, or None.
        mask: The signals that were blocked in the parent before it blocked the outside ones.
        thread_is_parent: Whether Linux may kill the worker with the thread that starts it, which is what it takes for
            the parent. It may not where that thread ends before its process, or is that of a fork server.
    """

    def __init__(self, given: Callable[[int], Any] | None, mask: set[int], thread_is_parent: bool) -> None:
        self.given = given
        self.mask = mask
        self.thread_is_parent = thread_is_parent
        self.parent = os.getpid()

    def __call__(self, worker_id: int) -> None:
        """Prepare the worker, and call the user's function."""
        if self.thread_is_parent and sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self.parent:  # it ended before that
                os._exit(1)
        else:
            threading.Thread(target=_end_with_parent, daemon=True).start()
        for number in OUTSIDE_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        # What is ignored stays ignored in programs that are started from here; what is handled does not.
        signal.signal(signal.SIGTERM, _do_nothing)
        atexit.register(signal.signal, signal.SIGTERM, signal.SIG_IGN)  # an interpreter that ends takes handlers away
        if sys.platform != "win32":
            signal.siginterrupt(signal.SIGTERM, False)
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        _limit_opencv()
        if self.given is not None:
            self.given(worker_id)


def _limit_opencv() -> None:
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # which it reads when it is imported here
    cv2: Any = sys.modules.get("cv2")
    if hasattr(cv2, "setNumThreads") and cv2.getNumThreads() == cv2.getNumberOfCPUs():  # nobody chose
        cv2.setNumThreads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal."""
