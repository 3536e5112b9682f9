"""Test-time augmentation: one prediction from several views of each sample."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ..registry import MODELS
from ..utils import describe
from .base_model import BaseModel

__all__ = ["BaseTTAModel"]


@MODELS.register_module()
class BaseTTAModel(BaseModel):
    """Tests a model with several views of each sample, and merges what it predicts for them.

    A view is the sample as one augmentation leaves it: mirrored, or of another size. A batch has, under each key or at
    each place, a list with one entry for each view, and each entry is what a batch without views has there::

        dict(inputs=[[a_plain, b_plain], [a_mirrored, b_mirrored]], data_samples=[[...], [...]])

    ``pseudo_collate`` makes it of samples such as ``dict(inputs=[plain, mirrored], data_samples=[..., ...])``.

    A subclass says in :meth:`merge_preds` how predictions become one. It only tests: what trains is the model.

    Args:
        module: The model, or its config.
        data_preprocessor: That of the model, where ``module`` is a config. It takes the place of one that the config
            has.

    Attributes:
        module: The model.

    Raises:
        TypeError: ``module`` is neither a model nor a config, or has no ``test_step``.

    >>> import torch
    >>> class Doubler(BaseModel):
    ...     def forward(self, inputs, mode="tensor"):
    ...         return [2 * each for each in inputs]
    >>> class Mean(BaseTTAModel):
    ...     def merge_preds(self, data_samples_list):
    ...         return [sum(views) / len(views) for views in data_samples_list]
    >>> two_views_of_three = dict(inputs=[[1, 2, 3], [3, 4, 5]])
    >>> Mean(Doubler()).test_step(two_views_of_three)
    [4.0, 6.0, 8.0]
    """

    def __init__(
        self, module: nn.Module | Mapping[str, Any], data_preprocessor: nn.Module | Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(module, Mapping):
            given = {} if data_preprocessor is None else {"data_preprocessor": data_preprocessor}
            module = MODELS.build({**module, **given})
        elif data_preprocessor is not None:
            raise ValueError(
                f"{name}: data_preprocessor is for a module that is built from its config, but this module is a"
                f" {type(module).__name__}, which has its own. Leave it out."
            )
        if not isinstance(module, nn.Module):
            raise TypeError(f"{name}: module must be a model or the config of one, but it is {describe(module)}.")
        if not callable(getattr(module, "test_step", None)):
            raise TypeError(
                f"{name}: module is a {type(module).__name__}, which has no test_step(data). Inherit from"
                " mainspring.BaseModel, or write one."
            )
        self.module: Any = module

    @abstractmethod
    def merge_preds(self, data_samples_list: Sequence[Sequence[Any]]) -> list[Any]:
        """Return one prediction for each sample.

        Args:
            data_samples_list: For each sample of the batch, the predictions for its views, in their order.
        """

    def test_step(self, data: Any) -> Any:
        """Return the merged predictions of one batch.

        Args:
            data: A batch of views.

        Raises:
            TypeError: It is no dict, tuple or list of lists of views.
            ValueError: There is not the same number of views everywhere, or of predictions for each view.
        """
        predictions = [list(self.module.test_step(view)) for view in self._views(data)]
        counts = [len(one) for one in predictions]
        if len(set(counts)) > 1:
            raise ValueError(
                f"{type(self.module).__name__}.test_step must return one prediction for each sample, but for the views"
                f" of one batch it returned {', '.join(map(str, counts))}."
            )
        return self.merge_preds(list(zip(*predictions, strict=True)))

    def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
        """Refuse: a model with several views is only tested."""
        raise NotImplementedError(
            f"{type(self).__name__} merges predictions in test_step, and has no forward of its own. Train and validate"
            f" its module ({type(self.module).__name__}), or write a forward()."
        )

    def _views(self, data: Any) -> Iterator[Any]:
        """Yield a batch for each view."""
        if isinstance(data, Mapping):
            parts = dict(data)
        elif isinstance(data, (tuple, list)):
            parts = dict(enumerate(data))
        else:
            raise TypeError(self._no_views(describe(data)))
        for key, value in parts.items():
            if not isinstance(value, (tuple, list)):
                raise TypeError(self._no_views(f"{describe(value)} at {key!r}"))
        counts = {key: len(value) for key, value in parts.items()}
        if len(set(counts.values())) != 1:
            told = ", ".join(f"{count} at {key!r}" for key, count in counts.items())
            raise ValueError(
                f"{type(self).__name__} got a batch with {told or 'nothing'}, but everywhere in a batch there must be"
                " one entry for each view."
            )
        for number in range(next(iter(counts.values()))):
            view = {key: value[number] for key, value in parts.items()}
            yield view if isinstance(data, Mapping) else list(view.values())

    def _no_views(self, given: str) -> str:
        return (
            f"{type(self).__name__} takes a batch of views, with a list of them under each key, such as"
            f" dict(inputs=[plain, mirrored]), but it got {given}. Let the test pipeline return a list of views under"
            " each key of a sample, and collate with pseudo_collate."
        )
