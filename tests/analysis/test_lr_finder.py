"""The learning-rate range test: what it finds, and that a run after it is the run without it."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from mainspring import BaseModel
from mainspring.analysis import LRSweep, lr_find
from mainspring.hooks import Hook
from mainspring.optim import OptimWrapper, OptimWrapperDict

ALONE = dict.fromkeys(("val_dataloader", "val_cfg", "val_evaluator"))


class Calls(Hook):
    """Makes a test in the middle of a run."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            lr_find(runner, num_updates=7)


def files_in(folder):
    return {str(path): path.stat().st_size for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def assert_same(one, other):
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    mine, theirs = one.optim_wrapper.state_dict(), other.optim_wrapper.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    for number, state in mine["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs["state"][number][key]))
    assert mine.get("loss_scaler") == theirs.get("loss_scaler")
    logged = [runner.message_hub.get_scalar("train/loss").data[0].tolist() for runner in (one, other)]
    assert logged[0] == logged[1]
    assert list(one.message_hub.log_scalars) == list(other.message_hub.log_scalars)
    assert [s.state_dict() for s in one.param_schedulers] == [s.state_dict() for s in other.param_schedulers]


OPTIONS = {
    "plain": {},
    "momentum, schedule, validations": {
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "clip_grad": {"max_norm": 1}},
        "param_scheduler": {"type": "CosineAnnealingLR", "by_epoch": False},
    },
    "scaled and accumulated": {
        "optim_wrapper": {
            "type": "AmpOptimWrapper",
            "dtype": "float16",
            "loss_scale": {"init_scale": 64.0, "growth_interval": 2},
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "accumulative_counts": 3,
        },
        "train_cfg": {"by_epoch": False, "max_iters": 11, "val_interval": 4},
    },
    "generators that run on": {"randomness": {"seed": 3, "running_streams": True, "sample_seeding": False}},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_run_after_it_is_the_run_without_it(make_runner, net, tmp_path, options):
    def make(name):
        torch.manual_seed(0)
        return make_runner(model={"type": net, "dropout": 0.3}, work_dir=tmp_path / name, **options)

    plain = make("plain")
    plain.train()
    runner = make("after")
    before = files_in(runner.work_dir)
    sweep = lr_find(runner, num_updates=12, end_lr=1.0)
    assert files_in(runner.work_dir) == before
    assert len(sweep.losses) == 12
    assert len(set(sweep.losses)) > 6
    runner.train()
    assert_same(runner, plain)
    assert lr_find(runner, num_updates=3).losses != sweep.losses  # now from the trained weights


def test_within_a_run(make_runner, net, tmp_path):
    def make(name, hooks):
        torch.manual_seed(0)
        return make_runner(model=net(dropout=0.3), work_dir=tmp_path / name, custom_hooks=hooks)

    plain, disturbed = make("plain", []), make("disturbed", [Calls(7)])
    plain.train()
    disturbed.train()
    assert_same(disturbed, plain)


def test_it_begins_with_the_weights_that_the_run_would(make_runner, tmp_path):
    first = make_runner()
    first.train()
    expected = lr_find(first, num_updates=4).losses
    loads = make_runner(load_from=Path(first.work_dir) / "epoch_2.pth", work_dir=tmp_path / "loads")
    assert lr_find(loads, num_updates=4).losses == expected
    resumes = make_runner(resume=True, train_cfg={"max_epochs": 3})
    assert lr_find(resumes, num_updates=4).losses == expected
    resumes.train()
    straight = make_runner(work_dir=tmp_path / "straight", train_cfg={"max_epochs": 3})
    straight.train()
    assert_same(resumes, straight)


class Remembers(IterableDataset):
    """A stream that knows where it stands."""

    def __init__(self):
        self.place = 0

    def __iter__(self):
        data = torch.randn(90, 6, generator=torch.Generator().manual_seed(1))
        while self.place < len(data):
            self.place += 1
            yield data[self.place - 1], self.place % 3
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state_dict):
        self.place = state_dict["place"]


def test_streams_stand_where_they_stood(make_runner, tmp_path):
    runs = []
    for name in ("plain", "after"):
        loader = DataLoader(Remembers(), batch_size=4)
        runs.append(
            make_runner(
                train_dataloader=loader,
                train_cfg={"by_epoch": False, "max_iters": 9},
                work_dir=tmp_path / name,
                default_hooks={"checkpoint": None},
                **ALONE,
            )
        )
    lr_find(runs[1], num_updates=5)
    for runner in runs:
        runner.train()
    assert_same(*runs)


def test_beside_an_average_of_the_weights(make_runner, tmp_path):
    first = make_runner(custom_hooks=[{"type": "EMAHook"}])
    first.train()
    file = Path(first.work_dir) / "epoch_1.pth"
    runs = [
        make_runner(custom_hooks=[{"type": "EMAHook"}], work_dir=tmp_path / name, load_from=file, resume=True)
        for name in ("plain", "after")
    ]
    lr_find(runs[1], num_updates=5)
    for runner in runs:
        runner.train()
        assert_same(runner, first)


class Line(BaseModel):
    """Linear regression whose loss falls and diverges at rates that can be computed."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 1))
        self.steps = 0

    def train_step(self, data, optim_wrapper):
        self.steps += 1
        inputs, _ = data
        loss = (inputs @ self.weight - inputs.sum(1, keepdim=True)).square().mean()
        optim_wrapper.update_params(loss)
        return {"loss": loss, "double": 2 * loss}

    def forward(self, inputs, labels=None, mode="tensor"):
        return inputs @ self.weight


def test_it_suggests_a_rate_at_which_the_loss_falls_and_stops_where_it_diverges(make_runner, make_loader):
    runner = make_runner(model=Line(), train_dataloader=make_loader(20, 20), **ALONE)
    inputs = torch.stack([sample[0] for sample in runner.train_dataloader.dataset])
    limit = 2 / torch.linalg.eigvalsh(2 * inputs.T @ inputs / len(inputs)).max().item()  # of gradient descent
    sweep = lr_find(runner)
    assert sweep.lrs[0] == 1e-7
    assert sweep.lrs[20] / sweep.lrs[19] == pytest.approx(sweep.lrs[1] / sweep.lrs[0])
    assert limit < sweep.lrs[-1] < 10
    assert limit / 100 < sweep.suggestion < limit
    assert runner.model.steps == 0
    assert torch.equal(runner.model.weight.detach(), torch.zeros(6, 1))


def test_another_of_the_values_that_the_step_returns(make_runner):
    runner = make_runner(model=Line(), **ALONE)
    once, double = lr_find(runner, num_updates=3), lr_find(runner, num_updates=3, loss="double")
    assert double.losses == tuple(2 * value for value in once.losses)
    with pytest.raises(KeyError, match=r"'doubl', which Line.train_step does not return. Did you mean 'double'"):
        lr_find(runner, loss="doubl")


def test_the_losses_of_an_update_are_averaged(make_runner, make_loader):
    losses = {}
    for counts in (1, 2):
        runner = make_runner(
            model=Line(),
            train_dataloader=make_loader(20, 4),
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": counts},
            **ALONE,
        )
        losses[counts] = lr_find(runner, 1e-30, 2e-30, num_updates=4 // counts).losses
    assert losses[2] == pytest.approx([sum(losses[1][:2]) / 2, sum(losses[1][2:]) / 2])


def test_groups_keep_their_proportion_and_tensors_are_filled(make_runner, net):
    seen = []

    class Looks(net):
        def train_step(self, data, optim_wrapper):
            seen.append([float(group["lr"]) for group in optim_wrapper.param_groups])
            return super().train_step(data, optim_wrapper)

    model = Looks()
    groups = [
        {"params": [model.layers[0].bias], "lr": 0.01},
        {"params": [model.layers[0].weight], "lr": torch.tensor(0.1, dtype=torch.float64)},
        {"params": [model.layers[4].weight], "lr": 0.0},
    ]
    tensor = groups[1]["lr"]
    wrapper = OptimWrapper(torch.optim.SGD(groups, lr=0.3))
    runner = make_runner(model=model, optim_wrapper=wrapper, **ALONE)
    lr_find(runner, 1e-3, 1e-1, num_updates=3)
    assert seen == [pytest.approx([lr / 10, lr, 0]) for lr in (1e-3, 1e-2, 1e-1)]
    assert wrapper.param_groups[1]["lr"] is tensor
    assert tensor.item() == 0.1


class Two(BaseModel):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 1), nn.Linear(6, 1)
        self.rates = []

    def train_step(self, data, optim_wrapper):
        self.rates.append(tuple(group[0]["lr"] for group in optim_wrapper.param_groups.values()))
        losses = {}
        for name in ("first", "second"):
            loss = getattr(self, name)(data[0]).square().mean()
            optim_wrapper[name].update_params(loss)
            losses[f"{name}_loss"] = loss
        return losses

    def forward(self, inputs, labels=None, mode="tensor"):
        return self.first(inputs)


def test_with_several_optimizers_one_is_named(make_runner):
    rates = []
    model = Two()
    model.rates = type("Rates", (), {"append": staticmethod(rates.append)})  # that is not put back
    wrappers = OptimWrapperDict(
        first=OptimWrapper(torch.optim.SGD(model.first.parameters(), lr=0.1)),
        second=OptimWrapper(torch.optim.SGD(model.second.parameters(), lr=0.2, momentum=0.9)),
    )
    runner = make_runner(model=model, optim_wrapper=wrappers, **ALONE)
    with pytest.raises(ValueError, match=r"optimizer is None, but the run has first, second.*Write optimizer='first'"):
        lr_find(runner)
    with pytest.raises(ValueError, match=r"optimizer is 'secnd', but.*Did you mean 'second'"):
        lr_find(runner, optimizer="secnd")
    before = model.second.weight.detach().clone()
    lr_find(runner, 0.01, 0.04, num_updates=3, optimizer="second", loss="second_loss")
    assert rates == [(0.1, pytest.approx(lr)) for lr in (0.01, 0.02, 0.04)]
    assert torch.equal(model.second.weight, before)
    assert wrappers["second"].optimizer.state == {}
    assert wrappers.get_lr() == {"first.lr": [0.1], "second.lr": [0.2]}


def test_what_goes_wrong_leaves_the_run_as_it_was(make_runner, net):
    class Breaks(net):
        def train_step(self, data, optim_wrapper):
            super().train_step(data, optim_wrapper)
            raise OSError("disk")

    runner = make_runner(model=Breaks(), **ALONE)
    _ = runner.optim_wrapper
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    with pytest.raises(OSError, match="disk"):
        lr_find(runner)
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_lr": "1e-4"}, "lr_find: start_lr must be a number.*write 1.0e-4"),
        ({"num_updates": 10.0}, "lr_find: num_updates must be an integer"),
        ({"runner": "run.py"}, "lr_find: runner must be Runner, but it is 'run.py'"),
    ],
)
def test_arguments_of_the_wrong_type(make_runner, arguments, message):
    with pytest.raises(TypeError, match=message):
        lr_find(**{"runner": make_runner(), **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_lr": 0}, "start_lr must be above 0"),
        ({"start_lr": 1, "end_lr": 0.1}, "below end_lr"),
        ({"num_updates": 1}, "num_updates must be at least 2, but it is 1"),
        ({"divergence": 1}, "divergence must be above 1"),
        ({"optimizer": "generator"}, r"optimizer is 'generator', but the run has a single one.*optimizer=None"),
    ],
)
def test_impossible_arguments(make_runner, arguments, message):
    with pytest.raises(ValueError, match=message):
        lr_find(make_runner(), **arguments)


def test_without_training(make_runner):
    runner = make_runner(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    with pytest.raises(RuntimeError, match="given no optim_wrapper"):
        lr_find(runner)


class TestSweep:
    def test_the_suggestion_is_before_the_bottom(self):
        lrs = [10.0**n for n in range(-5, 3)]
        assert LRSweep(lrs, [3, 3, 2.5, 1, 0.9, 2, 1, 50]).suggestion == 1e-3

    def test_nothing_falls(self):
        assert LRSweep([0.1, 1, 10], [1, 2, 3]).suggestion is None
        assert LRSweep([0.1, 1, 10], [float("nan")] * 3).suggestion is None
        assert LRSweep([0.1], [1.0]).suggestion is None

    def test_smoothing_keeps_a_straight_line_and_leaves_out_what_is_no_number(self):
        line = [float(n) for n in range(99, -1, -1)]
        sweep = LRSweep([1.1**n for n in range(100)], [*line[:-1], float("inf")])
        assert sweep.smoothed[12:88] == pytest.approx(line[12:88])
        assert len(sweep.smoothed) == 100
        assert sweep.smoothed[-1] != sweep.smoothed[-1]

    def test_the_picture(self):
        figure = LRSweep([10.0**n for n in range(-5, 2)], [3, 3, 2.5, 1, 0.9, 2, float("inf")]).plot()
        (axes,) = figure.axes
        assert axes.get_xscale() == "log"
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [
            "loss, smoothed",
            "steepest fall: 0.001",
        ]
