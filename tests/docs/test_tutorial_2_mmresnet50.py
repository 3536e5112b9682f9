"""The model tutorial, second section, from MMResNet50 to a custom optimisation.

Slips mended in the snippets: ``parse_losses()`` got no losses; ``val_step`` and ``test_step`` had an ``optim_wrapper``,
which no loop hands to them.
"""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from mainspring import BaseModel, OptimWrapper

ONLY_TRAINING = dict(val_dataloader=..., val_cfg=..., val_evaluator=...)


def our_models():
    path = Path(__file__).parents[2] / "examples" / "cifar10" / "resnet.py"
    spec = importlib.util.spec_from_file_location("cifar10_resnet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torchvision_models():
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:  # RuntimeError: it was made for another build of torch
        pytest.skip(f"torchvision cannot be imported: {error}")
    return torchvision.models


@pytest.fixture(params=[our_models, torchvision_models], ids=["ours", "torchvision"])
def MMResNet50(request):
    models = request.param()

    class MMResNet50(BaseModel):
        def __init__(self):
            super().__init__()
            self.resnet = models.resnet50()

        def forward(self, imgs, labels, mode):  # noqa: RET503
            x = self.resnet(imgs)
            if mode == "loss":
                return {"loss": F.cross_entropy(x, labels)}
            elif mode == "predict":
                return x, labels

    return MMResNet50


@pytest.fixture
def images():
    """Eight pictures of two kinds: as CIFAR-10's, but easily told apart."""
    labels = torch.arange(8) % 2
    noise = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    return TensorDataset(noise + 2.0 * labels[:, None, None, None] - 1.0, labels)


def test_mmresnet50_is_trained_and_validated_by_the_runner(run, notes, MMResNet50, images):
    runner = run(
        model=MMResNet50(),
        train_dataloader=DataLoader(images, batch_size=8, shuffle=True),
        train_cfg=dict(by_epoch=True, max_epochs=4),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9)),
        val_dataloader=DataLoader(images, batch_size=8),
        val_cfg=dict(),
        val_evaluator=dict(type="Accuracy"),
    )
    runner.train()

    losses = notes.of("loss")
    assert len(losses) == 4
    assert losses[-1] < 0.5 * losses[0]
    assert 0 <= runner.message_hub.get_scalar("val/accuracy/top1").current() <= 100


def test_its_inherited_steps_are_equivalent_to_the_listed_ones(MMResNet50, images):
    class MMResNet50Listed(MMResNet50):
        def train_step(self, data, optim_wrapper):
            data = self.data_preprocessor(data)
            loss = self(*data, mode="loss")
            parsed_losses, log_vars = self.parse_losses(loss)
            optim_wrapper.update_params(parsed_losses)
            return log_vars

        def val_step(self, data):
            data = self.data_preprocessor(data)
            outputs = self(*data, mode="predict")
            return outputs

        def test_step(self, data):
            data = self.data_preprocessor(data)
            outputs = self(*data, mode="predict")
            return outputs

    inherited, listed = MMResNet50(), MMResNet50Listed()
    listed.load_state_dict(inherited.state_dict())
    data = default_collate([images[i] for i in range(4)])

    log_vars = inherited.train_step(data, optim_wrapper_of(inherited, lr=1e-3))
    expected = listed.train_step(data, optim_wrapper_of(listed, lr=1e-3))

    assert log_vars == expected
    for name, value in listed.state_dict().items():
        assert torch.equal(inherited.state_dict()[name], value), name
    for step in ("val_step", "test_step"):
        scores, labels = getattr(inherited.eval(), step)(data)
        assert torch.equal(scores, getattr(listed.eval(), step)(data)[0])
        assert torch.equal(labels, data[1])


# "Now, you ... can answer the first question": "When do we update the parameters of model? and how to update the
# parameters by a custom optimization process?"


class Classifier(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, imgs, labels=None, mode="tensor"):
        x = self.linear(imgs)
        if mode == "loss":
            return {"loss": F.cross_entropy(x, labels)}
        elif mode == "predict":
            return x.argmax(1)
        return x


@pytest.fixture
def vectors():
    generator = torch.Generator().manual_seed(5)
    return TensorDataset(torch.randn(12, 6, generator=generator), torch.arange(12) % 3)


def optim_wrapper_of(model, lr=0.1):
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=lr))


def twin(model):
    """Return a model of the parent class with the same weights, to be trained by hand."""
    classifier = Classifier()
    classifier.load_state_dict(model.state_dict())
    return classifier


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_parameters_are_updated_by_update_params_within_train_step_and_nowhere_else(vectors):
    model = Classifier()
    initial = copy.deepcopy(model)
    seen = []

    class Watched(OptimWrapper):
        def update_params(self, loss, **kwargs):
            seen.append(same_weights(model, initial))
            super().update_params(loss, **kwargs)
            seen.append(same_weights(model, initial))

    data = vectors[:4]
    model.val_step(data)
    model.test_step(data)
    assert same_weights(model, initial)

    model.train_step(data, Watched(torch.optim.SGD(model.parameters(), lr=0.1)))
    assert seen == [True, False]  # the same before, another after


# "if we want to customize a new optimization process, we can override it in the subclass"


class TwoLossesTwoUpdates(Classifier):
    def train_step(self, data, optim_wrapper):
        imgs, labels = self.data_preprocessor(data, training=True)
        loss_cls = F.cross_entropy(self(imgs, mode="tensor"), labels)
        optim_wrapper.update_params(loss_cls)
        loss_norm = self(imgs, mode="tensor").square().mean()
        optim_wrapper.update_params(loss_norm)
        return {"loss_cls": loss_cls, "loss_norm": loss_norm}


def test_a_train_step_may_have_two_losses_and_two_updates(run, notes, vectors):
    model = TwoLossesTwoUpdates()
    by_hand = twin(model)
    loader = DataLoader(vectors, batch_size=4)

    run(
        model=model,
        train_dataloader=loader,
        train_cfg=dict(max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        **ONLY_TRAINING,
    ).train()

    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9, fused=True)
    expected = []
    for imgs, labels in [*loader, *loader]:
        for loss_of in (lambda x, y: F.cross_entropy(x, y), lambda x, y: x.square().mean()):
            optimizer.zero_grad()
            loss = loss_of(by_hand.linear(imgs), labels)
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
    assert same_weights(model, by_hand)
    assert notes.of("loss_cls") == expected[0::2]
    assert notes.of("loss_norm") == expected[1::2]


class ByClosure(Classifier):
    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, training=True)
        log_vars = {}

        def closure():
            optim_wrapper.zero_grad()
            loss, parsed = self.parse_losses(self(*data, mode="loss"))
            loss.backward()
            log_vars.update(parsed)
            return loss

        optim_wrapper.optimizer.step(closure)
        return log_vars


def test_a_train_step_may_hand_a_closure_to_the_optimizer(run, notes, vectors):
    model = ByClosure()
    by_hand = twin(model)
    loader = DataLoader(vectors, batch_size=12)

    run(
        model=model,
        train_dataloader=loader,
        train_cfg=dict(max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type="LBFGS", lr=0.5, max_iter=5)),
        **ONLY_TRAINING,
    ).train()

    optimizer = torch.optim.LBFGS(by_hand.parameters(), lr=0.5, max_iter=5)
    imgs, labels = vectors.tensors

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(by_hand.linear(imgs), labels)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert same_weights(model, by_hand)
    losses = notes.of("loss")
    assert losses[0] > losses[1] > losses[2]


class LearnsFromItsOwnPredictions(Classifier):
    def train_step(self, data, optim_wrapper):
        imgs, labels = self.data_preprocessor(data, training=True)
        with torch.no_grad():
            guesses = self(imgs, mode="predict")
        losses = self(imgs, labels, mode="loss")
        losses["loss_own"] = 0.1 * F.cross_entropy(self(imgs, mode="tensor"), guesses)
        losses["loss_raw"] = 0.1 * self.forward(imgs).square().mean()
        loss, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars


def test_a_train_step_may_call_forward_in_any_mode(run, vectors):
    model = LearnsFromItsOwnPredictions()
    by_hand = twin(model)
    loader = DataLoader(vectors, batch_size=4)

    run(
        model=model,
        train_dataloader=loader,
        train_cfg=dict(max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        **ONLY_TRAINING,
    ).train()

    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    for imgs, labels in loader:
        guesses = by_hand.linear(imgs).argmax(1)
        optimizer.zero_grad()
        loss = F.cross_entropy(by_hand.linear(imgs), labels)
        loss = loss + 0.1 * F.cross_entropy(by_hand.linear(imgs), guesses)
        loss = loss + 0.1 * by_hand.linear(imgs).square().mean()
        loss.backward()
        optimizer.step()
    assert same_weights(model, by_hand)


# "we need to make sure that train_step returns a loss dict"


def test_the_loss_dict_that_train_step_returns_is_what_the_hooks_get_and_what_is_logged(run, notes, vectors):
    class NamesItsOwn(Classifier):
        def train_step(self, data, optim_wrapper):
            log_vars = super().train_step(data, optim_wrapper)
            return {"loss": log_vars["loss"], "temperature": torch.tensor(36.6)}

    runner = run(model=NamesItsOwn(), train_dataloader=DataLoader(vectors, batch_size=12), **ONLY_TRAINING)
    runner.train()

    assert [list(outputs) for outputs in notes.outputs] == [["loss", "temperature"]] * 2
    assert runner.message_hub.get_scalar("train/temperature").current() == pytest.approx(36.6)
    assert runner.message_hub.get_scalar("train/loss").current() == notes.of("loss")[-1]


def test_a_train_step_that_returns_anything_else_is_told_so(run, vectors):
    class ReturnsTheLoss(Classifier):
        def train_step(self, data, optim_wrapper):
            return super().train_step(data, optim_wrapper)["loss"]

    runner = run(model=ReturnsTheLoss(), train_dataloader=DataLoader(vectors, batch_size=12), **ONLY_TRAINING)

    with pytest.raises(TypeError, match=r"train_step of ReturnsTheLoss returned .*Tensor, but a dict"):
        runner.train()
