"""How processes are started, and how many threads they have."""

from __future__ import annotations

import os

import torch

__all__ = ["set_multi_processing"]


def set_multi_processing(mp_start_method: str = "fork", opencv_num_threads: int = 0, distributed: bool = False) -> None:
    """Set how loader workers are started. A runner does so itself, by ``env_cfg=dict(mp_cfg=...)``.

    Args:
        mp_start_method: ``'fork'``, ``'spawn'`` or ``'forkserver'``.
        opencv_num_threads: How many threads OpenCV has in a process, if it is installed; 0 for none beside the
            process's own.
        distributed: Whether there are several training processes on a machine: then each has one thread for its
            arithmetic, unless the environment says otherwise.
    """
    if torch.multiprocessing.get_start_method(allow_none=True) != mp_start_method:
        torch.multiprocessing.set_start_method(mp_start_method, force=True)
    try:
        import cv2  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        pass  # no OpenCV, no threads of it
    else:
        cv2.setNumThreads(opencv_num_threads)
    if distributed:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
