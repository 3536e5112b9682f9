"""The model tutorial, second section, "Interface introduction", up to MMResNet50.

Slips mended in the snippets: ``parse_losses()`` got no losses; ``val_step`` had an ``optim_wrapper``, which no
loop hands to it; ``train_step`` was called without one; ``outputs`` was called ``preds`` a line before.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, default_collate

from mainspring import Accuracy, BaseDataElement, BaseMetric, BaseModel, BaseModule, Evaluator, OptimWrapper

ONLY_TRAINING = dict(val_dataloader=..., val_cfg=..., val_evaluator=...)


class Classifier(BaseModel):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.linear = nn.Linear(6, 3)

    def forward(self, imgs, labels=None, mode="tensor"):
        x = self.linear(imgs)
        if mode == "loss":
            return {"loss": F.cross_entropy(x, labels)}
        elif mode == "predict":
            return x, labels
        return x


@pytest.fixture
def model():
    return Classifier()


@pytest.fixture
def dataset():
    generator = torch.Generator().manual_seed(2)
    return TensorDataset(torch.randn(14, 6, generator=generator), torch.arange(14) % 3)


@pytest.fixture
def batch(dataset):
    return default_collate([dataset[i] for i in range(4)])


def optim_wrapper_of(model, lr=0.1):
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=lr))


# "In MMEngine, model will be managed by Runner, and need to implement some interfaces, such as train_step, val_step,
# and test_step."


class NoBaseModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def train_step(self, data, optim_wrapper):
        imgs, labels = data
        loss = F.cross_entropy(self.linear(imgs), labels)
        optim_wrapper.update_params(loss)
        return {"loss": loss}

    def val_step(self, data):
        imgs, labels = data
        return self.linear(imgs), labels

    test_step = val_step


def test_what_the_runner_needs_of_a_model_are_the_three_steps(run, notes, dataset):
    loader = DataLoader(dataset, batch_size=14)

    run(model=NoBaseModel(), train_dataloader=loader, val_dataloader=loader).train()

    losses = notes.of("loss")
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("step", ["train_step", "val_step"])
def test_a_model_without_a_step_that_is_needed_is_refused(run, dataset, step):
    class Lacking(NoBaseModel):
        pass

    setattr(Lacking, step, None)
    loader = DataLoader(dataset, batch_size=7)

    with pytest.raises(TypeError, match=rf"{step}, which Lacking does not have.*BaseModel"):
        run(model=Lacking(), train_dataloader=loader, val_dataloader=loader).train()


# "BaseModel inherits from BaseModule, which can be used to initialize the model parameters dynamically."


class Head(BaseModule):
    def __init__(self):
        super().__init__(init_cfg=dict(type="Constant", layer="Linear", val=3, bias=4))
        self.fc = nn.Linear(6, 3)


class TwoParts(Classifier):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.head = Head()


def test_base_model_inherits_from_base_module():
    assert issubclass(BaseModel, BaseModule)


@pytest.mark.parametrize(
    ("init_cfg", "weight", "bias"),
    [
        (dict(type="Constant", layer="Linear", val=0.5, bias=0.25), 0.5, 0.25),
        (dict(type="Constant", val=7, override=dict(name="linear")), 7, 0),
        ([dict(type="Constant", layer="Linear", val=1), dict(type="Constant", layer="Linear", val=2)], 2, 0),
    ],
)
def test_a_runner_initialises_the_parameters_by_init_cfg(run, dataset, init_cfg, weight, bias):
    runner = run(
        model=dict(type=TwoParts, init_cfg=init_cfg),
        train_dataloader=DataLoader(dataset, batch_size=7),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.0)),
        **ONLY_TRAINING,
    )
    assert not torch.all(runner.model.linear.weight == weight)  # the runner initialises before it trains

    runner.train()

    assert torch.all(runner.model.linear.weight == weight)
    assert torch.all(runner.model.linear.bias == bias)
    assert torch.all(runner.model.head.fc.weight == 3)  # a part's own config counts more
    assert torch.all(runner.model.head.fc.bias == 4)


def test_initialisation_depends_on_the_seed_of_the_run_only(run):
    def initial_weight(seed):
        kaiming = dict(type="Kaiming", layer="Linear")
        runner = run(model=Classifier(init_cfg=kaiming), randomness=dict(seed=seed))
        _ = runner.optim_wrapper
        return runner.model.linear.weight

    assert torch.equal(initial_weight(3), initial_weight(3))
    assert not torch.equal(initial_weight(3), initial_weight(4))


# "forward: The arguments of forward need to match with the data given by DataLoader."


class Arguments(BaseModel):
    """Hands back what reached forward."""

    def forward(self, *args, mode, **kwargs):
        return args, kwargs, mode


def test_tuple_data_reach_forward_as_unpacked_values(batch):
    imgs, labels = batch

    assert Arguments().val_step((imgs, labels)) == ((imgs, labels), {}, "predict")
    assert Arguments().val_step([imgs, labels]) == ((imgs, labels), {}, "predict")


def test_dict_data_reach_forward_as_keys_and_values(batch):
    imgs, labels = batch

    assert Arguments().val_step({"labels": labels, "imgs": imgs}) == ((), {"labels": labels, "imgs": imgs}, "predict")


def test_forward_whose_arguments_do_not_match_the_data_is_an_error(model, batch):
    with pytest.raises(TypeError, match="label"):
        model.val_step({"imgs": batch[0], "label": batch[1]})


# "mode='loss': ... forward returns a differentiable loss dict. Each key-value pair in loss dict will be used to log
# the training status and optimize the parameters of model. This branch will be called by train_step"


class ManyLosses(Classifier):
    def forward(self, imgs, labels=None, mode="tensor"):
        x = self.linear(imgs)
        if mode != "loss":
            return x
        each = F.cross_entropy(x, labels, reduction="none")
        accuracy = (x.argmax(1) == labels).float().mean()
        return {"loss_cls": each.mean(), "aux_losses": [each[:2].sum(), each[2:].sum()], "acc": accuracy}


def test_mode_loss_returns_a_differentiable_loss_dict(model, batch):
    losses = model(*batch, mode="loss")

    losses["loss"].backward()
    assert model.linear.weight.grad.abs().sum() > 0


def test_the_losses_are_summed_and_optimised_the_other_entries_only_logged(batch):
    model, by_hand = ManyLosses(), ManyLosses()
    by_hand.load_state_dict(model.state_dict())

    log_vars = model.train_step(batch, optim_wrapper_of(model))

    losses = by_hand(*batch, mode="loss")
    total = losses["loss_cls"] + (losses["aux_losses"][0] + losses["aux_losses"][1])
    total.backward()
    torch.optim.SGD(by_hand.parameters(), lr=0.1).step()
    assert torch.equal(model.linear.weight, by_hand.linear.weight)
    assert list(log_vars) == ["loss", "loss_cls", "aux_losses", "acc"]
    assert log_vars["loss"] == total
    assert log_vars["acc"] == losses["acc"]


def test_every_entry_is_logged(run, dataset):
    runner = run(model=ManyLosses(), train_dataloader=DataLoader(dataset, batch_size=7), **ONLY_TRAINING)
    runner.train()

    for name in ("loss", "loss_cls", "aux_losses", "acc"):
        values, _ = runner.message_hub.get_scalar(f"train/{name}").data
        assert len(values) == runner.max_iters


# "mode='predict': ... forward will return predictions, which matches with arguments of process. ... The predictions
# must be a list and each element of it must be a BaseDataElement. This branch will be called by val_step"


class ManyElements(Classifier):
    """As OpenMMLab's repositories have it: a list with a BaseDataElement for each image."""

    def forward(self, imgs, labels=None, mode="tensor"):
        x = self.linear(imgs)
        if mode == "predict":
            return [BaseDataElement(pred_score=s, gt_label=int(y)) for s, y in zip(x, labels, strict=True)]
        return super().forward(imgs, labels, mode)


class Received(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append((data_batch, data_samples))

    def compute_metrics(self, results):
        return {"batches": len(results), "samples": sum(len(samples) for _, samples in results)}


@pytest.mark.parametrize("kind", [Classifier, ManyElements])
def test_predictions_match_the_arguments_of_process(run, dataset, kind):
    model = kind()
    evaluator = Evaluator([Accuracy(), Received()])

    metrics = run(model=model, val_dataloader=DataLoader(dataset, batch_size=7), val_evaluator=evaluator).val()

    correct = model.linear(dataset.tensors[0]).argmax(1) == dataset.tensors[1]
    assert metrics["accuracy/top1"] == pytest.approx(100 * correct.sum() / 14)
    assert metrics["batches"] == 2
    assert metrics["samples"] == (14 if kind is ManyElements else 4)  # lists are by sample, tuples by column


# "mode='tensor': ... forward will return a tensor or a container or tensor which has not been processed by a series of
# post-process methods ... You can customize your post-process method after getting the result of tensor mode."


class Detector(BaseModel):
    """Finds positions; its post-processing throws away what lies beside a better one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, signal, mode):
        scores = self.conv(signal)[:, 0]
        if mode == "predict":
            best_nearby = F.max_pool1d(scores[:, None], 3, 1, 1)[:, 0]
            return [(s == b).nonzero().flatten().tolist() for s, b in zip(scores, best_nearby, strict=True)]
        return scores


def test_mode_tensor_returns_what_has_not_been_post_processed():
    model, signal = Detector(), torch.randn(2, 1, 9, generator=torch.Generator().manual_seed(0))

    raw = model(signal, mode="tensor")
    peaks = model(signal, mode="predict")

    assert raw.shape == (2, 9)
    my_own_post_process = [[i for i in range(9) if row[i] == row[max(i - 1, 0) : i + 2].max()] for row in raw]
    assert peaks == my_own_post_process


# "train_step: Get the loss dict by calling forward with loss mode. BaseModel implements a standard optimization
# process"


class StepsOfThePage(Classifier):
    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, training=True)
        loss = self(**data, mode="loss")
        parsed_losses, log_vars = self.parse_losses(loss)
        optim_wrapper.update_params(parsed_losses)
        return log_vars

    def val_step(self, data):
        data = self.data_preprocessor(data, training=False)
        outputs = self(**data, mode="predict")
        return outputs


def test_the_inherited_train_step_does_what_the_page_has_as_its_body(model, batch):
    data = dict(zip(("imgs", "labels"), batch, strict=True))
    as_on_the_page = StepsOfThePage()
    as_on_the_page.load_state_dict(model.state_dict())

    log_vars = model.train_step(data, optim_wrapper_of(model))
    expected = as_on_the_page.train_step(data, optim_wrapper_of(as_on_the_page))

    assert log_vars == expected
    for name, value in as_on_the_page.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_train_step_accepts_both_tuple_and_dict_input(model, batch):
    from_tuple, from_dict = model, copy.deepcopy(model)

    from_tuple.train_step(batch, optim_wrapper_of(from_tuple))
    from_dict.train_step(dict(zip(("imgs", "labels"), batch, strict=True)), optim_wrapper_of(from_dict))

    assert torch.equal(from_tuple.linear.weight, from_dict.linear.weight)


# "val_step: Get the predictions by calling forward with predict mode."
# "test_step: There is no difference between val_step and test_step in BaseModel. But we can customize it in the
# subclasses, for example, you can get validation loss in val_step."


def test_the_inherited_val_step_does_what_the_page_has_as_its_body(model, batch):
    as_on_the_page = StepsOfThePage()
    as_on_the_page.load_state_dict(model.state_dict())

    scores, labels = model.val_step(batch)

    expected, _ = as_on_the_page.val_step(dict(zip(("imgs", "labels"), batch, strict=True)))
    assert torch.equal(scores, expected)
    assert torch.equal(labels, batch[1])


def test_test_step_does_not_differ_from_val_step(model, batch):
    assert torch.equal(model.test_step(batch)[0], model.val_step(batch)[0])


class LossInValStep(Classifier):
    def val_step(self, data):
        data = self.data_preprocessor(data, training=False)
        scores, labels = self(*data, mode="predict")
        _, log_vars = self.parse_losses(self(*data, mode="loss"))
        return {"scores": scores, "labels": labels, **log_vars}


class ValidationLoss(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [data_samples["loss"]] * len(data_samples["labels"])

    def compute_metrics(self, results):
        return {"loss": float(torch.stack(results).mean())}


def test_val_step_can_be_customised_to_get_the_validation_loss(run, dataset):
    model = LossInValStep()
    val_evaluator = [dict(type="Accuracy"), ValidationLoss()]

    runner = run(model=model, val_dataloader=DataLoader(dataset, batch_size=5), val_evaluator=val_evaluator)
    metrics = runner.val()

    imgs, labels = dataset.tensors
    assert metrics["loss"] == pytest.approx(F.cross_entropy(model.linear(imgs), labels).item())
    assert "accuracy/top1" in metrics
    assert model.linear.weight.grad is None


class FlippedInTestStep(Classifier):
    """Predicts from the image and its mirror image, but in a test only."""

    def test_step(self, data):
        imgs, labels = self.data_preprocessor(data, training=False)
        return (self(imgs, mode="tensor") + self(imgs.flip(-1), mode="tensor")) / 2, labels


class Scores(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += list(data_samples[0])

    def compute_metrics(self, results):
        return {"scores": torch.stack(results)}


def test_test_step_can_be_customised_in_a_subclass(run, dataset):
    loader = DataLoader(dataset, batch_size=5)
    evaluation = dict(val_dataloader=loader, val_evaluator=Scores())
    model = FlippedInTestStep()

    runner = run(model=model, **evaluation, test_dataloader=loader, test_cfg={}, test_evaluator=Scores())

    plain, flipped = model.linear(dataset.tensors[0]), model.linear(dataset.tensors[0].flip(-1))
    torch.testing.assert_close(runner.val()["scores"], plain)
    torch.testing.assert_close(runner.test()["scores"], (plain + flipped) / 2)


# "... a more complete pseudo-code ... Great!, ignoring Hook, the pseudo-code above almost implements the main logic in
# loop!"


def test_the_more_complete_pseudo_code_gives_the_runners_weights_and_metrics(run, model, dataset):
    train_dataloader, val_dataloader = DataLoader(dataset, batch_size=4), DataLoader(dataset, batch_size=5)
    runner = run(
        model=copy.deepcopy(model),
        train_dataloader=train_dataloader,
        train_cfg=dict(max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        val_dataloader=val_dataloader,
    )
    optim_wrapper, evaluator = optim_wrapper_of(model), Evaluator(Accuracy())

    # training
    for data_batch in train_dataloader:
        loss_dict = model.train_step(data_batch, optim_wrapper)
    # validation
    for data_batch in val_dataloader:
        outputs = model.test_step(data_batch)
        evaluator.process(data_samples=outputs, data_batch=data_batch)
    metrics = evaluator.evaluate(len(val_dataloader.dataset))

    trained = runner.train()
    assert torch.equal(trained.linear.weight, model.linear.weight)
    assert torch.equal(trained.linear.bias, model.linear.bias)
    assert runner.message_hub.get_scalar("train/loss").current() == loss_dict["loss"].item()
    assert runner.message_hub.get_scalar("val/accuracy/top1").current() == metrics["accuracy/top1"]
