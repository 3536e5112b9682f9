"""A validation of a few batches before training, to fail early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import HOOKS
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["SanityHook"]


@HOOKS.register_module()
class SanityHook(Hook):
    """Validates a few batches before training begins, and forgets the results; ``val_cfg.sanity_batches`` registers it.

    What would fail in the first validation fails here. No other hook is called, nothing is logged, and the generators
    are put back, so that training is the same as without it.

    Args:
        batches: How many of each set of validation data.

    Raises:
        TypeError: It is no integer.
        ValueError: It is below 1.
    """

    priority = "LOWEST"

    def __init__(self, batches: int = 2) -> None:
        if not isinstance(batches, int) or isinstance(batches, bool):
            raise TypeError(f"The batches of a sanity validation must be an integer, but they are {batches!r}.")
        if batches < 1:
            raise ValueError(f"The batches of a sanity validation must be at least 1, but they are {batches}.")
        self.batches = batches
        self._is_done = False

    def before_train(self, runner: Runner) -> None:
        """Validate, once, and only where there is something left to train."""
        loop: Any = runner.val_loop  # a user's may be any
        if self._is_done or loop is None or runner.iter >= runner.max_iters:
            return
        rehearse = getattr(loop, "rehearse", None)
        if rehearse is None:
            raise TypeError(
                f"SanityHook cannot validate some batches with {type(loop).__name__}, which has no rehearse. Derive it"
                " from ValLoop, or leave out the hook."
            )
        try:
            rehearse(self.batches)
        except Exception as error:
            error.add_note(f"(raised in the sanity validation before training, of {self.batches} batches)")
            raise
        self._is_done = True
