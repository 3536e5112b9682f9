"""Pictures of what a test predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..registry import HOOKS
from ..utils import check_count, check_type, describe
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["NaiveVisualizationHook"]


@HOOKS.register_module()
class NaiveVisualizationHook(Hook):
    """Hands the images of a test, with what was predicted of them, to the visualizer, whose ``add_datasample`` draws.

    The images are those under ``'inputs'`` of the batch, before the data preprocessor has them: of shape (C, H, W), and
    uint8 as a rule. The predictions are :class:`~mainspring.structures.BaseDataElement`, or others with ``get``. Where
    they know ``img_shape``, the height and width without padding, the padding is cut off; where they know
    ``ori_shape``, the image gets this size again. A picture has the name of the file at ``img_path``, or else the
    numbers of the batch and of the image in it.

    Args:
        interval: Of how many batches one is drawn.
        draw_gt: Whether the annotations are drawn.
        draw_pred: Whether the predictions are drawn.

    Raises:
        TypeError: An argument has the wrong type; when the test begins: the visualizer cannot draw.
        ValueError: ``interval`` is less than 1.
    """

    priority = "NORMAL"

    def __init__(self, interval: int = 1, draw_gt: bool = True, draw_pred: bool = True) -> None:
        check_count(interval, "NaiveVisualizationHook: interval")
        check_type(draw_gt, bool, "NaiveVisualizationHook: draw_gt")
        check_type(draw_pred, bool, "NaiveVisualizationHook: draw_pred")
        self.interval = interval
        self.draw_gt = draw_gt
        self.draw_pred = draw_pred

    def before_test(self, runner: Runner) -> None:
        """Find out whether the visualizer can draw."""
        visualizer: Any = runner.visualizer
        if not callable(getattr(visualizer, "add_datasample", None)):
            raise TypeError(
                f"NaiveVisualizationHook calls visualizer.add_datasample, which {type(visualizer).__name__} does not"
                " have. Derive a visualizer that has it, register it with VISUALIZERS, and pass the Runner"
                " visualizer=dict(type=...)."
            )

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Hand on a batch."""
        if not self.every_n_inner_iters(batch_idx, self.interval):
            return
        visualizer: Any = runner.visualizer
        for index, (image, sample) in enumerate(zip(_images_in(data_batch), outputs or (), strict=False)):
            path = sample.get("img_path")
            visualizer.add_datasample(
                f"{batch_idx}_{index}" if path is None else Path(path).name,
                _as_array(image, sample.get("img_shape"), sample.get("ori_shape")),
                data_sample=sample,
                draw_gt=self.draw_gt,
                draw_pred=self.draw_pred,
                step=batch_idx,
            )


def _images_in(data_batch: Any) -> Sequence[torch.Tensor]:
    if isinstance(data_batch, Mapping) and "inputs" in data_batch:
        images: Sequence[torch.Tensor] = data_batch["inputs"]
        return images
    if isinstance(data_batch, (list, tuple)):
        parts = [item for item in data_batch if isinstance(item, Mapping) and "inputs" in item]
        if len(parts) == len(data_batch):
            return [part["inputs"] for part in parts]
    raise TypeError(
        "NaiveVisualizationHook draws the images under 'inputs' of a batch, which must be a dict with that key, or a"
        f" list of such dicts, but the batch is {describe(data_batch)}."
    )


def _as_array(
    image: torch.Tensor, shape: Sequence[int] | None, original_shape: Sequence[int] | None
) -> np.ndarray[Any, Any]:
    """Return an image of shape (H, W, C), without padding, and of its original size."""
    image = image.detach().cpu()
    if shape is not None:
        image = image[:, : shape[0], : shape[1]]
    if original_shape is not None and tuple(image.shape[1:]) != tuple(original_shape[:2]):
        resized = nn.functional.interpolate(image[None].float(), size=tuple(original_shape[:2]), mode="bilinear")[0]
        image = resized if image.is_floating_point() else resized.round().to(image.dtype)
    return image.permute(1, 2, 0).contiguous().numpy()
