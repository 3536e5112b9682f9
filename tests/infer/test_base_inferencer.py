"""Inferencers: what may be handed to one, the four steps, and what goes wrong."""

import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from mainspring import BaseModel, Config, InstanceData, save_checkpoint
from mainspring.infer import BaseInferencer
from mainspring.registry import FUNCTIONS, MODELS, DefaultScope


@MODELS.register_module(name="InferredSum")
class Sum(BaseModel):
    """Predicts the sum of the numbers of each input, times a weight."""

    def __init__(self, factor=1.0, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.factor = nn.Parameter(torch.tensor(factor))
        self.batches = []

    def forward(self, inputs, mode="tensor"):
        if mode != "predict":
            return inputs
        self.batches.append(len(inputs))
        return [InstanceData(score=(self.factor * one.float().sum())[None]) for one in inputs]


class SumInferencer(BaseInferencer):
    preprocess_kwargs: ClassVar = {"plus"}
    visualize_kwargs: ClassVar = {"title"}
    postprocess_kwargs: ClassVar = {"digits"}

    def _init_pipeline(self, cfg):
        return _load

    def preprocess(self, inputs, batch_size=1, plus=0):
        for batch in super().preprocess(inputs, batch_size):
            yield {"inputs": [one + plus for one in batch["inputs"]]}

    def visualize(self, inputs, preds, show=False, title=None):
        return None if title is None else [f"{title} {type(one).__name__}" for one in inputs]

    def postprocess(self, preds, visualization, return_datasample=False, digits=2):
        if not return_datasample:
            preds = [round(pred.score.item(), digits) for pred in preds]
        return {"predictions": preds, "visualization": visualization}


def _load(given):
    if isinstance(given, str):
        with open(given) as file:
            given = json.load(file)
    return {"inputs": torch.as_tensor(given)}


@pytest.fixture
def inferencer():
    return SumInferencer(Sum(), device="cpu", show_progress=False)


def predictions(result):
    return result["predictions"]


def test_everything_that_inputs_may_be(inferencer, tmp_path):
    for name, numbers in (("b.json", [2, 3]), ("a.json", [1])):
        (tmp_path / name).write_text(json.dumps(numbers))
    (tmp_path / "folder").mkdir()
    image = np.ones((2, 2, 3), np.uint8)

    assert predictions(inferencer(str(tmp_path / "b.json"))) == [5]
    assert predictions(inferencer(str(tmp_path))) == [1, 5]  # the files of a folder, by name
    assert predictions(inferencer([str(tmp_path / "b.json"), [7], np.array([1, 1])])) == [5, 7, 2]
    assert predictions(inferencer(image)) == [12]
    assert predictions(inferencer(np.stack([image, 2 * image]))) == [12, 24]
    assert predictions(inferencer(torch.ones(3, 1, 2, 2))) == [4, 4, 4]
    assert predictions(inferencer([number] for number in range(3))) == [0, 1, 2]
    assert predictions(inferencer([])) == []


def test_batches_and_the_arguments_of_each_step(inferencer):
    result = inferencer([[1], [2], [3]], batch_size=2, plus=0.125, title="a", digits=1)

    assert inferencer.model.batches == [2, 1]
    assert result == {"predictions": [1.1, 2.1, 3.1], "visualization": ["a list"] * 3}
    (sample,) = predictions(inferencer([[1]], return_datasamples=True))
    assert isinstance(sample, InstanceData)
    assert not sample.score.requires_grad
    with pytest.raises(ValueError, match=r"argument 'titel'\. Did you mean 'title'\? They take: digits, plus, title"):
        inferencer([[1]], titel="a")
    for size in (0, 1.5):
        with pytest.raises((ValueError, TypeError), match="batch_size must be"):
            inferencer([[1]], batch_size=size)


def test_a_stream_reads_no_further_than_it_must(inferencer):
    read = []

    def endless():
        while True:
            read.append(len(read))
            yield [read[-1]]

    results = inferencer.stream(endless(), batch_size=3, title="x")
    assert read == []
    assert next(results) == {"predictions": [0, 1, 2], "visualization": ["x list"] * 3}
    assert read == [0, 1, 2]
    assert [predictions(one) for one in inferencer.stream([[1], [2], [3]], batch_size=2)] == [[1, 2], [3]]


def test_models_by_configuration_and_by_checkpoint(tmp_path):
    weights = tmp_path / "a.pth"
    text = "model = dict(type='InferredSum', factor=1.0)\ntest_dataloader = dict(collate_fn='default_collate')\n"
    save_checkpoint({"state_dict": Sum(3.0).state_dict(), "meta": {"cfg": text}}, weights)
    (tmp_path / "cfg.py").write_text(text)

    for model in (None, Config({"model": {"type": "InferredSum"}}), str(tmp_path / "cfg.py"), Sum()):
        made = SumInferencer(model, weights, device="cpu", show_progress=False)
        assert predictions(made([[2]])) == [6]
        assert not made.model.training
    alone = SumInferencer(weights=weights, device="cpu")
    assert alone.cfg.model.factor == 1.0
    assert alone.model.cfg is alone.cfg
    assert alone.collate_fn is FUNCTIONS.get("default_collate")

    with pytest.warns(UserWarning, match="SumInferencer was given no weights"):
        assert predictions(SumInferencer({"model": {"type": "InferredSum"}}, show_progress=False)([[2]])) == [2]


def test_a_program_in_a_checkpoint_needs_trust(tmp_path):
    text = "model = dict(type='InferredSum', factor=float(1 + 1))"
    save_checkpoint({"state_dict": Sum(3.0).state_dict(), "meta": {"cfg": text}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="trust=True"):
        SumInferencer(weights=tmp_path / "a.pth")
    assert SumInferencer(weights=tmp_path / "a.pth", trust=True).cfg.model.factor == 2.0


def test_what_is_no_model():
    with pytest.raises(ValueError, match=r"'resnet50_8xb32', which is no configuration file.*no collection of models"):
        SumInferencer("resnet50_8xb32")
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        SumInferencer("none.py")
    with pytest.raises(ValueError, match="needs a model, its configuration"):
        SumInferencer()
    with pytest.raises(TypeError, match="model must be a configuration"):
        SumInferencer(3)
    with pytest.raises(ValueError, match=r"model has no 'model'"):
        SumInferencer({"work_dir": "x"})


def test_names_of_arguments_are_unambiguous():
    with pytest.raises(ValueError, match="both forward_kwargs and visualize_kwargs have 'size'"):
        type("Ambiguous", (SumInferencer,), {"forward_kwargs": {"size"}, "visualize_kwargs": {"size"}})
    with pytest.raises(TypeError, match=r"Listed.forward_kwargs must be"):
        type("Listed", (SumInferencer,), {"forward_kwargs": ["size"]})


def test_errors_name_the_input_and_what_forward_returned(inferencer, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        inferencer([[1], str(tmp_path / "none.json")])
    assert "pipeline of SumInferencer for input 1, '" in caught.value.__notes__[0]

    inferencer.pipeline = lambda given: None
    with pytest.raises(ValueError, match="returned None for input 0, a list of 1"):
        inferencer([[1]])

    inferencer.pipeline = _load
    inferencer.model.test_step = lambda data: {"scores": 1}
    with pytest.raises(TypeError, match=r"one by one, in a list, but it returned a dict with the keys 'scores'"):
        inferencer([[1]])
    inferencer.model.test_step = lambda data: (torch.zeros(2, 3), torch.zeros(2))  # two tensors for a batch of three
    with pytest.raises(ValueError, match="got 2 predictions for 3 inputs"):
        inferencer([[1]] * 3, batch_size=3)


def test_progress_is_shown(capsys):
    made = SumInferencer(Sum(), device="cpu")
    made([[1], [2], [3]], batch_size=2)
    assert "Inference" in capsys.readouterr().out
    made.show_progress = False
    made([[1]])
    assert capsys.readouterr().out == ""


def test_the_visualizer_of_the_configuration(tmp_path):
    cfg = {"model": {"type": "InferredSum"}, "visualizer": {"type": "Visualizer", "vis_backends": ["unused"]}}
    save_checkpoint({"state_dict": Sum().state_dict()}, tmp_path / "a.pth")
    first, second = (SumInferencer(cfg, tmp_path / "a.pth", device="cpu").visualizer for _ in range(2))
    assert (first.instance_name, second.instance_name) == ("SumInferencer", "SumInferencer-2")
    assert SumInferencer(Sum(), device="cpu").visualizer is None


def test_the_scope_is_the_current_one(tmp_path):
    with DefaultScope.overwrite_default_scope("mainspring"):
        assert SumInferencer(Sum(), device="cpu").scope == "mainspring"
    assert SumInferencer(Sum(), device="cpu", scope="other").scope == "other"
