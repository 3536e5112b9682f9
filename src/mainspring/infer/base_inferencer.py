"""Predictions for whatever a user has: a file, a folder, an array, a list or a stream of these."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ..checkpoint import load_weights, read_checkpoint
from ..config import Config
from ..dataset import pseudo_collate
from ..dataset.build import function_named
from ..device import default_device, usable_device
from ..registry import VISUALIZERS, DefaultScope
from ..utils import check_type, describe, did_you_mean
from ..visualization import Visualizer
from .config_as_data import config_of
from .inputs import as_list, checked_size, chunks, samples, with_progress
from .load_model import as_config, built_model

__all__ = ["BaseInferencer"]

_STEPS = ("preprocess", "forward", "visualize", "postprocess")


class BaseInferencer(ABC):
    """The way from what a user has to predictions, with a model, a pipeline and a collate function.

    A call goes four steps: :meth:`preprocess`, :meth:`forward`, :meth:`visualize`, :meth:`postprocess`. A subclass
    writes :meth:`_init_pipeline`, :meth:`visualize` and :meth:`postprocess`. The arguments that its steps take, it
    names in ``preprocess_kwargs``, ``forward_kwargs``, ``visualize_kwargs`` and ``postprocess_kwargs``: a call hands
    each to the step that knows it.

    Args:
        model: A configuration: the path of its file, or itself; or the model. None takes the configuration that
            ``weights`` keeps.
        weights: A checkpoint, by its path or URL.
        device: Where the model computes; by default on the accelerator, if there is one.
        scope: The scope in which names are looked up; by default that of the configuration, or the current one.
        show_progress: Show a progress bar.
        trust: Let ``weights`` RUN CODE that it names; see :func:`~mainspring.load_model`.

    Attributes:
        model: The model, in evaluation mode.
        cfg: The configuration; empty where a model was given.
        pipeline: Makes a sample of one input.
        collate_fn: Makes a batch of a list of samples: that of ``cfg.test_dataloader``, or ``pseudo_collate``.
        visualizer: What ``cfg.visualizer`` describes, or None.

    Raises:
        ValueError: Neither ``model`` nor ``weights`` is given, or ``model`` is a name and not a file.
        TypeError: ``model`` is something else.

    >>> class Doubler(BaseInferencer):
    ...     def _init_pipeline(self, cfg):
    ...         return lambda given: torch.as_tensor(given, dtype=torch.float32)
    ...     def _init_collate(self, cfg):
    ...         return torch.stack
    ...     def forward(self, inputs):
    ...         return self.model(inputs)
    ...     def visualize(self, inputs, preds, show=False):
    ...         return []
    ...     def postprocess(self, preds, visualization, return_datasample=False):
    ...         return dict(predictions=[pred.tolist() for pred in preds], visualization=visualization)
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2)
    >>> Doubler(model, device="cpu", show_progress=False)([[1], [2], [3]], batch_size=2)
    {'predictions': [[2.0], [4.0], [6.0]], 'visualization': []}
    """

    preprocess_kwargs: ClassVar[set[str]] = set()
    forward_kwargs: ClassVar[set[str]] = set()
    visualize_kwargs: ClassVar[set[str]] = set()
    postprocess_kwargs: ClassVar[set[str]] = set()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        owners: dict[str, str] = {}
        for step in _STEPS:
            names = getattr(cls, f"{step}_kwargs")
            check_type(names, set, f"{cls.__name__}.{step}_kwargs")
            for name in names:
                if name in owners:
                    raise ValueError(
                        f"{cls.__name__}: both {owners[name]}_kwargs and {step}_kwargs have {name!r}, so that a call"
                        " could not tell which step means it. Rename one of the two."
                    )
                owners[name] = step

    def __init__(
        self,
        model: str | os.PathLike[str] | Mapping[str, Any] | nn.Module | None = None,
        weights: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        scope: str | None = None,
        show_progress: bool = True,
        *,
        trust: bool = False,
    ) -> None:
        name = type(self).__name__
        check_type(weights, str | os.PathLike | None, f"{name}: weights")
        check_type(show_progress, bool, f"{name}: show_progress")
        if model is None and weights is None:
            raise ValueError(
                f"{name} needs a model, its configuration or the path of that; or weights, a checkpoint that keeps its"
                " configuration."
            )
        current = DefaultScope.get_current_instance()
        self.scope = current.scope_name if scope is None and current is not None else scope
        self.show_progress = show_progress
        self.cfg = Config() if model is None or isinstance(model, nn.Module) else _config(model, name)
        self._trust = trust
        self._given = model if isinstance(model, nn.Module) else None
        there = default_device() if device is None else usable_device(str(device), f"{name}: device")
        self.model = self._init_model(self.cfg, None if weights is None else os.fspath(weights), str(there))
        self.pipeline = self._init_pipeline(self.cfg)
        self.collate_fn = self._init_collate(self.cfg)
        self.visualizer = self._init_visualizer(self.cfg)

    # Calling it

    def __call__(self, inputs: Any, return_datasamples: bool = False, batch_size: int = 1, **kwargs: Any) -> Any:
        """Return what :meth:`postprocess` makes of the predictions for all inputs.

        Args:
            inputs: One input or several: the path or URL of a file, or of a folder, which stands for the files in it,
                in the order of their names; an array or tensor, of which one with four dimensions is a batch; a list or
                tuple of inputs; or an iterator, which is read to its end (:meth:`stream` does not wait for that).
            return_datasamples: Return predictions as the model makes them, and not as plain data.
            batch_size: How many inputs the model gets at once.
            **kwargs: Arguments of the four steps.

        Raises:
            ValueError: An argument is that of no step; or the model has not one prediction for each input.
        """
        given = self._inputs_to_list(inputs)
        return self._infer(given, return_datasamples, checked_size(batch_size), kwargs, self.show_progress)

    def stream(
        self, inputs: Iterable[Any], return_datasamples: bool = False, batch_size: int = 1, **kwargs: Any
    ) -> Iterator[Any]:
        """Yield what a call returns, for one batch after the other: for inputs without end, or too many to keep.

        Args:
            inputs: As for a call; of an iterator only the next batch is read.
            return_datasamples: As for a call.
            batch_size: How many inputs are in one batch, and in one result.
            **kwargs: As for a call.
        """
        several = inputs if isinstance(inputs, Iterator) else self._inputs_to_list(inputs)
        for chunk in self._get_chunk_data(several, checked_size(batch_size)):
            yield self._infer(chunk, return_datasamples, batch_size, kwargs, shows=False)

    def _infer(self, given: list[Any], as_samples: bool, batch_size: int, kwargs: dict[str, Any], shows: bool) -> Any:
        preprocess, forward, visualize, postprocess = self._dispatch_kwargs(**kwargs)
        batches = self.preprocess(given, batch_size=batch_size, **preprocess)
        predictions: list[Any] = []
        for batch in with_progress(batches, -(-len(given) // batch_size)) if shows else batches:
            predictions += self._one_each(self.forward(batch, **forward))
        if len(predictions) != len(given):
            raise ValueError(
                f"{type(self).__name__} got {len(predictions)} predictions for {len(given)} inputs, but there must be"
                " one for each. Let test_step of the model return a list with one for each sample of the batch, or"
                " override forward()."
            )
        drawn = self.visualize(given, predictions, **visualize)
        return self.postprocess(predictions, drawn, as_samples, **postprocess)

    def _inputs_to_list(self, inputs: Any) -> list[Any]:
        """Return the single inputs. A subclass overrides it for inputs that mean something else, such as videos."""
        return as_list(inputs)

    # The four steps

    def preprocess(self, inputs: Iterable[Any], batch_size: int = 1, **kwargs: Any) -> Iterator[Any]:
        """Yield batches of the inputs, each gone through the pipeline and collated.

        Args:
            inputs: The single inputs.
            batch_size: How many are in a batch.
            **kwargs: What a subclass takes.
        """
        for chunk in self._get_chunk_data(samples(self.pipeline, inputs, type(self).__name__), batch_size):
            yield self.collate_fn(chunk)

    @torch.no_grad()
    def forward(self, inputs: Any, **kwargs: Any) -> Any:
        """Return the predictions for a batch, one for each sample: those of the model's ``test_step``."""
        return self.model.test_step(inputs)

    @abstractmethod
    def visualize(self, inputs: list[Any], preds: Any, show: bool = False, **kwargs: Any) -> Any:
        """Return pictures of the predictions, or None.

        Args:
            inputs: The single inputs, before the pipeline.
            preds: The predictions, one for each.
            show: Show them in a window.
            **kwargs: What a subclass takes.
        """

    @abstractmethod
    def postprocess(self, preds: Any, visualization: Any, return_datasample: bool = False, **kwargs: Any) -> Any:
        """Return the result of a call: a dict with ``predictions`` and ``visualization``, most often.

        Args:
            preds: The predictions, one for each input.
            visualization: What :meth:`visualize` returned.
            return_datasample: Leave the predictions as they are; otherwise they become plain data, which can be JSON.
            **kwargs: What a subclass takes.
        """

    # Its parts

    def _init_model(self, cfg: Config, weights: str | None, device: str = "cpu") -> Any:
        """Return the model, with its weights, in evaluation mode.

        Args:
            cfg: The configuration; an empty one gets the content of the one that the weights keep.
            weights: A checkpoint.
            device: Where the model goes.
        """
        checkpoint = None if weights is None else read_checkpoint(weights, trust=self._trust)
        model: Any = self._given
        if model is None:
            if not cfg and checkpoint is not None:
                cfg.update(config_of(checkpoint, str(weights), self._trust))
            model = built_model(cfg, torch.device(device), str(weights), self.scope)
            model.cfg = cfg  # where code written for MMEngine looks for it
        if checkpoint is not None or self._given is None:
            self._load_weights_to_model(model, checkpoint, cfg)
        return model.to(device).eval()

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: Mapping[str, Any] | None, cfg: Config | None
    ) -> None:
        """Load the weights; a subclass may take more from the checkpoint, such as ``meta['dataset_meta']``."""
        if checkpoint is None:
            warnings.warn(
                f"{type(self).__name__} was given no weights, so that its model predicts what it was initialised to."
                " Pass weights=..., a checkpoint.",
                UserWarning,
                stacklevel=4,
            )
        else:
            load_weights(model, checkpoint)

    @abstractmethod
    def _init_pipeline(self, cfg: Config) -> Callable[[Any], Any]:
        """Return what makes a sample of one input, such as a :class:`~mainspring.Compose` of ``cfg.test_pipeline``."""

    def _init_collate(self, cfg: Config) -> Callable[[Sequence[Any]], Any]:
        """Return what makes a batch of a list of samples: that of ``cfg.test_dataloader``, or ``pseudo_collate``."""
        given = (cfg.get("test_dataloader") or {}).get("collate_fn")
        if given is None:
            return pseudo_collate
        with DefaultScope.overwrite_default_scope(self.scope):
            return function_named(given, "test_dataloader.collate_fn")

    def _init_visualizer(self, cfg: Config) -> Visualizer | None:
        """Return what ``cfg.visualizer`` describes, if it is there; its backends only if it says ``save_dir``."""
        if cfg.get("visualizer") is None:
            return None
        described = dict(cfg["visualizer"])
        if described.get("save_dir") is None:
            described.pop("vis_backends", None)
        name = first = described.get("name", type(self).__name__)
        number = 1
        while Visualizer.check_instance_created(name):  # another run's, or another inferencer's
            number += 1
            name = f"{first}-{number}"
        with DefaultScope.overwrite_default_scope(self.scope):
            built: Visualizer = VISUALIZERS.build({**described, "name": name})
        return built

    # On the way

    def _get_chunk_data(self, inputs: Iterable[Any], chunk_size: int) -> Iterator[list[Any]]:
        """Yield lists of ``chunk_size`` items, the last with what is left."""
        return chunks(inputs, chunk_size)

    def _dispatch_kwargs(self, **kwargs: Any) -> tuple[dict[str, Any], ...]:
        """Return the arguments of each of the four steps.

        Raises:
            ValueError: One is that of none.
        """
        known = [getattr(self, f"{step}_kwargs") for step in _STEPS]
        everything = sorted(set().union(*known))
        for name in kwargs:
            if name not in everything:
                listed = f"They take: {', '.join(everything)}." if everything else "They take none."
                raise ValueError(
                    f"{type(self).__name__}: no step of a call takes the argument {name!r}."
                    f"{did_you_mean(name, everything)} {listed} A subclass names its own in"
                    f" {', '.join(f'{step}_kwargs' for step in _STEPS)}."
                )
        return tuple({name: kwargs[name] for name in kwargs if name in names} for names in known)

    def _one_each(self, predictions: Any) -> list[Any]:
        if isinstance(predictions, Mapping) or not isinstance(predictions, Iterable):
            raise TypeError(
                f"{type(self).__name__}.forward must return the predictions of a batch one by one, in a list, but it"
                f" returned {describe(predictions)}. Let test_step of the model return such a list, or override"
                " forward()."
            )
        return list(predictions)


def _config(model: Any, user: str) -> Config:
    if not isinstance(model, (str, os.PathLike, Mapping)):
        raise TypeError(
            f"{user}: model must be a configuration, the path of its file or an nn.Module, but it is {model!r}"
            f" ({type(model).__name__})."
        )
    if isinstance(model, str) and Path(model).suffix not in (".py", ".yaml", ".yml", ".json"):
        raise ValueError(
            f"{user}: model is {model!r}, which is no configuration file, and there is no collection of models to look"
            " it up in. Pass the path of a configuration (*.py, *.yaml, *.json), a configuration, an nn.Module, or only"
            " weights='...', a checkpoint that keeps its configuration."
        )
    return as_config(deepcopy(model), f"{user}: model")
