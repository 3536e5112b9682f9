"""Generators that run on from step to step, for those who want them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from ..dist import all_gather_object, get_dist_info
from ..logging import print_log
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
    for the step it replaces. Of several processes the states of each are saved. A run that goes on with more of them
    begins new streams in those that were not there.
    """

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._states: dict[str, Any] = {}
        self._is_new = False  # in a run that goes on

    def before_train(self, runner: Runner) -> None:
        """Begin the streams, unless the run goes on."""
        if not self._states:
            rank = runner.rank if runner.env.diff_rank_seed or self._is_new else 0
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
        """Return the states of the generators, of several processes by rank; all call it together."""
        ranks = all_gather_object(_with_words_as(torch.int32, self._states))
        return self._states if len(ranks) == 1 else {"ranks": ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        rank, world_size = get_dist_info()
        ranks = state_dict.get("ranks", [state_dict])
        self._is_new = rank >= len(ranks)
        self._states = {} if self._is_new else _with_words_as(torch.uint32, ranks[rank])
        if len(ranks) != world_size and rank == 0:
            print_log(
                f"The states of generators that run on were saved by {len(ranks)} processes, and {world_size} go on:"
                " what their steps draw is not what it would have been.",
                "current",
                logging.WARNING,
            )


def _with_words_as(dtype: torch.dtype, states: dict[str, Any]) -> dict[str, Any]:
    """Return the states with the words of NumPy's as these integers: torch cannot pickle those without a sign."""
    if not states:
        return states
    name, words, *rest = states["numpy"]
    return {**states, "numpy": (name, words.view(dtype), *rest)}
