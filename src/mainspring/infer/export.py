"""Models in forms that run without this package, and without Python: graphs of torch.export, and ONNX."""

from __future__ import annotations

import inspect
import io
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..model import BaseModel
from ..utils import atomic_write, check_type, require
from .graph import BatchLayout, Exported, repeated

__all__ = ["export_model"]


def export_model(
    model: BaseModel,
    inputs: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    normalisation: Literal["inside", "outside"] = "inside",
    dynamic_batch: bool = True,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> torch.export.ExportedProgram:
    """Return the graph of what a model computes in its mode ``tensor``, checked, and write it to a file.

    The graph is called as ``forward`` is, ``program.module()(images)`` for a batch that is a tuple and
    ``program.module()(inputs=images)`` for a dict; in a file it runs in C++ too, by AOTInductor for instance. Only
    tensors are inputs of it: what else is in the batch becomes part of the graph as it is.

    Before anything is written, the graph is run for ``inputs`` and, with ``dynamic_batch``, for twice as many samples,
    and its outputs are compared with the model's. So is what ONNX makes of it, by the reference evaluator of ``onnx``.

    Args:
        model: The model; it is exported in evaluation mode, and left as it was.
        inputs: A batch as a data loader returns it, images in one tensor (N, C, H, W).
        path: Where it is written: ``*.pt2`` for ``torch.export.load``, or ``*.onnx``, which needs
            ``pip install 'mainspring[onnx]'``. None writes nothing.
        normalisation: ``'inside'``: the graph takes batches as the data loader returns them, and begins with what the
            data preprocessor does to them. ``'outside'``: it takes what that returns.
        dynamic_batch: Let the graph take batches of any size, where the first dimension of the first tensor is the size
            of a batch. All other sizes are those of ``inputs``.
        rtol: By how much an output may differ, in shares of its value.
        atol: By how much it may differ besides.

    Raises:
        TypeError: ``model`` is no BaseModel, or ``inputs`` no batch.
        ValueError: An argument is none of its values, or the outputs differ.
        ImportError: ONNX is asked for, and what it needs is not installed.

    >>> class Line(BaseModel):
    ...     def __init__(self):
    ...         super().__init__(dict(type="ImgDataPreprocessor", mean=[127.5], std=[127.5]))
    ...     def forward(self, images, mode="tensor"):
    ...         return images.mean((1, 2, 3))
    >>> white = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
    >>> program = export_model(Line(), (white,))
    >>> program.module()(white)
    tensor([1., 1.])
    """
    check_type(model, BaseModel, "export_model: model")
    check_type(path, str | os.PathLike | None, "export_model: path")
    check_type(dynamic_batch, bool, "export_model: dynamic_batch")
    if normalisation not in ("inside", "outside"):
        raise ValueError(f"export_model: normalisation must be 'inside' or 'outside', but it is {normalisation!r}.")
    target = None if path is None else Path(path)
    if target is not None and target.suffix not in (".pt2", ".onnx"):
        raise ValueError(f"export_model: path must end with '.pt2' or '.onnx', but it is {str(path)!r}.")
    if target is not None and target.suffix == ".onnx":
        for module in ("onnx", "onnxscript"):
            require(module, extra="onnx", purpose="Writing a model as ONNX")

    inside = normalisation == "inside"
    with _evaluated(model), torch.no_grad():
        batch = _moved(inputs, model) if inside else model.data_preprocessor(inputs, False)
        layout = BatchLayout(batch, inspect.signature(model.forward))
        exported = Exported(model, layout, inside)
        exported.check(batch)
        trials = [layout.tensors(batch)]
        if dynamic_batch:
            trials.append(repeated(trials[0]))  # a graph made with a batch of one would be for one
        expected = [_outputs(model, layout.filled(tensors), inside) for tensors in trials]
        program = _exported(exported, trials[-1], layout, dynamic_batch)
        graph = program.module()
        for tensors, wanted in zip(trials, expected, strict=True):
            _compare(layout.call(graph, tensors), wanted, "the exported graph", rtol, atol)
        if target is not None and target.suffix == ".onnx":
            content = _as_onnx(program, layout)
            for tensors, wanted in zip(trials, expected, strict=True):
                _compare(_run_onnx(content, layout, tensors), _tensors(wanted), "the ONNX model", rtol, atol)
            with atomic_write(target) as file:
                file.write(content)
        elif target is not None:
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
            with atomic_write(target) as file:
                file.write(buffer.getbuffer())
    return program


def _moved(inputs: Any, model: BaseModel) -> Any:
    device = next(model.parameters(), torch.empty(0)).device
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), inputs)


def _outputs(model: BaseModel, batch: Any, inside: bool) -> Any:
    """Return what the model itself makes of a batch."""
    return model._run_forward(model.data_preprocessor(batch, False) if inside else batch, mode="tensor")


def _exported(
    exported: Exported, tensors: Mapping[str, Any], layout: BatchLayout, dynamic: bool
) -> torch.export.ExportedProgram:
    args, kwargs = layout.arguments(tensors)
    try:
        with _quiet():
            return torch.export.export(
                exported, args, kwargs, dynamic_shapes=layout.dynamic_shapes(tensors) if dynamic else None, strict=False
            )
    except Exception as error:
        error.add_note(
            "(raised while torch.export followed the model. A graph cannot depend on values, nor, with"
            " dynamic_batch=True, on the size of the batch; normalisation='outside' leaves out the data preprocessor.)"
        )
        raise


def _compare(found: Any, expected: Any, what: str, rtol: float, atol: float) -> None:
    """Raise a ``ValueError`` unless outputs are equal within the tolerance."""
    try:
        torch.testing.assert_close(
            _tensors(found), _tensors(expected), rtol=rtol, atol=atol, equal_nan=True, check_dtype=False
        )
    except AssertionError as error:
        raise ValueError(
            f"The outputs of {what} are not those of the model, within rtol={rtol} and atol={atol}, so that nothing is"
            f" written. {error}\nA model that draws random numbers, or goes different ways for different values, has no"
            " graph; for one of low precision, pass a larger tolerance."
        ) from error


def _tensors(outputs: Any) -> list[torch.Tensor]:
    return [one for one in pytree.tree_leaves(outputs) if isinstance(one, torch.Tensor)]


def _as_onnx(program: torch.export.ExportedProgram, layout: BatchLayout) -> bytes:
    with _quiet():
        made = torch.onnx.export(program, dynamo=True, input_names=layout.tensor_names, verbose=False)
    if made is None:
        raise RuntimeError("torch.onnx.export returned no model.")
    content: bytes = made.model_proto.SerializeToString()
    return content


def _run_onnx(content: bytes, layout: BatchLayout, tensors: Mapping[str, Any]) -> list[torch.Tensor]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    loaded = onnx.load_from_string(content)
    given = [tensor.cpu().numpy() for tensor in pytree.tree_leaves(tensors)]
    names = [one.name for one in loaded.graph.input]
    results = ReferenceEvaluator(loaded).run(None, dict(zip(names, given, strict=True)))
    return [torch.as_tensor(result) for result in results]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch warns itself of: parts that it uses and is about to change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and afterwards each of its modules back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
