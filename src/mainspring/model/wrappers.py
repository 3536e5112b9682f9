"""Modules that only hold a model, to let several devices or processes work on it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..registry import MODEL_WRAPPERS, Registry

__all__ = ["is_model_wrapper"]


def is_model_wrapper(model: nn.Module, registry: Registry = MODEL_WRAPPERS) -> bool:
    """Whether it is a module around a model, such as ``nn.DataParallel``; its ``module`` is then the model.

    Args:
        model: The module.
        registry: Where wrappers are registered, here or in registries below; those of torch count anyway.

    >>> is_model_wrapper(nn.DataParallel(nn.Linear(1, 1))), is_model_wrapper(nn.Linear(1, 1))
    (True, False)
    """
    from torch.nn.parallel import DataParallel, DistributedDataParallel  # here, since it takes long

    return isinstance(model, (DataParallel, DistributedDataParallel, *_registered(registry)))


def _registered(registry: Registry) -> Iterator[type]:
    for entry in registry.module_dict.values():
        if isinstance(entry, type):
            yield entry
    for child in registry.children.values():
        yield from _registered(child)
