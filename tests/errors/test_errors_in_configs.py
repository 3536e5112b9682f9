"""A mistake in a configuration is told of before the first iteration is over, with its place and its cure."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mistakes
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from mainspring import BaseModel, Runner
from mainspring.registry import DATASETS, MODELS, TRANSFORMS, Registry

Zoo = Registry("model", parent=MODELS, scope="errorzoo")
ZooSets = Registry("dataset", parent=DATASETS, scope="errorzoo")
ZooTransforms = Registry("transform", parent=TRANSFORMS, scope="errorzoo")


@ZooTransforms.register_module()
class Scale:
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor + 0

    def __call__(self, sample: torch.Tensor) -> torch.Tensor:
        return sample * self.factor


@ZooTransforms.register_module()
class Shift:
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, sample: torch.Tensor) -> torch.Tensor:
        return sample + self.by


@ZooSets.register_module()
class Vectors(Dataset[Any]):
    """Sixteen vectors of three classes, as its pipeline leaves them."""

    def __init__(self, pipeline: Any = (), size: int = 16) -> None:
        self.pipeline = [TRANSFORMS.build(step) for step in pipeline]
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        sample = torch.ones(6) * (index % 3)
        for step in self.pipeline:
            sample = step(sample)
        return sample, index % 3


@Zoo.register_module()
class Trunk(nn.Module):
    def __init__(self, depth: int = 2, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[nn.Linear(6 if i == 0 else width, width) for i in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@Zoo.register_module()
class Classifier(BaseModel):
    def __init__(self, backbone: Any, classes: int = 3, data_preprocessor: Any = None, init_cfg: Any = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(8, classes)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor | None = None, mode: str = "tensor") -> Any:
        scores = self.head(self.backbone(inputs))
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, labels)}
        return (scores, labels) if mode == "predict" else scores


# What a misspelt name may rightly leave to a run: it is told of, and the run does without.
LOGGED = {
    "param_schedulers", "custom_hook", "default_hook", "randomnes", "env_config", "autoscale_lr", "loadfrom",
    "custom key without effect", "multiplier", "milestones past the end", "iterations where epochs were meant",
    "epochs where iterations were meant", "a hook that is there already",
}  # fmt: skip
# What only a validation can tell.
AFTER_AN_EPOCH = {"save_best", "a metric that early stopping misses"}


@pytest.fixture
def run(tmp_path):
    """Return a function that makes a change to a configuration and trains, and returns the error and the log."""

    def train(path, value, **further):
        cfg = {**mistakes.config(), "work_dir": str(tmp_path), **further}
        mistakes.changed(cfg, path, value)
        runner, error = None, None
        try:
            runner = Runner.from_cfg(cfg)
            runner.train()
        except Exception as raised:
            error = raised
        logged = "".join(file.read_text() for file in tmp_path.rglob("*.log"))
        return error, logged, 0 if runner is None else runner.iter

    return train


def test_the_configuration_itself_has_no_mistake(run):
    error, logged, done = run("resume", False)
    assert (error, logged, done) == (None, "", 12)


@pytest.mark.parametrize("case", mistakes.MISTAKES)
def test_a_mistake_is_answered_with_its_place_and_cure(run, case):
    path, value, words = mistakes.MISTAKES[case]
    error, logged, done = run(path, value)
    text = logged if error is None else f"{mistakes.text_of(error)}\n{logged}"
    for word in words:
        assert word in text, text
    if case in AFTER_AN_EPOCH:
        assert done in (0, 4, 12)
        return
    assert (error is None) == (case in LOGGED), text
    if error is not None:
        assert done == 0
        assert not isinstance(error, (AssertionError, AttributeError, ZeroDivisionError, IndexError))
        assert type(error) is not KeyError


@pytest.mark.parametrize("case", sorted(LOGGED))
def test_what_looks_wrong_is_an_error_where_that_is_asked_for(run, case):
    path, value, words = mistakes.MISTAKES[case]
    error, _, done = run(path, value, strict=True)
    assert isinstance(error, ValueError)
    assert done == 0
    for word in words:
        assert word in str(error)


def test_all_that_is_found_is_told_in_one_error(run, tmp_path):
    wrong = {
        "model": {"type": "Clasifier"},
        "train_cfg": {"by_epoch": True, "max_epoch": 3},
        "default_hooks": {"loger": {"type": "LoggerHook"}, "timer": {"type": "IterTimerHook", "interval": 1}},
        "randomness": {"seed": "3"},
        "experiment_nam": "first",
    }
    error, logged, _ = run("resume", False, **wrong)
    assert type(error) is ValueError
    first, *findings = str(error).splitlines()
    assert first == "6 findings in the configuration:"
    paths = [finding.split(". ", 1)[1].split()[0].rstrip(":") for finding in findings]
    assert paths == [
        "experiment_nam", "randomness.seed", "model", "train_cfg.max_epoch",
        "default_hooks.loger", "default_hooks.timer",
    ]  # fmt: skip
    assert logged == ""
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_several_warnings_are_logged_in_one_report(run, caplog):
    with caplog.at_level(logging.WARNING):
        error, logged, done = run("param_scheduler.1.milestones", [1, 20], custom_hoks=[], train_piplines=[])
    assert (error, done) == (None, 12)
    assert logged.count("findings in the configuration") <= 1
    assert "param_scheduler[1].milestones: 20 lies past the end of training, which has 3 epochs" in logged
    assert "train_piplines" not in logged  # a name of the configuration's own


def test_a_name_that_is_not_installed_is_told_of_and_needs_not_be_there_for_another_run(tmp_path):
    cfg = {**mistakes.config(), "work_dir": str(tmp_path)}
    cfg["optim_wrapper"]["optimizer"]["type"] = "FusedNovoGrad"
    runner = Runner.from_cfg(cfg)
    assert "optim_wrapper.optimizer: 'FusedNovoGrad' is not in the 'optimizer' registry" in _log(runner)
    assert runner.val().keys() == {"accuracy/top1"}
    with pytest.raises(KeyError, match=r"optim_wrapper.optimizer: 'FusedNovoGrad'"):
        runner.train()


def test_a_configuration_of_a_project_that_is_not_installed_is_no_error_by_itself(tmp_path):
    from mainspring.runner.look_over import look_over

    cfg = {**mistakes.config(), "default_scope": "mmpretrain", "work_dir": str(tmp_path)}
    cfg["model"] = {"type": "ImageClassifier", "backbone": {"type": "ResNet", "depth": 50}}
    findings = look_over(cfg)
    assert {finding.severity for finding in findings} == {"warning"}
    assert [finding.path for finding in findings] == ["model", "train_dataloader.dataset", "val_dataloader.dataset"]
    assert "`pip install mmpretrain`" in findings[0].text


def _log(runner):
    return Path(runner.logger.log_file).read_text()
