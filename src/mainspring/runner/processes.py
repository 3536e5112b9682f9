"""A model that several processes train together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast

from torch import nn

from ..dist import GradientSync, broadcast_tensors
from ..model import BaseModel, Route, wrap_model
from ..optim import OptimWrapper, OptimWrapperDict

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["share_gathered", "share_gradients", "with_sync_batchnorm"]

Model = TypeVar("Model", bound=nn.Module)


def with_sync_batchnorm(model: Model, runner: Runner, sync_bn: str | None) -> Model:
    """Return the model with batch normalisation over all processes, if that was asked for and there are several.

    Raises:
        ValueError: There is no such implementation, or none for the device.
    """
    if sync_bn not in (None, "torch"):
        raise ValueError(f"sync_bn must be 'torch' or None, but it is {sync_bn!r}.")
    if sync_bn is None or runner.world_size == 1:
        return model
    if runner.device.type == "cpu":
        raise ValueError(
            "sync_bn='torch': torch has batch normalisation over several processes on accelerators, but this run is on"
            " the CPU. Leave sync_bn out, or take a normalisation that does not depend on the batch, such as"
            " nn.GroupNorm."
        )
    from ..model import convert_sync_batchnorm  # here, as it is seldom needed

    return cast(Model, convert_sync_batchnorm(model))


def share_gradients(
    runner: Runner, optim_wrapper: Any, cfg: Mapping[str, Any] | None, find_unused_parameters: bool
) -> Route | None:
    """Let all processes begin with the weights of rank 0, and update with the mean of their gradients.

    Gradients are averaged while the backward pass computes them, by ``DistributedDataParallel``, if there is one
    optimizer and the step calls the model itself. Otherwise each optimizer wrapper averages those of its parameters
    before it makes a step.

    Args:
        runner: Whose model it is.
        optim_wrapper: Updates it.
        cfg: ``model_wrapper_cfg``, or None. With several optimizers, whose losses seldom depend on all parameters, only
            a ``cfg`` brings the ``DistributedDataParallel``.
        find_unused_parameters: See :class:`~mainspring.Runner`.

    Returns:
        What leads the calls of the model, as long as it is held; None where nothing need.
    """
    if runner.world_size == 1:
        return None
    model: nn.Module = runner.model
    broadcast_tensors([tensor.data for tensor in chain(model.parameters(), model.buffers())])
    several = isinstance(optim_wrapper, OptimWrapperDict)
    route = None if several and cfg is None else wrap_model(model, cfg, find_unused_parameters)
    if not isinstance(optim_wrapper, OptimWrapper):
        runner.logger.warning(
            f"The optimizer wrapper of this run is a {type(optim_wrapper).__name__}, which is no OptimWrapper:"
            " gradients are averaged over the processes only where train_step calls the model itself, self(...), and"
            " nowhere else. Derive it from OptimWrapper."
        )
        return route

    def tell() -> None:
        runner.logger.info(
            f"A loss of {runner.model_name}.train_step was not computed by calling the model itself: its gradients are"
            " averaged over the processes all at once, before the step. That is as exact, and slower: self(...), in"
            " place of self.forward(...) or a part of the model, averages them while they are computed."
        )

    for part in optim_wrapper.parts.values():
        part.gradient_sync = GradientSync(route, None if route is None else tell)
    if route is None and not several and not isinstance(model, BaseModel):
        runner.logger.info(
            f"The gradients of {runner.model_name} are averaged over the processes all at once, before each step. Let"
            " it inherit from mainspring.BaseModel to have them averaged while they are computed."
        )
    return route


def share_gathered(runner: Runner) -> None:
    """Let the gradients of an accumulation group be the same in all processes, as one of them saves them for all."""
    if runner.world_size > 1 and isinstance(runner.optim_wrapper, OptimWrapper):
        runner.optim_wrapper.share_gathered()
