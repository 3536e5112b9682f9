"""When one process of a run fails, all leave, and the log says once which one, where, and why."""

from __future__ import annotations

import os
import re
import time
import traceback
from typing import TYPE_CHECKING

import torch.distributed as torch_dist

from ..dist import Board

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["RollCall"]

_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|Timed out waiting|Socket|socket|Broken pipe", re.I)
"""What stands in errors of collectives whose other side is gone or late."""
_WAIT = 3.0
"""Seconds in which all that are alive have found out that something is wrong, and said so."""


class RollCall:
    """Tells what went wrong in a run of several processes; one for each process.

    Who fails says so on a board before it leaves. Who only finds that another is gone looks there. If nobody has said
    anything, those that are left say that they are there, and the others must be dead or stuck.

    Args:
        runner: Whose run it is.
        number: Which of the runs of this process it is.
    """

    def __init__(self, runner: Runner, number: int) -> None:
        self._runner = runner
        self._board = Board(f"mainspring/{number}")

    def report(self, error: BaseException) -> bool:
        """Say why this process leaves; where it leaves because of another, return True: its error tells nothing.

        Args:
            error: What ends the run here.
        """
        if not isinstance(error, Exception):
            return False
        try:
            if _is_lost(error):
                self._answer(error)
                return True
            self._confess(error)
        except (RuntimeError, OSError):  # the board is gone with the first process
            self._runner.logger.error(f"{self._me()} leaves at {self._place()}: {_text(error)}")
        return False

    def _confess(self, error: Exception) -> None:
        board = self._board
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        where = f", in {own[-1].filename}:{own[-1].lineno}" if own else ""
        text = f"{self._me()} failed at {self._place()}{where}: {_text(error)}"
        board.leave(f"failed/{board.rank}", text)
        if board.is_first("told"):
            self._runner.logger.error(f"{text} All other processes leave.")
        if "TORCHELASTIC_ERROR_FILE" in os.environ:  # from which torchrun tells at its end what came first
            from torch.distributed.elastic.multiprocessing.errors import get_error_handler

            get_error_handler().record_exception(error)

    def _answer(self, error: Exception) -> None:
        board = self._board
        board.leave(f"alive/{board.rank}")
        end = time.monotonic() + _WAIT
        others = [rank for rank in range(board.world_size) if rank != board.rank]
        while time.monotonic() < end:
            if any(board.find(f"failed/{rank}") for rank in others):
                return
            time.sleep(0.1)
        missing = [rank for rank in others if board.find(f"alive/{rank}") is None]
        if board.is_first("told"):
            who = f"Rank {', '.join(map(str, missing))}" if missing else "Another process"
            self._runner.logger.error(
                f"{who} did not answer at {self._place()}: killed by the system, as when memory runs out, or stuck. All"
                f" other processes leave. {self._me()} found: {_text(error)}"
            )

    def _me(self) -> str:
        return f"Rank {self._board.rank}"

    def _place(self) -> str:
        return f"iteration {self._runner.iter + 1} of {self._runner.max_iters}"


def _is_lost(error: Exception) -> bool:
    """Whether an error says that another process is gone or late."""
    if isinstance(error, torch_dist.DistError):
        return True
    return type(error) is RuntimeError and _LOST.search(str(error)) is not None


def _text(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
