"""Test-time augmentation in a run."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from ..registry import HOOKS, MODELS, RUNNERS
from ..utils import check_type
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["PrepareTTAHook", "build_runner_with_tta"]


@HOOKS.register_module()
class PrepareTTAHook(Hook):
    """Puts a model for test-time augmentation around the model while a run tests.

    Args:
        tta_cfg: The config of a :class:`~mainspring.model.BaseTTAModel`, without its ``module``.
    """

    def __init__(self, tta_cfg: Mapping[str, Any]) -> None:
        check_type(tta_cfg, Mapping, "PrepareTTAHook: tta_cfg")
        self.tta_cfg = tta_cfg
        self._wrapped: tuple[Runner, Any] | None = None

    def before_test(self, runner: Runner) -> None:
        """Wrap the model."""
        if self._wrapped is None:
            model = runner.model
            runner.model = MODELS.build({**self.tta_cfg, "module": model})
            self._wrapped = runner, model

    def after_test(self, runner: Runner) -> None:
        """Take the model out again."""
        self._unwrap()

    def close(self) -> None:
        """Take the model out again, if the test was left by an exception."""
        self._unwrap()

    def _unwrap(self) -> None:
        if self._wrapped is not None:
            runner, model = self._wrapped
            runner.model = model
            self._wrapped = None


def build_runner_with_tta(cfg: Mapping[str, Any]) -> Runner:
    """Return a runner that tests with test-time augmentation.

    Args:
        cfg: The configuration of a run, with two keys more: ``tta_model``, for :class:`PrepareTTAHook`, and
            ``tta_pipeline``, which takes the place of ``test_dataloader.dataset.pipeline``. It is not changed.

    Raises:
        ValueError: One of the keys is missing.
    """
    check_type(cfg, Mapping, "cfg")
    for key in ("tta_model", "tta_pipeline"):
        if cfg.get(key) is None:
            raise ValueError(
                f"The configuration has no {key!r}, which testing with test-time augmentation needs: tta_model is the"
                " config of a BaseTTAModel, tta_pipeline the pipeline that makes the views."
            )
    loader = cfg.get("test_dataloader")
    if not isinstance(loader, Mapping) or not isinstance(loader.get("dataset"), Mapping):
        raise ValueError(
            "tta_pipeline takes the place of test_dataloader.dataset.pipeline, but the configuration has no"
            " test_dataloader with the config of a dataset. Write test_dataloader=dict(dataset=dict(type=...), ...)."
        )
    changed: Any = copy(cfg)
    changed["test_dataloader"] = {**loader, "dataset": {**loader["dataset"], "pipeline": cfg["tta_pipeline"]}}
    runner: Runner = RUNNERS.build(changed)
    runner.register_hook(PrepareTTAHook(cfg["tta_model"]))
    return runner
