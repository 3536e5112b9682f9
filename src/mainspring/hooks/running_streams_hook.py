"""Generators that run on from step to step, for those who want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import HOOKS
from ..utils import Stream, generator_states, mix, seed_generators, set_generator_states
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["RunningStreamsHook"]


@HOOKS.register_module()
class RunningStreamsHook(Hook):
    """Lets the steps draw from generators that run on, whatever is drawn in between, and saves their states.

    The runner registers it for ``randomness=dict(running_streams=True)``, behind :class:`PositionSeedHook`, whose seed
    for the step it replaces.
    """

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._states: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Begin the streams, unless the run goes on."""
        if not self._states:
            rank = runner.rank if runner.env.diff_rank_seed else 0
            seed_generators(mix(Stream.STEP, runner.seed, rank), runner.device)
            self._states = generator_states(runner.device)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Go on where the last step has left the generators."""
        set_generator_states(self._states, runner.device)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep where this step leaves them."""
        self._states = generator_states(runner.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the generators."""
        return self._states

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self._states = state_dict
