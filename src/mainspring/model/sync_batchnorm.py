"""Batch normalisation over the batches of all processes, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["convert_sync_batchnorm", "revert_sync_batchnorm"]


def convert_sync_batchnorm(module: nn.Module, implementation: str = "torch") -> nn.Module:
    """Replace every batch normalisation in a module by ``nn.SyncBatchNorm``, which computes over all processes.

    The parameters and statistics stay the very tensors that they are.

    Args:
        module: Is changed, unless it is a batch normalisation itself.
        implementation: ``'torch'``.

    Returns:
        ``module``, or what replaces it.

    Raises:
        ValueError: It is another implementation.
    """
    if implementation != "torch":
        raise ValueError(f"implementation must be 'torch', but it is {implementation!r}. Leave it out.")
    torchs: Any = nn.SyncBatchNorm  # which has no types
    converted: nn.Module = torchs.convert_sync_batchnorm(module)
    return converted


class _AnyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of inputs of any number of dimensions: which one it was before, nobody knows any more."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002  torch's name of it
        if input.dim() < 2:
            raise ValueError(f"Batch normalisation needs inputs of at least two dimensions, got {input.dim()}.")


def revert_sync_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every ``nn.SyncBatchNorm`` in a module by a batch normalisation, which runs without other processes.

    The parameters and statistics stay the very tensors that they are.

    Args:
        module: Is changed, unless it is an ``nn.SyncBatchNorm`` itself.

    Returns:
        ``module``, or what replaces it.

    >>> model = convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)))
    >>> revert_sync_batchnorm(model)(torch.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 3, 4, 4])
    """
    if isinstance(module, nn.SyncBatchNorm):
        return _reverted(module)
    for name, child in module.named_children():
        replaced = revert_sync_batchnorm(child)
        if replaced is not child:
            setattr(module, name, replaced)
    return module


def _reverted(module: nn.SyncBatchNorm) -> _AnyBatchNorm:
    options: Any = (module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
    batch_norm = _AnyBatchNorm(*options)
    batch_norm._parameters.update(module._parameters)
    batch_norm._buffers.update(module._buffers)
    batch_norm.train(module.training)
    if hasattr(module, "qconfig"):  # what torch's quantisation leaves on a module
        batch_norm.qconfig = module.qconfig
    return batch_norm
