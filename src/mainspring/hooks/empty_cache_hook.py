"""Giving back what the memory allocator of a device keeps in reserve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..registry import HOOKS
from ..utils import check_type
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["EmptyCacheHook"]


@HOOKS.register_module()
class EmptyCacheHook(Hook):
    """Gives memory of the device back that torch holds but does not use, so that other programs can have it.

    It makes no more memory for the run itself, which gets the same memory anew, and takes time for it; but it can help
    where sizes differ much from one epoch to the next, and memory is in pieces. On the CPU there is nothing to do.

    Args:
        before_epoch: Whether it is done before each pass over data: training, validation and test.
        after_epoch: Whether it is done behind each.
        after_iter: Whether it is done behind each iteration. The host waits for the device then.
    """

    priority = "NORMAL"

    def __init__(self, before_epoch: bool = False, after_epoch: bool = True, after_iter: bool = False) -> None:
        self.before_epoch = before_epoch
        self.after_epoch = after_epoch
        self.after_iter = after_iter
        for name, wanted in (("before_epoch", before_epoch), ("after_epoch", after_epoch), ("after_iter", after_iter)):
            check_type(wanted, bool, f"EmptyCacheHook: {name}")
        self.idle_at = self._not_wanted()

    def before_run(self, runner: Runner) -> None:
        """Find out whether there is anything to do."""
        idle = (stage for stage in self.stages if stage.endswith(("_epoch", "_iter")))
        self.idle_at = tuple(idle) if runner.device.type == "cpu" else self._not_wanted()

    def _not_wanted(self) -> tuple[str, ...]:
        kinds = {
            ("before", "epoch"): self.before_epoch,
            ("after", "epoch"): self.after_epoch,
            ("before", "iter"): False,
            ("after", "iter"): self.after_iter,
        }
        modes = ("train", "val", "test")
        return tuple(f"{when}_{mode}_{unit}" for (when, unit), on in kinds.items() if not on for mode in modes)

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        """Give it back."""
        torch.accelerator.empty_cache()

    def _after_epoch(self, runner: Runner, mode: str = "train") -> None:
        """Give it back."""
        torch.accelerator.empty_cache()

    def _after_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = "train"
    ) -> None:
        """Give it back."""
        torch.accelerator.empty_cache()
