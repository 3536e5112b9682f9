"""Several views of each sample, and one prediction."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mainspring import BaseModel, Config, Runner
from mainspring.dataset import pseudo_collate
from mainspring.fileio import load
from mainspring.hooks import EMAHook, PrepareTTAHook, build_runner_with_tta
from mainspring.model import BaseTTAModel
from mainspring.registry import DATASETS, MODELS, TRANSFORMS


@MODELS.register_module(name="TestedNet")
class Net(BaseModel):
    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.layer = nn.Linear(2, 3)

    def forward(self, inputs, labels, mode="tensor"):
        scores = self.layer(torch.stack(list(inputs)))
        labels = torch.as_tensor(labels)
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(scores, labels)}
        return [{"score": one, "label": label} for one, label in zip(scores, labels, strict=True)]


@MODELS.register_module(name="TestedMeanOfViews")
class MeanOfViews(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return [
            {"score": torch.stack([view["score"] for view in views]).mean(0), "label": views[0]["label"]}
            for views in data_samples_list
        ]


def samples(count):
    torch.manual_seed(0)
    return torch.randn(count, 2), [int(number) for number in torch.arange(count) % 3]


@given(count=st.integers(1, 5), views=st.integers(1, 4), as_dict=st.booleans())
def test_each_view_is_tested_and_what_belongs_together_is_merged(count, views, as_dict):
    inputs, labels = samples(count)
    factors = [2.0**number for number in range(views)]
    single = [
        {"inputs": [one * factor for factor in factors], "labels": [label] * views}
        for one, label in zip(inputs, labels, strict=True)
    ]
    batch = pseudo_collate(single if as_dict else [tuple(one.values()) for one in single])
    model = Net()

    merged = MeanOfViews(model).test_step(batch)

    expected = sum(model.layer(inputs * factor) for factor in factors) / views
    assert [one["label"] for one in merged] == labels
    torch.testing.assert_close(torch.stack([one["score"] for one in merged]), expected)


def test_a_module_from_its_config_and_its_preprocessor():
    built = MeanOfViews(
        {"type": "TestedNet"}, data_preprocessor={"type": "BaseDataPreprocessor", "non_blocking": False}
    )
    assert isinstance(built.module, Net)
    assert built.module.data_preprocessor.non_blocking is False
    with pytest.raises(ValueError, match="this module is a Net, which has its own"):
        MeanOfViews(Net(), data_preprocessor={})
    with pytest.raises(TypeError, match="module must be a model or the config of one, but it is 3"):
        MeanOfViews(3)
    with pytest.raises(TypeError, match=r"a Linear, which has no test_step"):
        MeanOfViews(nn.Linear(1, 1))
    with pytest.raises(TypeError, match="merge_preds"):
        BaseTTAModel(Net())


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        (torch.zeros(2, 3), TypeError, "it got a float32 tensor"),
        ({"inputs": torch.zeros(2, 3)}, TypeError, "it got a float32 tensor of shape .* at 'inputs'"),
        ({"inputs": [[], []], "labels": [[]]}, ValueError, "2 at 'inputs', 1 at 'labels'"),
        ([], ValueError, "a batch with nothing"),
    ],
)
def test_what_is_no_batch_of_views(batch, error, words):
    with pytest.raises(error, match=words):
        MeanOfViews(Net()).test_step(batch)


def test_predictions_of_different_number_and_training():
    model = MeanOfViews(Net())
    batch = {"inputs": [[torch.zeros(2)] * 2, [torch.zeros(2)]], "labels": [[0, 0], [0]]}
    with pytest.raises(ValueError, match=r"one prediction for each sample, but .* it returned 2, 1"):
        model.test_step(batch)
    with pytest.raises(NotImplementedError, match=r"Train and validate its module \(Net\)"):
        model(torch.zeros(1), mode="loss")


@DATASETS.register_module(name="ViewedPairs")
class Pairs(torch.utils.data.Dataset):
    def __init__(self, pipeline=()):
        self.inputs, self.labels = samples(6)
        self.pipeline = [TRANSFORMS.build(step) for step in pipeline]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        sample = {"inputs": self.inputs[index], "labels": self.labels[index]}
        for step in self.pipeline:
            sample = step(sample)
        return sample


@TRANSFORMS.register_module(name="PlainAndNegative")
class PlainAndNegative:
    def __call__(self, sample):
        return {"inputs": [sample["inputs"], -sample["inputs"]], "labels": [sample["labels"]] * 2}


def config(tmp_path, **changes):
    loader = {"dataset": {"type": "ViewedPairs"}, "batch_size": 4}
    return {
        "model": {"type": "TestedNet"},
        "work_dir": str(tmp_path),
        "train_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": True}},
        "train_cfg": {"by_epoch": True, "max_epochs": 2},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
        "test_dataloader": loader,
        "test_cfg": {},
        "test_evaluator": {"type": "DumpResults", "out_file_path": str(tmp_path / "results.pkl")},
        "tta_model": {"type": "TestedMeanOfViews"},
        "tta_pipeline": [{"type": "PlainAndNegative"}],
        "default_hooks": {"summary": None, "checkpoint": None},
        "log_level": "ERROR",
        **changes,
    }


def scores_of(runner, tmp_path):
    runner.test()
    return torch.stack([one["score"] for one in load(tmp_path / "results.pkl", trust=True)])


def test_a_run_tests_with_views_and_has_its_model_back(tmp_path):
    cfg = config(tmp_path)
    runner = build_runner_with_tta(cfg)
    model = runner.model
    for _ in range(2):  # the second test wraps the model, and not what wrapped it
        merged = scores_of(runner, tmp_path)
        torch.testing.assert_close(merged, model.layer.bias.expand(6, 3))  # f(x) + f(-x) = 2 bias
        assert runner.model is model
    assert "pipeline" not in cfg["test_dataloader"]["dataset"]


def test_the_weights_are_those_that_the_run_evaluates(tmp_path):
    average = EMAHook(momentum=0.5)
    runner = build_runner_with_tta(Config(config(tmp_path, custom_hooks=[average])))
    runner.train()
    torch.testing.assert_close(scores_of(runner, tmp_path), average.ema_model.module.layer.bias.expand(6, 3))


def test_an_error_in_a_test_leaves_the_model(tmp_path):
    runner = Runner.from_cfg(config(tmp_path))  # whose data have no views
    runner.register_hook(PrepareTTAHook({"type": "TestedMeanOfViews"}))
    model = runner.model
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        runner.test()
    assert runner.model is model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tta_model": None}, "no 'tta_model'"),
        ({"tta_pipeline": None}, "no 'tta_pipeline'"),
        ({"test_dataloader": None}, "no test_dataloader with the config of a dataset"),
    ],
)
def test_what_building_needs(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        build_runner_with_tta(config(tmp_path, **changes))
    with pytest.raises(TypeError, match="tta_cfg must be a dict"):
        PrepareTTAHook("TestedMeanOfViews")
