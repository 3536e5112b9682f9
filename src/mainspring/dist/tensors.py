"""Collectives of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as torch_dist

from ..utils import did_you_mean
from .devices import sendable
from .processes import get_rank, get_world_size

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["all_gather", "all_reduce", "all_reduce_dict", "all_reduce_params", "broadcast", "gather"]

_OPERATIONS = {
    "sum": "SUM",
    "mean": "SUM",  # divided afterwards: only some backends have an average
    "product": "PRODUCT",
    "min": "MIN",
    "max": "MAX",
    "band": "BAND",
    "bor": "BOR",
    "bxor": "BXOR",
}


def all_reduce(data: torch.Tensor, op: str = "sum", group: ProcessGroup | None = None) -> None:
    """Combine a tensor over all processes, in place and outside the graph of gradients.

    Args:
        data: A tensor of the same shape and dtype in every process.
        op: ``"sum"``, ``"mean"``, ``"product"``, ``"min"``, ``"max"``, or of integers ``"band"``, ``"bor"``,
            ``"bxor"``, in either case. A mean of integers is cut towards zero; bools are not divided, so
            that their mean, like their sum, is whether any is true.
        group: The processes that take part; None for all.

    Raises:
        TypeError: ``data`` is no tensor.
        ValueError: ``op`` is unknown.
    """
    operation = _operation(op)
    _check_tensor(data, "all_reduce")
    if get_world_size(group) > 1:
        _reduce([data], operation, group)


def all_reduce_dict(
    data: MutableMapping[str, torch.Tensor], op: str = "sum", group: ProcessGroup | None = None
) -> None:
    """Combine the tensors of a dict over all processes, with one collective for each dtype and device.

    The dict receives new tensors. A mean of integers or bools is a floating-point number.

    Args:
        data: Tensors under the same keys, of the same shapes and dtypes, in every process; the order of the
            keys does not matter.
        op: As for :func:`all_reduce`.
        group: The processes that take part; None for all.
    """
    operation = _operation(op)
    if not isinstance(data, MutableMapping):
        raise TypeError(f"all_reduce_dict takes a dict of tensors, but it was given a {type(data).__name__}.")
    for key, value in data.items():
        _check_tensor(value, f"all_reduce_dict at {key!r}")
    if get_world_size(group) <= 1:
        return
    for key in sorted(data):
        value = data[key].detach()
        if operation == "mean" and not (value.is_floating_point() or value.is_complex()):
            value = value.to(torch.get_default_dtype())
        data[key] = value.clone()
    for bucket in _buckets([data[key] for key in sorted(data)], limit=None):
        _reduce(bucket, operation, group)


def all_reduce_params(
    params: Iterable[torch.Tensor],
    coalesce: bool = True,
    bucket_size_mb: int = -1,
    op: str = "sum",
    group: ProcessGroup | None = None,
) -> None:
    """Combine many tensors over all processes, in place and outside the graph of gradients.

    Args:
        params: Tensors (parameters, gradients or buffers), in the same order in every process.
        coalesce: Send them together, packed by dtype and device, rather than one by one.
        bucket_size_mb: Pack at most about this many MiB at a time; -1 for no limit.
        op: As for :func:`all_reduce`.
        group: The processes that take part; None for all.
    """
    operation = _operation(op)
    if bucket_size_mb == 0 or bucket_size_mb < -1:
        raise ValueError(f"bucket_size_mb must be a positive number, or -1 for no limit, but it is {bucket_size_mb}.")
    tensors = list(params)
    for tensor in tensors:
        _check_tensor(tensor, "all_reduce_params")
    if get_world_size(group) <= 1:
        return
    limit = None if bucket_size_mb == -1 else bucket_size_mb << 20
    for bucket in _buckets(tensors, limit) if coalesce else ([tensor] for tensor in tensors):
        _reduce(bucket, operation, group)


def all_gather(data: torch.Tensor, group: ProcessGroup | None = None) -> list[torch.Tensor]:
    """Return the tensors of all processes, in the order of their ranks, on the device of ``data``.

    With one process it is ``[data]``. The tensors must have one shape and dtype; gradients do not flow back.
    """
    _check_tensor(data, "all_gather")
    size = get_world_size(group)
    if size <= 1:
        return [data]
    sent = sendable(data.detach(), group)
    received = [torch.empty_like(sent) for _ in range(size)]
    torch_dist.all_gather(received, sent, group)
    return [tensor.to(data.device) for tensor in received]


def gather(data: torch.Tensor, dst: int = 0, group: ProcessGroup | None = None) -> list[torch.Tensor]:
    """Return the tensors of all processes to one of them.

    Args:
        data: A tensor of the same shape and dtype in every process.
        dst: The rank, among all processes, of the one that receives.
        group: The processes that take part; None for all.

    Returns:
        In ``dst`` the tensors in the order of their ranks; in the others an empty list; ``[data]`` with one
        process.
    """
    _check_tensor(data, "gather")
    size = get_world_size(group)
    if size <= 1:
        return [data]
    sent = sendable(data.detach(), group)
    if get_rank() != dst:
        torch_dist.gather(sent, None, dst, group)
        return []
    received = [torch.empty_like(sent) for _ in range(size)]
    torch_dist.gather(sent, received, dst, group)
    return [tensor.to(data.device) for tensor in received]


def broadcast(data: torch.Tensor, src: int = 0, group: ProcessGroup | None = None) -> None:
    """Overwrite a tensor with that of one process, in place.

    Args:
        data: A tensor of the same shape and dtype in every process.
        src: The rank, among all processes, of the one that sends.
        group: The processes that take part; None for all.
    """
    _check_tensor(data, "broadcast")
    if get_world_size(group) <= 1:
        return
    target = data.detach()
    sent = sendable(target, group)
    torch_dist.broadcast(sent, src, group)
    if sent is not target:
        target.copy_(sent)


def _operation(op: str) -> str:
    name = op.lower() if isinstance(op, str) else op
    if name not in _OPERATIONS:
        raise ValueError(
            f"There is no reduce operation {op!r}.{did_you_mean(str(op), _OPERATIONS)}"
            f" The operations are: {', '.join(_OPERATIONS)}."
        )
    return name


def _check_tensor(data: Any, where: str) -> None:
    if not isinstance(data, torch.Tensor):
        raise TypeError(f"{where} takes a tensor, but it was given a {type(data).__name__}.")


def _reduce(tensors: list[torch.Tensor], operation: str, group: ProcessGroup | None) -> None:
    """Combine tensors of one dtype and device in place, by one collective."""
    targets = [tensor.detach() for tensor in tensors]
    packed = targets[0] if len(targets) == 1 else torch.cat([target.reshape(-1) for target in targets])
    sent = sendable(packed, group)
    torch_dist.all_reduce(sent, getattr(torch_dist.ReduceOp, _OPERATIONS[operation]), group)
    if operation == "mean":
        _divide(sent, get_world_size(group))
    if len(targets) == 1:
        if sent is not packed:
            packed.copy_(sent)
        return
    parts = torch.split(sent.to(packed.device), [target.numel() for target in targets])
    for target, part in zip(targets, parts, strict=True):
        target.copy_(part.view(target.shape))


def _divide(tensor: torch.Tensor, count: int) -> None:
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.div_(count)
    elif tensor.dtype != torch.bool:
        tensor.div_(count, rounding_mode="trunc")


def _buckets(tensors: list[torch.Tensor], limit: int | None) -> Iterator[list[torch.Tensor]]:
    """Group tensors by dtype and device, and each group by size in bytes, keeping their order."""
    groups: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for group in groups.values():
        bucket: list[torch.Tensor] = []
        size = 0
        for tensor in group:
            nbytes = tensor.numel() * tensor.element_size()
            if limit is not None and bucket and size + nbytes > limit:
                yield bucket
                bucket, size = [], 0
            bucket.append(tensor)
            size += nbytes
        yield bucket
