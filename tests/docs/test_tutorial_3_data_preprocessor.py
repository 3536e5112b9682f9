"""The model tutorial, third section: "DataPreprocessor".

Slips mended in the snippets: ``MixUpDataPreprocessor`` did not call ``super().__init__()``, did not keep ``num_class``
and so let ``one_hot`` guess it, used ``label`` before it was defined and ``batch_scores`` which never was, and called
``tuple(img, label)`` with two arguments. ``.cpu()`` stands for ``.cuda()``, since these tests run anywhere; what moves
between devices is shown with torch's ``meta`` device, and with an accelerator where there is one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mainspring import BaseDataElement, BaseDataPreprocessor, BaseMetric, BaseModel, ImgDataPreprocessor, MixUp, Mosaic
from mainspring.registry import MODELS

NUM_CLASS = 3
ONLY_TRAINING = dict(val_dataloader=..., val_cfg=..., val_evaluator=...)

accelerator = pytest.param(
    "accelerator",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")],
)


@pytest.fixture(params=["meta", accelerator])
def device(request):
    return torch.accelerator.current_accelerator().type if request.param == "accelerator" else request.param


class Classifier(BaseModel):
    """Knows nothing of devices and of data preprocessors, as MMResNet50."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.conv = nn.Conv2d(3, NUM_CLASS, 3)
        self.seen = []

    def forward(self, imgs, labels, mode):
        self.seen.append((imgs, labels))
        x = self.conv(imgs).mean((2, 3))
        if mode == "loss":
            return {"loss": F.cross_entropy(x, labels)}
        return x, labels


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(6)
    return torch.rand(6, 3, 8, 8, generator=generator), torch.arange(6) % NUM_CLASS


@pytest.fixture
def loader(batch):
    return DataLoader(TensorDataset(*batch), batch_size=6)


# "... when does MMEngine move the data and model from the CPU to the GPU? In fact, the Runner will move the model to
# the specified device during the construction, while the data will be moved to the specified device at the
# self.data_preprocessor(data) ... The moved data will be further passed to the model."


def test_the_runner_moves_the_model_to_the_specified_device_during_its_construction(run, device):
    model = Classifier()
    assert model.conv.weight.device.type == "cpu"

    run(model=model, env_cfg=dict(device=device))

    assert model.conv.weight.device.type == device


def test_the_data_are_moved_at_the_data_preprocessor_and_then_passed_to_the_model(run, device, loader):
    runner = run(model=Classifier(), env_cfg=dict(device=device), train_dataloader=loader, **ONLY_TRAINING)
    model, (imgs, labels) = runner.model, next(iter(loader))

    moved = model.data_preprocessor((imgs, labels))
    model.train_step((imgs, labels), runner.optim_wrapper)

    assert [tensor.device.type for tensor in moved] == [device, device]
    assert [tensor.device.type for tensor in model.seen[0]] == [device, device]
    assert [tensor.device.type for tensor in (imgs, labels)] == ["cpu", "cpu"]


# "MMResNet50 does not define data_preprocessor, but why it can still access data_preprocessor and move data to GPU? ...
# super().__init__ will build a default data_preprocessor for it."


def test_a_class_that_defines_no_data_preprocessor_has_the_default_one():
    assert type(Classifier().data_preprocessor) is BaseDataPreprocessor


@pytest.mark.parametrize("training", [True, False])
def test_the_default_one_is_equivalent_to_moving_each_element(batch, training):
    class Equivalent(nn.Module):
        def forward(self, data, training=True):
            return tuple(_data.to("meta") for _data in data)

    moved = Classifier().to("meta").data_preprocessor(batch, training)

    expected = Equivalent()(batch, training)
    assert type(moved) is type(expected)
    assert [(m.shape, m.dtype, m.device) for m in moved] == [(e.shape, e.dtype, e.device) for e in expected]


def test_it_follows_the_model_to_any_device(device, batch):
    model = Classifier()

    assert model.data_preprocessor(batch)[0].device.type == "cpu"
    assert model.to(device).data_preprocessor(batch)[0].device.type == device


def test_it_moves_various_types_of_data(device, batch):
    imgs, labels = batch
    data = {
        "imgs": [imgs[0], imgs[1, :, :5]],
        "labels": labels,
        "samples": [BaseDataElement(metainfo=dict(path="a.png"), label=labels[:1])],
        "texts": pack_sequence([torch.zeros(3), torch.zeros(2)]),
        "names": ("a", b"b", 3, None),
    }

    moved = Classifier().to(device).data_preprocessor(data)

    assert {tensor.device.type for tensor in (*moved["imgs"], moved["labels"], moved["texts"].data)} == {device}
    assert moved["samples"][0].label.device.type == device
    assert moved["samples"][0].path == "a.png"
    assert moved["names"] == ("a", b"b", 3, None)


# "Where should we perform normalization? ... If I could move the data to the specified device while it is still in
# uint8 and before it is normalized (the size of normalized float data is 4 times larger than that of unit8), it would
# reduce the bandwidth ... The data preprocessor moves the data first and then normalizes it."


class Moves(TorchDispatchMode):
    """Writes down the dtype and the bytes of all that goes from one device to another."""

    def __init__(self):
        super().__init__()
        self.dtypes, self.bytes = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if given is not None and isinstance(result, torch.Tensor) and result.device != given.device:
            self.dtypes.append(given.dtype)
            self.bytes += given.nbytes
        return result


MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.fixture
def pictures():
    return torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))


def normalised_by_the_transform(pictures):
    return (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def test_the_data_are_moved_first_and_normalised_after(pictures, device):
    preprocessor = ImgDataPreprocessor(mean=MEAN, std=STD).to(device)

    with Moves() as moves:
        inputs = preprocessor({"inputs": pictures})["inputs"]

    assert moves.dtypes == [torch.uint8]
    assert (inputs.dtype, inputs.device.type) == (torch.float32, device)


def test_data_normalised_by_the_transform_are_four_times_the_bytes_to_move(pictures, device):
    normalising, moving = ImgDataPreprocessor(mean=MEAN, std=STD).to(device), BaseDataPreprocessor().to(device)

    with Moves() as lagged:
        normalising({"inputs": pictures})
    with Moves() as early:
        moving({"inputs": normalised_by_the_transform(pictures)})

    assert early.dtypes == [torch.float32]
    assert early.bytes == 4 * lagged.bytes == 4 * pictures.numel()


def test_the_lagged_normalisation_gives_the_same_images(pictures):
    lagged = ImgDataPreprocessor(mean=MEAN, std=STD)({"inputs": pictures})["inputs"]

    torch.testing.assert_close(lagged, normalised_by_the_transform(pictures))


# "How we implement the data augmentation like MixUp and Mosaic? ... if we implement Mosaic or Mixup based on the
# batch_data sampled from Dataloader, everything becomes easy."


class MixUpDataPreprocessor(nn.Module):
    def __init__(self, num_class, alpha):
        super().__init__()
        self.num_class = num_class
        self.alpha = alpha

    def forward(self, data, training=True):
        data = tuple(_data.cpu() for _data in data)
        if not training:
            return data

        img, label = data
        label = F.one_hot(label, self.num_class)
        batch_size = len(label)
        index = torch.randperm(batch_size)
        lam = np.random.beta(self.alpha, self.alpha)

        img = lam * img + (1 - lam) * img[index, :]
        label = lam * label + (1 - lam) * label[index, :]
        return img, label


class MovingMixUpDataPreprocessor(BaseDataPreprocessor):
    """The same upon ours, which knows the device."""

    def __init__(self, num_class, alpha):
        super().__init__()
        self.num_class = num_class
        self.alpha = alpha

    def forward(self, data, training=False):
        data = self.cast_data(data)
        if not training:
            return data

        img, label = data
        label = F.one_hot(label, self.num_class)
        index = torch.randperm(len(label), device=label.device)
        lam = np.random.beta(self.alpha, self.alpha)
        return lam * img + (1 - lam) * img[index, :], lam * label + (1 - lam) * label[index, :]


@pytest.fixture(params=[MixUpDataPreprocessor, MovingMixUpDataPreprocessor])
def mixup(request):
    return request.param


def test_mixup_is_performed_in_training_mode(mixup, batch):
    imgs, labels = mixup(num_class=NUM_CLASS, alpha=1.0)(batch, training=True)

    assert not torch.equal(imgs, batch[0])
    assert labels.shape == (6, NUM_CLASS)
    torch.testing.assert_close(labels.sum(1), torch.ones(6))


def test_mixup_is_not_performed_otherwise(mixup, batch):
    imgs, labels = mixup(num_class=NUM_CLASS, alpha=1.0)(batch, training=False)

    assert torch.equal(imgs, batch[0])
    assert torch.equal(labels, batch[1])


def test_our_mixup_gives_the_same_batch(mixup, batch):
    def mixed_by(preprocessor):
        np.random.seed(8)
        torch.manual_seed(8)
        return preprocessor(batch, True)

    ours = mixed_by(BaseDataPreprocessor(augments=[MixUp(alpha=0.4, num_classes=NUM_CLASS)]))
    of_the_page = mixed_by(mixup(num_class=NUM_CLASS, alpha=0.4))

    torch.testing.assert_close(ours, of_the_page)


class AdjustedClassifier(Classifier):
    """Since the returned label is one-hot encoded in training, forward is adjusted."""

    def forward(self, imgs, labels, mode):
        if mode == "loss":
            self.seen.append((imgs, labels))
            return {"loss": -(labels * self.conv(imgs).mean((2, 3)).log_softmax(1)).sum(1).mean()}
        return super().forward(imgs, labels, mode)


@pytest.mark.parametrize("model", [AdjustedClassifier, Classifier])  # torch's cross_entropy takes soft labels, too
def test_a_runner_trains_with_mixup_and_validates_without(run, mixup, model, loader):
    runner = run(
        model=model(data_preprocessor=mixup(num_class=NUM_CLASS, alpha=1.0)),
        train_dataloader=loader,
        val_dataloader=loader,
    )
    runner.train()

    shapes = [labels.shape for _, labels in runner.model.seen]
    assert shapes == [(6, NUM_CLASS), (6,), (6, NUM_CLASS), (6,)]  # two epochs of training and validation


def test_mosaic_and_mixup_chain(batch):
    preprocessor = BaseDataPreprocessor(
        augments=[Mosaic(num_classes=NUM_CLASS), dict(type="MixUp", alpha=1.0, num_classes=NUM_CLASS)]
    )
    # Image i shines in channel i only, so the channels of a result tell from which images it was put together.
    flags = torch.eye(6)[:, :, None, None].expand(6, 6, 8, 8)

    imgs, labels = preprocessor((flags, batch[1]), True)

    sources = (imgs.amax((2, 3)) > 0).sum(1)
    assert imgs.shape == flags.shape
    assert sources.max() > 2  # more than MixUp alone could reach
    torch.testing.assert_close(imgs.sum(1), torch.ones(6, 8, 8))
    torch.testing.assert_close(labels, imgs.mean((2, 3)) @ F.one_hot(batch[1]).float())  # the labels follow the pixels
    assert preprocessor((flags, batch[1]), False)[0] is flags


@pytest.mark.parametrize("kind", [AdjustedClassifier, Classifier])
@pytest.mark.parametrize("names", [["MixUp"], ["Mosaic"], ["CutMix"], ["Mosaic", "MixUp"]], ids="-".join)
def test_algorithms_and_augmentations_combine_freely(run, pictures, kind, names):
    runner = run(
        model=dict(type=kind),
        data_preprocessor=dict(
            type="ImgDataPreprocessor",
            mean=MEAN,
            std=STD,
            augments=[dict(type=name, num_classes=NUM_CLASS) for name in names],
        ),
        train_dataloader=DataLoader(TensorDataset(pictures, torch.arange(4) % NUM_CLASS), batch_size=4),
        **ONLY_TRAINING,
    )

    imgs, labels = runner.train().seen[0]

    assert (imgs.dtype, imgs.shape) == (torch.float32, pictures.shape)
    assert labels.shape == (4, NUM_CLASS)


def test_an_own_preprocessor_is_built_by_name(run, loader):
    MODELS.register_module(name="MixUpOfTheTutorial", module=MixUpDataPreprocessor, force=True)

    runner = run(
        model=dict(type=Classifier, data_preprocessor=dict(type="MixUpOfTheTutorial", num_class=NUM_CLASS, alpha=0.2)),
        train_dataloader=loader,
        **ONLY_TRAINING,
    )

    assert runner.train().seen[0][1].shape == (6, NUM_CLASS)


# "What should we do if the data sampled from the DataLoader does not match the model input ...? The ideal solution is
# to do the adaptation without breaking the existing interface between the model and the DataLoader. ... you can
# customize your DataPreprocessor to convert the incoming to the target type."


class Annotated(Dataset):
    """Somebody's data: nested dicts, other names, channels last."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        picture = np.full((8, 8, 3), index * 20, dtype=np.uint8)
        return {"image": picture, "annotation": {"category": index % NUM_CLASS}, "path": f"{index}.png"}


class FromAnnotated(BaseDataPreprocessor):
    def forward(self, data, training=False):
        data = self.cast_data(data)
        imgs = data["image"].permute(0, 3, 1, 2).float() / 255
        return super().forward({"imgs": imgs, "labels": data["annotation"]["category"]}, training)


class Paths(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += data_batch["path"]

    def compute_metrics(self, results):
        return {"paths": results}


def test_foreign_data_are_adapted_without_touching_loader_or_model(run, notes):
    loader = DataLoader(Annotated(), batch_size=3)
    mixing = MixUp(num_classes=NUM_CLASS, inputs="imgs")

    runner = run(
        model=Classifier(FromAnnotated(augments=mixing)),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=[dict(type="Accuracy"), Paths()],
    )
    runner.train()

    imgs, labels = runner.model.seen[0]
    assert (imgs.shape, imgs.dtype, labels.shape) == ((3, 3, 8, 8), torch.float32, (3, NUM_CLASS))
    # Hooks and metrics still get what the loader gave.
    assert list(notes.batches[0]) == ["image", "annotation", "path"]
    assert runner.val()["paths"] == [f"{i}.png" for i in range(6)]


def test_a_loader_of_pairs_feeds_a_model_that_takes_names(run, loader):
    class TakesNames(BaseModel):
        def __init__(self, data_preprocessor):
            super().__init__(data_preprocessor)
            self.classifier = Classifier()

        def forward(self, inputs, data_samples, mode="tensor"):
            labels = torch.cat([sample.gt_label for sample in data_samples])
            return self.classifier(inputs, labels, mode=mode)

    class FromPairs(BaseDataPreprocessor):
        def forward(self, data, training=False):
            imgs, labels = super().forward(data, training)
            return {"inputs": imgs, "data_samples": [BaseDataElement(gt_label=y) for y in labels[:, None]]}

    runner = run(model=TakesNames(FromPairs()), train_dataloader=loader, val_dataloader=loader)
    runner.train()

    assert "accuracy/top1" in runner.val()
    assert torch.equal(runner.model.classifier.seen[0][1], next(iter(loader))[1])
