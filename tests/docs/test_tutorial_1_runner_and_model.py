"""The model tutorial, first section: "Runner and model".

The page is MMEngine's, https://mmengine.readthedocs.io/en/latest/tutorials/model.html (Apache-2.0). The files
test_tutorial_* go through it from top to bottom; each test is called after what the page says. Its snippets stand
here as printed, but for their slips: the list is in each file. In this section: a tuple is unpacked with ``**``.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from mainspring import Accuracy, BaseModel, Evaluator

SGD_THAT_STANDS_STILL = dict(optimizer=dict(type="SGD", lr=0.0))


class Samples(Dataset):
    """Samples as a data set gives them: each a tuple or a dict."""

    def __init__(self, count, as_dicts):
        generator = torch.Generator().manual_seed(1)
        self.imgs, self.labels = torch.randn(count, 3, 4, 4, generator=generator), torch.arange(count) % 5
        self.as_dicts = as_dicts

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        img, label = self.imgs[index], self.labels[index]
        return {"imgs": img, "labels": label} if self.as_dicts else (img, label)


class Classifier(BaseModel):
    """The only thing needed: inherits from BaseModel, and implements forward."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(48, 5)

    def forward(self, imgs, labels, mode):
        x = self.linear(imgs.flatten(1))
        if mode == "loss":
            return {"loss": F.cross_entropy(x, labels)}
        elif mode == "predict":
            return x, labels
        return x


@pytest.fixture(params=[False, True], ids=["tuples", "dicts"])
def as_dicts(request):
    return request.param


@pytest.fixture
def train_dataloader(as_dicts):
    return DataLoader(Samples(12, as_dicts), batch_size=4)


@pytest.fixture
def val_dataloader(as_dicts):
    return DataLoader(Samples(11, as_dicts), batch_size=4)


def test_the_training_process_is_what_the_runner_does(run, notes, train_dataloader):
    model = Classifier()
    seen = []

    for data_batch in train_dataloader:
        data_batch = model.data_preprocessor(data_batch, training=True)
        if isinstance(data_batch, dict):
            losses = model(**data_batch, mode="loss")
        elif isinstance(data_batch, (list, tuple)):
            losses = model(*data_batch, mode="loss")
        else:
            raise TypeError()
        seen.append(losses["loss"].item())

    # The pseudo-code updates nothing yet, so neither does the runner here.
    run(
        model=copy.deepcopy(model),
        train_dataloader=train_dataloader,
        train_cfg=dict(max_epochs=1),
        optim_wrapper=SGD_THAT_STANDS_STILL,
        val_dataloader=...,
        val_cfg=...,
        val_evaluator=...,
    ).train()
    assert len(seen) == 3
    assert notes.of("loss") == seen


def test_the_validation_process_is_what_the_runner_does(run, val_dataloader):
    model = Classifier()
    evaluator = Evaluator(Accuracy())

    for data_batch in val_dataloader:
        data_batch = model.data_preprocessor(data_batch, training=False)
        if isinstance(data_batch, dict):
            outputs = model(**data_batch, mode="predict")
        elif isinstance(data_batch, (list, tuple)):
            outputs = model(*data_batch, mode="predict")
        else:
            raise TypeError()
        evaluator.process(data_samples=outputs, data_batch=data_batch)
    metrics = evaluator.evaluate(len(val_dataloader.dataset))

    scores = model.linear(val_dataloader.dataset.imgs.flatten(1))
    assert metrics == {"accuracy/top1": pytest.approx(100 * (scores.argmax(1) == torch.arange(11) % 5).sum() / 11)}
    assert run(model=model, val_dataloader=val_dataloader).val() == metrics


def test_a_batch_that_is_neither_dict_nor_list_nor_tuple_is_a_type_error(run):
    batches_of_tensors = DataLoader(torch.zeros(4, 3, 4, 4), batch_size=2)

    runner = run(model=Classifier(), train_dataloader=batches_of_tensors)

    with pytest.raises(
        TypeError, match=r"a float32 tensor of shape \(2, 3, 4, 4\) to Classifier.*a dict.*or a tuple or list"
    ):
        runner.train()


def test_inheriting_from_base_model_and_implementing_forward_is_all_it_takes(run, train_dataloader, val_dataloader):
    model = Classifier()
    before = copy.deepcopy(model.state_dict())

    runner = run(
        model=model,
        train_dataloader=train_dataloader,
        val_dataloader=val_dataloader,
        test_dataloader=val_dataloader,
        test_cfg={},
        test_evaluator=dict(type="Accuracy"),
    )
    trained = runner.train()
    validated, tested = runner.val(), runner.test()

    assert trained is model
    assert not torch.equal(model.linear.weight, before["linear.weight"])
    assert validated == tested
    assert list(tested) == ["accuracy/top1"]
