"""The initialiser that loads weights from a checkpoint."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..checkpoint import load_checkpoint, load_state_dict, read_checkpoint
from ..logging import print_log
from ..registry import WEIGHT_INITIALIZERS
from ..utils import did_you_mean
from .init_record import update_init_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

__all__ = ["PretrainedInit"]


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class PretrainedInit:
    """Load weights from a checkpoint; what does not fit is left as it is, and one warning lists it.

    In an ``init_cfg`` it acts after all other initialisers, those of child modules included.

    Args:
        checkpoint: The file.
        prefix: Load only the weights whose names begin with it, and take it off: ``'backbone'`` initialises a
            backbone from a whole detector.
        map_location: As for ``torch.load``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: When called: the checkpoint has no weights with this prefix, or none that fits.
    """

    def __init__(
        self, checkpoint: str | os.PathLike[str], prefix: str | None = None, map_location: Any = "cpu"
    ) -> None:
        if not isinstance(checkpoint, (str, os.PathLike)):
            raise TypeError(
                f"PretrainedInit: checkpoint must be the path of a file, but it is {checkpoint!r}"
                f" ({type(checkpoint).__name__})."
            )
        if prefix is not None and not isinstance(prefix, str):
            raise TypeError(
                f"PretrainedInit: prefix must be a string such as 'backbone', but it is {prefix!r}"
                f" ({type(prefix).__name__})."
            )
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``."""
        part = "" if self.prefix is None else f"{self.prefix!r} of "
        print_log(f"{type(module).__name__} loads {part}{str(self.checkpoint)!r}.", logger="current")
        if self.prefix is None:
            load_checkpoint(module, self.checkpoint, map_location=self.map_location, strict=False, logger="current")
        else:
            weights = self._weights_under(self.prefix)
            load_state_dict(module, weights, strict=False, logger="current", source=f"{part}{str(self.checkpoint)!r}")
        update_init_info(module, str(self))

    def __repr__(self) -> str:
        prefix = "" if self.prefix is None else f", prefix={self.prefix}"
        return f"{type(self).__name__}: checkpoint={self.checkpoint}{prefix}"

    def _weights_under(self, prefix: str) -> dict[str, Any]:
        checkpoint = read_checkpoint(self.checkpoint, map_location=self.map_location)
        weights: Mapping[str, Any] = checkpoint.get("state_dict", checkpoint)
        start = prefix if prefix.endswith(".") else f"{prefix}."
        found = {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}
        if not found:
            # Every prefix that would find something, the shortest first.
            possible = {".".join(parts[:i]) for parts in (n.split(".") for n in weights) for i in range(1, len(parts))}
            first = sorted({name.partition(".")[0] for name in weights})
            raise ValueError(
                f"PretrainedInit: no weight in {str(self.checkpoint)!r} has a name that starts with"
                f" {start!r}."
                f"{did_you_mean(prefix.rstrip('.'), sorted(possible))} The names there start with"
                f" {', '.join(map(repr, first))}."
            )
        return found
