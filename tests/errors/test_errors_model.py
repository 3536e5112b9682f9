"""What a model may get wrong, and what it is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from mainspring import BaseModel


@pytest.fixture
def returning(net):
    """Return a function that makes a model of what it returns in mode 'loss', from the scores."""

    class Returning(net):
        def __init__(self, result):
            super().__init__()
            self.result = result

        def forward(self, inputs, labels=None, mode="tensor"):
            if mode == "loss":
                return self.result(self.layers(inputs))
            return super().forward(inputs, labels, mode)

    return Returning


LOSSES = {
    "none": (lambda x: None, TypeError, "returned None", "a dict of losses", "Does every branch of it return?"),
    "tensor": (lambda x: x.mean(), TypeError, "a float32 tensor of shape ()", "{'loss': loss}"),
    "pairs": (lambda x: [("loss", x.mean())], TypeError, "a list of 1", "a dict of losses"),
    "empty": (lambda x: {}, ValueError, "an empty dict", "'loss' in its key"),
    "no loss key": (lambda x: {"acc": x.mean()}, ValueError, "only the keys 'acc'", "'loss' in its key"),
    "number as key": (lambda x: {0: x.mean()}, TypeError, "the key 0", "strings"),
    "string": (lambda x: {"loss": "low"}, TypeError, "'low' under 'loss'", "a scalar tensor"),
    "string to log": (lambda x: {"loss": x.mean(), "note": "hi"}, TypeError, "'hi' under 'note'", "Leave it out"),
    "float": (lambda x: {"loss": 0.5}, TypeError, "0.5 under 'loss'", "a scalar tensor"),
    "float to log": (lambda x: {"loss": x.mean(), "acc": 0.5}, TypeError, "0.5 under 'acc'", "make a tensor of it"),
    "none to log": (lambda x: {"loss": x.mean(), "acc": None}, TypeError, "None under 'acc'"),
    "not reduced": (lambda x: {"loss": x}, ValueError, "shape (4, 3) under 'loss'", ".mean()"),
    "list with a number": (lambda x: {"loss": [x.mean(), 3]}, TypeError, "3 under 'loss[1]'"),
    "list not reduced": (lambda x: {"loss_box": [x.mean(), x]}, ValueError, "shape (4, 3) under 'loss_box[1]'"),
    "empty list": (lambda x: {"loss": []}, TypeError, "an empty list under 'loss'"),
}


class TestLosses:
    @pytest.mark.parametrize("case", LOSSES, ids=str)
    def test_what_cannot_be_optimised_is_named(self, refused, returning, case):
        result, kind, *words = LOSSES[case]
        refused(kind, "Returning.forward", "mode 'loss'", *words, model=returning(result))

    @pytest.mark.parametrize("result", [lambda x: {"loss": x.mean().detach()}, lambda x: {"loss": x.argmax()}])
    def test_a_loss_without_gradient(self, refused, returning, result):
        refused(ValueError, "no gradient", "requires_grad", ".detach()", model=returning(result))


class TestModes:
    @pytest.mark.parametrize("call", [lambda m, x: m(x, mode="los"), lambda m, x: m(x, None, "los")])
    def test_an_unknown_mode(self, net, call):
        with pytest.raises(ValueError, match=r"Net was called with mode='los'\. Did you mean 'loss'\?.*`modes`"):
            call(net(), torch.zeros(2, 6))

    def test_a_mode_of_ones_own(self, net):
        class Embedding(net):
            modes = (*BaseModel.modes, "embed")

            def forward(self, inputs, labels=None, mode="tensor"):
                return inputs * 2 if mode == "embed" else super().forward(inputs, labels, mode)

        assert Embedding()(torch.ones(2, 6), mode="embed").sum() == 24
        with pytest.raises(ValueError, match="Did you mean 'embed'"):
            Embedding()(torch.ones(2, 6), mode="embedd")

    def test_a_forward_without_mode(self, refused, net):
        class Modeless(net):
            def forward(self, inputs, labels=None):
                return self.layers(inputs)

        refused(
            TypeError,
            "unexpected keyword argument 'mode'",
            "Modeless.forward takes (inputs, labels=None)",
            "Give it an argument `mode`",
            model=Modeless(),
        )


class Samples(list):
    """A data set of eight equal samples."""

    def __init__(self, sample):
        super().__init__([sample] * 8)


ROW = torch.zeros(6)
BATCHES = {
    "other keys": (
        {"img": ROW, "label": 1},
        "'img'",
        "img=a float32 tensor of shape (4, 6), label=an int64 tensor of shape (4,)",
    ),
    "a key too many": ({"inputs": ROW, "labels": 1, "id": 7}, "'id'", "Give it the arguments that the batch has"),
    "a key too few": (
        {"labels": 1},
        "missing 1 required positional argument: 'inputs'",
        "labels=an int64 tensor",
    ),
    "a key called mode": ({"inputs": ROW, "mode": "x"}, "multiple values", "mode=a list of 4 (first 'x')"),
    "keys that are numbers": ({0: ROW}, "must be strings", "of shape (4, 6)"),
    "too long a tuple": (
        (ROW, 1, 2),
        "multiple values for argument 'mode'",
        "batch a float32 tensor of shape (4, 6), an int64 tensor",
    ),
    "strings": ("cat", "multiple values for argument 'mode'", "batch 'cat', 'cat'"),
}


class TestBatches:
    @pytest.mark.parametrize("case", BATCHES, ids=str)
    def test_one_that_forward_does_not_take_is_set_beside_its_arguments(self, refused, case):
        sample, *words = BATCHES[case]
        loader = DataLoader(Samples(sample), batch_size=4)
        signature = "Net.forward takes (inputs, labels=None, mode='tensor'); it got mode='loss' and the batch"
        refused(TypeError, signature, "data preprocessor", *words, train_dataloader=loader)

    @pytest.mark.parametrize("what", ["train", "val"])
    def test_one_that_is_no_container(self, refused, what):
        loader = DataLoader(Samples(ROW), batch_size=4)
        refused(
            TypeError,
            "BaseDataPreprocessor handed a float32 tensor of shape (4, 6) to Net",
            "a dict (unpacked as keywords of forward) or a tuple or list",
            what=what,
            **{f"{what}_dataloader": loader},
        )

    def test_tensors_that_nobody_has_stacked(self, refused):
        loader = {"dataset": Samples((ROW, 1)), "batch_size": 4}
        refused(
            TypeError,
            "must be Tensor",
            "a tuple of (a float32 tensor of shape (6,), a float32",
            "collate_fn='default_collate'",
            train_dataloader=loader,
        )

    def test_an_error_of_the_users_own_forward_keeps_its_traceback(self, make_runner, net):
        class Broken(net):
            def forward(self, inputs, labels=None, mode="tensor"):
                return inputs.nothing

        with pytest.raises(AttributeError, match="nothing") as caught:
            make_runner(model=Broken()).train()
        assert caught.traceback[-1].path.name == "test_errors_model.py"
        assert len(caught.value.__notes__) == 1


class TestParameters:
    def test_none_is_trainable(self, refused, net):
        frozen = net().requires_grad_(False)
        words = ("None of the 6 parameters of Net is trainable", "requires_grad_(True)")
        refused(ValueError, *words, model=frozen)
        refused(ValueError, *words, model=frozen, optim_wrapper=torch.optim.SGD(frozen.parameters(), lr=0.1))

    def test_there_is_none(self, refused):
        class Empty(BaseModel):
            def forward(self, inputs, labels, mode):
                return {"loss": inputs.mean()}

        refused(ValueError, "Empty has no parameter at all", model=Empty())

    def test_the_optimizer_holds_those_of_another_model(self, refused, net):
        other = torch.optim.SGD(net().parameters(), lr=0.1)
        refused(ValueError, "none of the parameters of Net", "from model.parameters()", optim_wrapper=other)


class Trainable(nn.Linear):
    def __init__(self):
        super().__init__(6, 3)

    def train_step(self, data, optim_wrapper):
        return {}


TEST = {"test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}


class TestSteps:
    @pytest.mark.parametrize(
        ("model", "what", "step", "purpose"),
        [
            (nn.Linear(6, 3), "train", "train_step", "To train"),
            (Trainable(), "train", "val_step", "To validate"),
            (Trainable(), "val", "val_step", "To validate"),
            (Trainable(), "test", "test_step", "To test"),
        ],
    )
    def test_one_is_missing(self, refused, make_loader, model, what, step, purpose):
        name = type(model).__name__
        words = (purpose, f"method {step}, which {name} does not have", "mainspring.BaseModel")
        refused(TypeError, *words, what=what, model=model, test_dataloader=make_loader(8), **TEST)

    def test_no_validation_step_is_needed_without_validation(self, make_runner):
        off = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}
        runner = make_runner(model=Trainable(), **off)
        runner.train()
        assert runner.iter == 10

    @pytest.mark.parametrize(
        ("result", "word"),
        [([1.0], "list"), ((1.0,), "tuple"), (torch.ones(()), "Tensor"), ("low", "str"), (0.5, "float")],
    )
    def test_a_train_step_that_returns_no_dict(self, refused, net, result, word):
        class Stepping(net):
            def train_step(self, data, optim_wrapper):
                return result

        refused(
            TypeError, f"train_step of Stepping returned an object of type {word}", "{'loss': loss}", model=Stepping()
        )

    def test_a_train_step_that_returns_none_has_nothing_to_log(self, make_runner, net):
        class Silent(net):
            def train_step(self, data, optim_wrapper):
                super().train_step(data, optim_wrapper)

        runner = make_runner(model=Silent())
        runner.train()
        assert runner.iter == 10
        assert "train/loss" not in runner.message_hub.log_scalars
        assert "train/lr" in runner.message_hub.log_scalars

    @pytest.mark.parametrize(
        ("value", "kind", "words"),
        [
            ("hi", TypeError, ("'train/note'", "a number or a tensor with one element", "'hi'")),
            (torch.ones(3), ValueError, ("'train/note'", "shape is (3,)", "mean")),
            ({"a": 1.0}, TypeError, ("'train/note'", "(dict)")),
            (None, TypeError, ("'train/note'", "None")),
        ],
    )
    def test_a_value_that_cannot_be_logged(self, refused, net, value, kind, words):
        class Stepping(net):
            def train_step(self, data, optim_wrapper):
                return {**super().train_step(data, optim_wrapper), "note": value}

        refused(kind, *words, model=Stepping())


class TestModelAndPreprocessor:
    @pytest.mark.parametrize("model", [None, "Net", 3, [nn.Linear(2, 2)], nn.Linear, lambda x: x, {"type": list}])
    def test_a_model_that_is_no_module(self, refused, model):
        refused(TypeError, "model must be an nn.Module or a config dict of one", model=model)

    def test_an_argument_that_it_does_not_have(self, refused, net):
        refused(TypeError, "Net has no argument 'dropot'. Did you mean 'dropout'?", model={"type": net, "dropot": 0.1})

    def test_a_preprocessor_that_is_none(self, refused, net):
        for wrong in (3, {"type": list}):
            refused(
                TypeError, "data_preprocessor must be an nn.Module or a config dict of one", data_preprocessor=wrong
            )
        wrong = {"type": net, "data_preprocessor": 3}
        refused(TypeError, "data_preprocessor must be an nn.Module", "3 (int)", model=wrong)

    def test_an_argument_that_the_preprocessor_does_not_have(self, refused):
        words = ("BaseDataPreprocessor has no argument 'non_blokcing'", "'non_blocking'")
        refused(TypeError, *words, data_preprocessor={"non_blokcing": True})

    def test_a_preprocessor_for_a_model_that_takes_none(self, refused):
        words = ("data_preprocessor is given", "only a BaseModel takes one", "Trainable")
        refused(TypeError, *words, model=Trainable(), data_preprocessor={"type": "ImgDataPreprocessor"})
