"""Between two log lines the host reads nothing that a step computes, so it never waits for the device.

Two detectors: modes of torch, which see each call on any tensor, on the CPU too; and the device ``meta``, whose tensors
hold nothing that could be read.
"""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import TensorDataset

from mainspring import Accuracy, BaseModel, EpochBasedTrainLoop, IterBasedTrainLoop, Runner, ValLoop
from mainspring.hooks import Hook

pytestmark = pytest.mark.usefixtures("as_on_a_device")

STEPS, INTERVAL = 60, 50
LENGTHS = {"after_train_epoch": {"max_epochs": 1}, "after_train_iter": {"max_iters": STEPS}}
LOG_LINES = {49, 59}
"""The steps at whose end a log line is written: by the interval, and as the last."""

aten = torch.ops.aten
OPERATORS = {
    aten._local_scalar_dense, aten.equal, aten.allclose, aten.nonzero, aten.masked_select, aten._unique2,
    aten.unique_dim, aten.unique_consecutive, aten.bincount,
}  # fmt: skip
"""Those that hand a value to the host, or whose result has a size that depends on values."""

METHODS = {"tolist", "numpy", "cpu", "__array__", "__dlpack__", "__repr__", "__deepcopy__", "untyped_storage"}
"""Those that read, or copy to the host, without an operator."""


class HostReadError(Exception):
    pass


class HostReads(contextlib.ExitStack):
    """Writes down, or refuses with :class:`HostReadError`, what reads tensors on the host.

    Args:
        refuse: Whether to raise.
        excepted: Returns tensors that may be read.
    """

    def __init__(self, refuse=True, excepted=list):
        super().__init__()
        self.refuse = refuse
        self.excepted = excepted
        self.seen = []
        self.enter_context(_Operators(self))
        self.enter_context(_Methods(self))

    def see(self, name, tensor):
        if not any(tensor is other for other in self.excepted()):
            self.seen.append(name)
            if self.refuse:
                raise HostReadError(f"{name} of a tensor of shape {tuple(tensor.shape)}")


class _Operators(TorchDispatchMode):
    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if packet in OPERATORS or (func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None):
            self.reads.see(str(packet), args[0])
        if packet in (aten.index, aten.index_put, aten.index_put_):
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    self.reads.see(f"{packet} by a mask", index)
        return func(*args, **kwargs)


class _Methods(TorchFunctionMode):
    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in METHODS:
            self.reads.see(func.__name__, args[0])
        return func(*args, **(kwargs or {}))


# The detector detects.

SCALAR = torch.tensor(1.0)
VECTOR = torch.tensor([1.0, 0.0, 2.0])
INTEGERS = torch.tensor([1, 0, 2])
READING = {
    "item": lambda: SCALAR.item(),
    "float": lambda: float(SCALAR),
    "int": lambda: int(SCALAR),
    "if": lambda: 1 if SCALAR else 2,
    "comparison": lambda: max(SCALAR, SCALAR + 1),
    "in": lambda: 2.0 in VECTOR,
    "index": lambda: "abc"[INTEGERS[0]],
    "slice": lambda: VECTOR[: INTEGERS[0]],
    "format": lambda: f"{SCALAR:.3f}",
    "str": lambda: str(SCALAR),
    "print": lambda: print(VECTOR),
    "tolist": lambda: VECTOR.tolist(),
    "numpy": lambda: VECTOR.numpy(),
    "asarray": lambda: np.asarray(VECTOR),
    "dlpack": lambda: np.from_dlpack(VECTOR),
    "cpu": lambda: VECTOR.cpu(),
    "equal": lambda: torch.equal(VECTOR, VECTOR),
    "allclose": lambda: torch.allclose(VECTOR, VECTOR),
    "assert_close": lambda: torch.testing.assert_close(VECTOR, VECTOR),
    "nonzero": lambda: VECTOR.nonzero(),
    "where": lambda: torch.where(VECTOR > 0),
    "masked_select": lambda: VECTOR.masked_select(VECTOR > 0),
    "mask": lambda: VECTOR[VECTOR > 0],
    "mask put": lambda: VECTOR.clone().__setitem__(VECTOR > 0, VECTOR[:2]),
    "unique": lambda: VECTOR.unique(),
    "bincount": lambda: INTEGERS.bincount(),
    "repeat_interleave": lambda: VECTOR.repeat_interleave(INTEGERS),
    "one_hot": lambda: F.one_hot(INTEGERS),
    "deepcopy": lambda: copy.deepcopy(VECTOR),
    "pickle": lambda: pickle.dumps(VECTOR),
    "clip, with a check": lambda: nn.utils.clip_grad_norm_(_with_gradient(), 1.0, error_if_nonfinite=True),
}


def _with_gradient():
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    return [parameter]


@pytest.mark.parametrize("read", READING.values(), ids=READING)
def test_detector_sees(read, capsys):
    read()
    with pytest.raises(HostReadError), HostReads():
        read()


def test_detector_lets_computing_pass():
    with HostReads() as reads:
        parameter = nn.Parameter(torch.ones(3, 3))
        loss = (
            (torch.randn(2, 3) @ parameter)[:, [0, 2]].softmax(1).clamp(min=0.1).masked_fill(torch.eye(2) > 0, 2).sum()
        )
        loss.backward()
        torch.where(parameter.grad > 0, parameter.grad, 0.0).to(torch.float64).to(parameter.device, non_blocking=True)
    assert reads.seen == []


# The step path.


class Net(BaseModel):
    def __init__(self, data_preprocessor):
        super().__init__(data_preprocessor)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 4)
        )

    def forward(self, inputs, labels, mode="tensor"):
        scores = self.layers(inputs)
        if mode == "loss":
            losses = [F.cross_entropy(scores, labels), scores.square().mean()]
            return {"losses": losses, "largest": scores.amax(1), "loss_of_weights": 1e-4 * self.layers[0].weight.norm()}
        return (scores, labels) if mode == "predict" else scores


class _Guarded:
    def step_counters(self):
        """Return an optimizer's counters of its own steps: they lie on the CPU and are read there."""
        states = self.runner.optim_wrapper.optimizer.state.values()
        return [state["step"] for state in states if "step" in state]

    def run_iter(self, *args):
        at_log_line = self.iter in LOG_LINES
        with HostReads(refuse=not at_log_line, excepted=self.step_counters) as reads:
            super().run_iter(*args)
        self.runner.reads[self.iter - 1] = reads.seen


class GuardedEpochs(_Guarded, EpochBasedTrainLoop):
    pass


class GuardedIterations(_Guarded, IterBasedTrainLoop):
    pass


class GuardedValidation(ValLoop):
    def run_iter(self, idx, data_batch):
        with HostReads():
            super().run_iter(idx, data_batch)


def preprocessor(*augments):
    augments = [{"type": name, "num_classes": 4} for name in augments]
    return {
        "type": "ImgDataPreprocessor",
        "mean": [120.0, 110.0, 100.0],
        "std": [60.0],
        "bgr_to_rgb": True,
        "pad_size_divisor": 2,
        "augments": {"type": "RandomChoice", "augments": augments} if len(augments) > 1 else augments,
    }


def images(batches):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (4 * batches, 3, 5, 6), dtype=torch.uint8, generator=generator)
    return {
        "dataset": TensorDataset(pixels, torch.arange(len(pixels)) % 4),
        "batch_size": 4,
        "shuffle": True,
        "collate_fn": "default_collate",
    }


RUNS = {
    "sgd, mixup": ({"type": "SGD", "lr": 0.01, "momentum": 0.9, "nesterov": True}, {}, ["MixUp"]),
    "adam, cutmix": ({"type": "Adam", "lr": 0.01}, {"clip_grad": {"max_norm": 1.0}}, ["CutMix"]),
    "adamw, mosaic": ({"type": "AdamW", "lr": 0.01, "amsgrad": True}, {"accumulative_counts": 4}, ["Mosaic"]),
    "sgd, any": (
        {"type": "SGD", "lr": 0.01},
        {"accumulative_counts": 3, "clip_grad": {"type": "value", "clip_value": 0.5}},
        ["MixUp", "CutMix", "Mosaic"],
    ),
}
BFLOAT16 = {"type": "AmpOptimWrapper", "dtype": "bfloat16", "clip_grad": {"max_norm": 1.0}, "accumulative_counts": 2}


def make(work_dir, optimizer, wrapper, augments, loop, **changes):
    arguments = {
        "model": {"type": Net, "data_preprocessor": preprocessor(*augments)},
        "work_dir": work_dir,
        "train_dataloader": images(STEPS),
        "train_cfg": {
            "type": loop,
            **({"max_epochs": 1} if issubclass(loop, EpochBasedTrainLoop) else {"max_iters": STEPS}),
        },
        "optim_wrapper": {"optimizer": optimizer, **wrapper},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "end": 10, "by_epoch": False},
            {"type": "CosineAnnealingLR", "T_max": STEPS - 10, "begin": 10, "end": STEPS, "by_epoch": False},
        ],
        "default_hooks": {
            "logger": {"type": "LoggerHook", "interval": INTERVAL},
            "checkpoint": {"type": "CheckpointHook", "interval": 1},  # at the end; it may read
            "summary": None,
        },
        "randomness": {"seed": 0},
        "log_level": "WARNING",
        **changes,
    }
    runner = Runner(**arguments)
    runner.reads = {}
    return runner


@pytest.mark.parametrize("loop", [GuardedEpochs, GuardedIterations])
@pytest.mark.parametrize(
    ("optimizer", "wrapper", "augments"),
    [*RUNS.values(), ({"type": "SGD", "lr": 0.01, "momentum": 0.9}, BFLOAT16, ["MixUp"])],
    ids=[*RUNS, "bfloat16"],
)
def test_steps_read_nothing_between_log_lines(tmp_path, optimizer, wrapper, augments, loop):
    runner = make(tmp_path, optimizer, wrapper, augments, loop)
    runner.train()
    assert {step for step, reads in runner.reads.items() if reads} == LOG_LINES
    assert len(runner.reads) == STEPS
    for step in LOG_LINES:
        assert runner.reads[step].count("cpu") == 1  # all scalars of all steps travel together


def test_hook_that_reads_is_found_out(tmp_path):
    class Curious(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx == 7:
                float(outputs["loss"])

    runner = make(tmp_path, *RUNS["sgd, mixup"], GuardedEpochs, custom_hooks=[Curious()])
    with pytest.raises(HostReadError) as caught:
        runner.train()
    assert caught.value.__notes__ == ["(raised in the hook Curious, stage after_train_iter)"]
    assert runner.iter == 7


LOOKS = {
    "batch": lambda runner, batch: batch[0][0, 0, 0].tolist(),
    "gradient": lambda runner, batch: bool(runner.model.layers[0].weight.grad.isnan().any()),
    "parameter": lambda runner, batch: runner.model.layers[0].weight.sum().item(),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_batch_gradient_or_parameter_that_is_read_is_found_out(tmp_path, look):
    class Curious(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            look(runner, data_batch)

    runner = make(tmp_path, *RUNS["adamw, mosaic"], GuardedEpochs, custom_hooks=[Curious()])
    with pytest.raises(HostReadError):
        runner.train()
    assert runner.iter == 0


class CountedAccuracy(Accuracy):
    reads = ()

    def compute(self):
        with HostReads(refuse=False) as reads:
            answers = super().compute()
        self.reads = reads.seen
        return answers


def test_validation_reads_nothing_until_its_end(tmp_path):
    metric = CountedAccuracy(topk=(1, 2))
    runner = make(
        tmp_path,
        *RUNS["sgd, mixup"],
        GuardedEpochs,
        val_dataloader=images(INTERVAL + 20),  # more batches than log lines are apart: these read times only
        val_cfg={"type": GuardedValidation},
        val_evaluator=metric,
    )
    metrics = runner.val()
    assert 0 < metrics["accuracy/top1"] <= metrics["accuracy/top2"] <= 100
    assert metric.reads == ["tolist"]


# The same on a device with nothing to read.


class Uploads(TorchDispatchMode):
    """Counts the tensors that go from the host to the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (aten._to_copy.default, aten.copy_.default):
            source = args[1] if func is aten.copy_.default else args[0]
            self.count += source.device.type == "cpu" and result.device.type == "meta"
        return result


class EnoughError(Exception):
    pass


class Until(Hook):
    """Counts what is brought to the device in each step, and ends the run before the first log line."""

    priority = "LOWEST"

    def __init__(self, steps):
        self.steps = steps
        self.uploads = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.steps:
            raise EnoughError

    def before_train(self, runner):
        step = runner.model.train_step

        def counting(data, optim_wrapper):
            with Uploads() as uploads:
                log_vars = step(data, optim_wrapper=optim_wrapper)
            self.uploads.append(uploads.count)
            return log_vars

        runner.model.train_step = counting


@pytest.mark.parametrize("loop", [EpochBasedTrainLoop, IterBasedTrainLoop])
@pytest.mark.parametrize(("optimizer", "wrapper", "augments"), RUNS.values(), ids=RUNS)
def test_steps_run_on_a_device_without_values(tmp_path, optimizer, wrapper, augments, loop):
    """And nothing but the batch, its images and labels, is brought to the device."""
    until = Until(INTERVAL - 1)
    runner = make(tmp_path, optimizer, wrapper, augments, loop, env_cfg={"device": "meta"}, custom_hooks=[until])
    with pytest.raises(EnoughError):
        runner.train()
    assert {parameter.device.type for parameter in runner.model.parameters()} == {"meta"}
    assert until.uploads == [2] * (INTERVAL - 1)


def test_log_line_reads_on_a_device_without_values(tmp_path):
    runner = make(tmp_path, *RUNS["sgd, mixup"], EpochBasedTrainLoop, env_cfg={"device": "meta"})
    with pytest.raises(NotImplementedError, match="no data") as caught:
        runner.train()
    assert runner.iter == INTERVAL - 1
    assert caught.value.__notes__ == ["(raised in the hook BadNumbersHook, stage after_train_iter)"]


def test_validation_reaches_its_end_on_a_device_without_values(tmp_path):
    ends = []

    class Ends(Hook):
        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            ends.append(batch_idx)

    runner = Runner(
        model={"type": Net, "data_preprocessor": preprocessor()},
        work_dir=tmp_path,
        val_dataloader=images(3),
        val_cfg={},
        val_evaluator={"type": "Accuracy"},
        env_cfg={"device": "meta"},
        custom_hooks=[Ends()],
        log_level="WARNING",
    )
    with pytest.raises((NotImplementedError, RuntimeError), match=r"scalarType|no data"):
        runner.val()
    assert ends == [0, 1, 2]
