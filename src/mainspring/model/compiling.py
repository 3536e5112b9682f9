"""``torch.compile`` of a model, or of the blocks that it repeats."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..logging import print_log

__all__ = ["Compile", "compile_model", "repeated_blocks"]


@dataclass(frozen=True)
class Compile:
    """``compile=dict(...)``: the options of :func:`torch.compile`, and one more."""

    backend: str = "inductor"
    """What makes the kernels."""
    mode: str | None = None
    """``'default'``, ``'reduce-overhead'`` (CUDA graphs), ``'max-autotune'`` or ``'max-autotune-no-cudagraphs'``."""
    dynamic: bool | None = None
    """Whether shapes vary; None finds out."""
    fullgraph: bool = False
    """Whether the model must be one graph; what cannot be compiled is an error then."""
    options: Mapping[str, Any] | None = None
    """Options of the backend."""
    regional: bool = False
    """Compile the blocks that the model repeats in lists, each kind once, instead of the whole: starts sooner."""

    def __post_init__(self) -> None:
        if self.mode is not None and self.options is not None:
            raise ValueError("mode and options cannot both be given: torch.compile takes one of them.")


def compile_model(model: nn.Module, cfg: Compile) -> None:
    """Let a model's forward pass be compiled when it is first called; ``state_dict`` and attributes stay as they are.

    Where compiling fails, a warning says why, and the model runs uncompiled, unless ``fullgraph`` asks for an error.

    Args:
        model: Its ``forward`` is compiled, for each mode and each kind of input that comes; the data preprocessor, the
            summing of losses and the optimizer are not.
        cfg: How.
    """
    parts = list(repeated_blocks(model)) if cfg.regional else []
    if cfg.regional and not parts:
        print_log(
            f"compile.regional: {type(model).__name__} has no blocks of one class in an nn.ModuleList or nn.Sequential,"
            " so the whole model is compiled.",
            "current",
            logging.WARNING,
        )
    options = None if cfg.options is None else dict(cfg.options)
    for part in parts or [model]:
        part.compile(backend=cfg.backend, mode=cfg.mode, dynamic=cfg.dynamic, fullgraph=cfg.fullgraph, options=options)
        if not cfg.fullgraph:
            _fall_back(part)
        if cfg.mode in ("reduce-overhead", "max-autotune"):
            _keep_results(part)


def repeated_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules that stand in a list with others of their class, and are made of modules."""
    children = list(module.children())
    counts = Counter(map(type, children)) if isinstance(module, nn.ModuleList | nn.Sequential) else Counter()
    for child in children:
        if counts[type(child)] > 1 and any(True for _ in child.children()):
            yield child
        else:
            yield from repeated_blocks(child)


def _fall_back(part: nn.Module) -> None:
    """Let a module run uncompiled from the first error of the compiler on."""
    compiled: Callable[..., Any] = part._compiled_call_impl  # type: ignore[assignment]

    def call(*args: Any, **kwargs: Any) -> Any:
        from torch._dynamo.exc import TorchDynamoException

        try:
            return compiled(*args, **kwargs)
        except TorchDynamoException as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split(chr(10))[:2])}"
        part._compiled_call_impl = None
        text = f"{type(part).__name__} cannot be compiled, and runs uncompiled from now on: {reason}"
        print_log(text, "current", logging.WARNING)
        return part(*args, **kwargs)

    part._compiled_call_impl = call


def _keep_results(part: nn.Module) -> None:
    """Copy what a CUDA graph returns: the next replay writes over it, while logs are still to read it."""
    compiled: Callable[..., Any] = part._compiled_call_impl  # type: ignore[assignment]

    def call(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, compiled(*args, **kwargs))

    part._compiled_call_impl = call
