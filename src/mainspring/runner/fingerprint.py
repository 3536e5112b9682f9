"""What decides the order of the data and the meaning of an optimizer's state: it must not change unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..checkpoint import CheckpointError
from ..optim import OptimWrapper
from ..utils import did_you_mean, display_path

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["check_allowed", "check_fingerprint", "environment_facts", "fingerprint", "told_environment"]

_MEANINGS = {
    "dataset_length": "samples in the training data",
    "batch_size": "batch size x accumulated iterations x processes",
    "samples_per_iteration": "samples in an iteration of all processes",
    "sampler": "sampler",
    "drop_last": "drop_last",
    "seed": "seed",
    "sample_seeding": "randomness.sample_seeding",
    "running_streams": "randomness.running_streams",
    "optimizer": "optimizer",
    "parameters": "trained parameters",
    "optimizer_groups": "parameters in each group of the optimizer",
}
_FIXED = ("optimizer", "parameters", "optimizer_groups")
"""What no run can go on with: the optimizer's state belongs to its parameters by their order."""
_ALLOWED_AS = {"samples_per_iteration": "batch_size"}
"""Facts that are allowed to change under the name of another."""
_ALLOWABLE = [name for name in _MEANINGS if name not in _FIXED and name not in _ALLOWED_AS]

_COSTS = {
    "torch": "other kernels may round otherwise",
    "device": "another kind of device rounds otherwise",
    "threads": "sums of another number of parts round otherwise",
    "world_size": "gradients are summed in another order",
    "deterministic": "operations that are not deterministic may differ",
    "channels_last": "another layout rounds otherwise",
    "matmul_precision": "matrix products round otherwise",
    "compile": "compiled kernels round otherwise, and draw other random numbers",
}


def check_allowed(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``allow_changed`` as the runner got it.

    Raises:
        TypeError: It is no list of strings.
        ValueError: One of them is no part of a fingerprint that may change.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(n, str) for n in names):
        raise TypeError(f"allow_changed must be a list of names such as ['batch_size'], but it is {names!r}.")
    for name in names:
        if name not in _ALLOWABLE:
            raise ValueError(
                f"allow_changed names {name!r}.{did_you_mean(name, _ALLOWABLE)} What may be allowed to change is:"
                f" {', '.join(_ALLOWABLE)}."
            )
    return tuple(names)


def fingerprint(runner: Runner, with_optimizer: bool = True) -> dict[str, Any]:
    """Return the facts that must agree when a run goes on; None stands for what is not known."""
    loader = runner.train_dataloader
    wrapper = runner.optim_wrapper
    size = getattr(loader, "batch_size", None)
    if size is None:  # it has a batch sampler of its own, which may know; or is a loader of another kind
        size = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    parts: dict[str, Any] = dict(wrapper.parts) if isinstance(wrapper, OptimWrapper) else {"": wrapper}
    # A user's wrapper need say nothing; of several, each may accumulate otherwise.
    accumulated = {name: getattr(part, "accumulative_counts", 1) for name, part in parts.items()}
    facts: dict[str, Any] = {
        "dataset_length": _length(loader.dataset),
        "batch_size": _of_parts(
            {name: None if size is None else size * counts * runner.world_size for name, counts in accumulated.items()}
        ),
        "samples_per_iteration": None if size is None else size * runner.world_size,
        "sampler": _sampler(loader),
        "drop_last": bool(getattr(loader, "drop_last", False)),
        "seed": runner.seed,
        "sample_seeding": runner.sample_seeding,
        "running_streams": runner.running_streams,
    }
    if with_optimizer:
        names = {id(parameter): name for name, parameter in runner.model.named_parameters()}
        facts["optimizer"] = _of_parts(
            {
                name: type(part.optimizer).__name__ if hasattr(part, "optimizer") else None
                for name, part in parts.items()
            }
        )
        if all(hasattr(part, "param_groups") for part in parts.values()):
            groups = [group["params"] for part in parts.values() for group in part.param_groups]
            facts["parameters"] = [names.get(id(parameter), "?") for group in groups for parameter in group]
            facts["optimizer_groups"] = [len(group) for group in groups]
    return facts


def check_fingerprint(
    before: Mapping[str, Any], now: Mapping[str, Any], allowed: Sequence[str], filename: str, place_is_lost: str = ""
) -> list[str]:
    """Compare the facts of a checkpoint with those of the run that goes on from it.

    Args:
        before: The facts of the checkpoint.
        now: Those of the run.
        allowed: The names of what may have changed.
        filename: The checkpoint, for the message.
        place_is_lost: Why its place in the data cannot be found by this run, whatever is allowed, if that is so.

    Returns:
        What has changed and was allowed to, in words.

    Raises:
        CheckpointError: Something has changed that was not allowed to; the message names old and new.
    """
    # None is a fact that one of the two did not know.
    changed = [
        name
        for name in _MEANINGS
        if before.get(name) is not None and now.get(name) is not None and before[name] != now[name]
    ]
    told = {name: f"{_MEANINGS[name]}: {_difference(before[name], now[name])}" for name in changed}
    refused = [name for name in changed if _ALLOWED_AS.get(name, name) not in allowed]
    if not refused:
        return list(told.values())
    fixed = [name for name in refused if name in _FIXED]
    if fixed:
        cure = (
            "The optimizer's state belongs to its kind and, by their order, to its parameters, so that no run can go on"
            " with others. To take only the weights, pass the file as load_from, with resume=False."
        )
    else:
        names = list(dict.fromkeys(_ALLOWED_AS.get(name, name) for name in refused))
        cure = f"Configure the run as it was or, if this is meant, pass allow_changed={names!r} to the Runner."
        if place_is_lost:
            cure = (
                f"Configure the run as it was: {place_is_lost}. From a checkpoint that was saved at the end of an"
                f" epoch, a run can go on so: name it in load_from, with resume=True and allow_changed={names!r}."
            )
    lines = "".join(f"\n  {told[name]}" for name in refused)
    raise CheckpointError(
        f"{display_path(filename)!r} was saved by a run that differs from this one in what decides the order of the"
        f" data or of the updates:{lines}\n{cure}"
    )


def environment_facts(runner: Runner) -> dict[str, Any]:
    """Return what bit-exact results depend on beside the configuration."""
    return {
        "torch": torch.__version__,
        "device": runner.device.type,
        "threads": torch.get_num_threads(),
        "world_size": runner.world_size,
        "deterministic": runner.deterministic,
        "channels_last": runner.env.channels_last,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "compile": runner.compile_options,
    }


def told_environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in words which of these facts have changed, and what that costs; empty if none has."""
    changed = [name for name in now if name in before and before[name] != now[name]]
    return "; ".join(f"{name} was {before[name]} and is {now[name]} ({_COSTS[name]})" for name in changed)


def _of_parts(facts: dict[str, Any]) -> Any:
    """Return the fact of the only optimizer wrapper, or those of several by name."""
    return facts[""] if list(facts) == [""] else dict(facts)


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:  # iterable data need not know
        return None


def _sampler(loader: Any) -> str:
    batch_sampler = getattr(loader, "batch_sampler", None)
    sampler = getattr(batch_sampler, "sampler", None)  # a batch sampler may be anyone's
    sampler = getattr(loader, "sampler", None) if sampler is None else sampler
    name, batches = type(sampler).__name__, type(batch_sampler).__name__
    shuffle = getattr(sampler, "shuffle", None)
    name = name if shuffle is None else f"{name}(shuffle={bool(shuffle)})"
    return name if batches in ("BatchSampler", "NoneType") else f"{batches} over {name}"


def _difference(before: Any, now: Any) -> str:
    if not isinstance(before, list) or not isinstance(now, list):
        return f"{before} then, {now} now"
    place = next((i for i, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), None)
    if place is None:
        return f"{len(before)} then, {len(now)} now"
    return f"number {place} was {before[place]!r} and is {now[place]!r} (of {len(before)} then, {len(now)} now)"
