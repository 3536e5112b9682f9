"""A run with several optimizers, each around a part of the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mainspring import BaseModel, OptimWrapper, OptimWrapperDict
from mainspring.checkpoint import CheckpointError, read_checkpoint
from mainspring.hooks import BadNumbersHook, EMAHook, Hook
from mainspring.hooks.bad_number_error import BadNumberError
from mainspring.optim import build_optim_wrapper
from mainspring.registry import OPTIM_WRAPPER_CONSTRUCTORS


class Game(BaseModel):
    """One part draws points, the other tells them from the data; ``twice`` lets the second have two losses."""

    def __init__(self, twice: bool = False):
        super().__init__()
        self.painter = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        self.critic = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(4, 1))
        self.twice = twice

    def forward(self, points, mode="tensor"):
        return self.painter(points)

    def train_step(self, data, optim_wrapper):
        (real,) = self.data_preprocessor(data, True)
        noise = torch.randn_like(real)
        critic, painter = optim_wrapper["critic"], optim_wrapper["painter"]
        for _ in range(2 if self.twice else 1):
            with critic.optim_context(self):
                fake = self.painter(noise).detach()
                loss = F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(fake)).mean()
            critic.update_params(loss)
        self.critic.requires_grad_(False)
        with painter.optim_context(self):
            loss_painter = F.softplus(-self.critic(self.painter(noise))).mean()
        painter.update_params(loss_painter)
        self.critic.requires_grad_(True)
        return {"loss_critic": loss, "loss_painter": loss_painter}


def points(bad=None):
    data = torch.randn(22, 2, generator=torch.Generator().manual_seed(4))
    if bad is not None:
        data[bad] = torch.nan
    return TensorDataset(data)


def wrappers(painter=(), critic=()):
    return {
        "painter": {"optimizer": {"type": "Adam", "lr": 0.01}, **dict(painter)},
        "critic": {"optimizer": {"type": "SGD", "lr": 0.02, "momentum": 0.9}, **dict(critic)},
    }


@pytest.fixture
def make(make_runner, tmp_path):
    def build(**changes):
        hooks = changes.pop("hooks", [])
        checkpoint = {"type": "CheckpointHook", "interval": 1, "by_epoch": False, "max_keep_ckpts": 3}
        torch.manual_seed(5)
        arguments = {
            "model": Game(),
            "train_dataloader": {
                "dataset": points(),
                "batch_size": 4,
                "shuffle": True,
                "drop_last": True,
                "collate_fn": "default_collate",
            },
            "optim_wrapper": wrappers(),
            "custom_hooks": hooks,
            "default_hooks": {"checkpoint": checkpoint, "summary": None},
            "log_processor": {"window_size": 1},
        }
        for name in ("val_dataloader", "val_cfg", "val_evaluator"):
            arguments[name] = ...
        return make_runner(**{**arguments, **changes})

    return build


class StoppedError(Exception):
    pass


class Stop(Hook):
    priority = "LOWEST"

    def __init__(self, done):
        self.done = done

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.done:
            raise StoppedError


def state_of(runner):
    return {
        "weights": runner.model.state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "schedules": [one.state_dict() for one in runner.schedules],
        "ema": [hook.ema_model.state_dict() for hook in runner.hooks if isinstance(hook, EMAHook)],
    }


def assert_equal(one, other, path=""):
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_equal(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{path}[{index}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


AMP = {"type": "AmpOptimWrapper", "dtype": "float16", "loss_scale": {"growth_interval": 3}}
SCHEDULES = {
    "painter": [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 4},
        {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 4},
    ],
    "critic": {"type": "StepLR", "step_size": 1},
}


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 6, 7, 8])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_it_goes_on_with_the_same_bits(make, tmp_path, stop, by_epoch):
    """Within the groups of one or both, and behind them; the last groups, of 1 and 2, are smaller than 3 and 4."""
    options = {
        "optim_wrapper": wrappers(
            painter={**AMP, "accumulative_counts": 3, "clip_grad": {"max_norm": 1.0}}, critic={"accumulative_counts": 4}
        ),
        "param_scheduler": SCHEDULES if by_epoch else SCHEDULES["painter"],
        "train_cfg": {"max_epochs": 2} if by_epoch else {"by_epoch": False, "max_iters": 10},
    }
    whole = make(work_dir=tmp_path / "whole", hooks=[EMAHook()], **options)
    whole.train()
    with pytest.raises(StoppedError):
        make(work_dir=tmp_path / "stopped", hooks=[EMAHook(), Stop(stop)], **options).train()
    rest = make(work_dir=tmp_path / "stopped", hooks=[EMAHook()], resume=True, **options)
    rest.train()
    assert rest.iter == 10
    assert_equal(state_of(whole), state_of(rest))


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_part_with_two_losses_an_iteration_goes_on_too(make, tmp_path, stop):
    options = {"optim_wrapper": wrappers(painter={"accumulative_counts": 3}, critic={"accumulative_counts": 3})}

    def built(name, **changes):
        torch.manual_seed(5)
        return make(work_dir=tmp_path / name, model=Game(twice=True), **options, **changes)

    whole = built("whole")
    whole.train()
    assert [wrapper.inner_count for wrapper in whole.optim_wrapper.values()] == [10, 20]
    with pytest.raises(StoppedError):
        built("stopped", hooks=[Stop(stop)]).train()
    rest = built("stopped", resume=True)
    rest.train()
    assert_equal(state_of(whole), state_of(rest))


def test_the_updates_are_those_of_a_loop_by_hand(make):
    class Plain(Game):
        def train_step(self, data, optim_wrapper):
            (real,) = self.data_preprocessor(data, True)
            loss, loss_painter = self.critic[0](real).square().mean(), self.painter[0](real).square().mean()
            optim_wrapper["critic"].update_params(loss)
            optim_wrapper["painter"].update_params(loss_painter)
            return {"loss": loss}

    torch.manual_seed(1)
    runner = make(
        model=Plain(),
        train_dataloader=DataLoader(points(), batch_size=4),
        train_cfg={"by_epoch": False, "max_iters": 5},
        optim_wrapper=wrappers(critic={"accumulative_counts": 3}),
    )
    model = Plain()
    model.load_state_dict(runner.model.state_dict())
    runner.train()
    critic = torch.optim.SGD(model.critic.parameters(), lr=0.02, momentum=0.9)
    painter = torch.optim.Adam(model.painter.parameters(), lr=0.01)
    real = points().tensors[0].split(4)[:5]
    for number, batch in enumerate(real):
        painter.zero_grad()
        model.painter[0](batch).square().mean().backward()
        painter.step()
        if number in (2, 4):  # groups of three and two
            group = torch.cat(real[:3] if number == 2 else real[3:])
            critic.zero_grad()
            model.critic[0](group).square().mean().backward()
            critic.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(runner.model.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_log_lines_name_the_parts(make, capsys):
    runner = make(
        optim_wrapper=wrappers(painter={"clip_grad": {"max_norm": 1.0}}, critic={"clip_grad": {"max_norm": 1.0}}),
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}, "summary": None},
        log_level="INFO",
    )
    runner.train()
    line = next(line for line in capsys.readouterr().out.splitlines() if "Epoch(train) [1][1/5]" in line)
    for part in ("painter.lr: 1.0000e-02", "critic.lr: 2.0000e-02", "painter.grad_norm: ", "critic.grad_norm: "):
        assert part in line
    assert "loss_critic: " in line
    assert "train/grad_norm" not in runner.message_hub.log_scalars


# Schedules


def test_each_part_has_its_schedules(make, tmp_path):
    runner = make(param_scheduler=SCHEDULES)
    assert [list(map(type, some)) for some in runner.param_schedulers.values()] == [
        [type(one) for one in runner.schedules[:2]],
        [type(one) for one in runner.schedules[2:]],
    ]
    assert runner.optim_wrapper.get_lr() == {"painter.lr": [pytest.approx(0.001)], "critic.lr": [0.02]}
    runner.train()
    assert runner.optim_wrapper.get_lr()["critic.lr"] == [pytest.approx(0.002)]
    assert runner.schedules[1].end == 10
    saved = read_checkpoint(tmp_path / "run/iter_10.pth")
    assert {name: len(some) for name, some in saved["param_schedulers"].items()} == {"painter": 2, "critic": 1}
    assert list(saved["optimizer"]) == ["painter", "critic"]


def test_one_schedule_is_that_of_each(make):
    runner = make(param_scheduler={"type": "ExponentialLR", "gamma": 0.5})
    runner.train()
    assert runner.optim_wrapper.get_lr() == {"painter.lr": [0.005], "critic.lr": [0.01]}


def test_updates_are_those_of_the_part(make):
    halving = {"type": "ExponentialLR", "gamma": 0.5, "unit": "update", "end": 100}
    runner = make(
        optim_wrapper=wrappers(painter={"accumulative_counts": 4}, critic={"accumulative_counts": 2}),
        param_scheduler=halving,
    )
    runner.train()
    rates = runner.optim_wrapper.get_lr()  # ten iterations: three updates, the last of two losses, and five
    assert rates == {"painter.lr": [pytest.approx(0.01 / 2**3)], "critic.lr": [pytest.approx(0.02 / 2**5)]}


def test_a_part_that_is_not_named_has_none(make):
    runner = make(param_scheduler={"critic": [{"type": "ExponentialLR", "gamma": 0.5}]})
    runner.train()
    assert runner.optim_wrapper.get_lr() == {"painter.lr": [0.01], "critic.lr": [0.01]}
    assert runner.param_schedulers["painter"] == []


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        ({"crtic": {"type": "ExponentialLR", "gamma": 0.5}}, ValueError, "'crtic'.*Did you mean 'critic'"),
        ({"critic": [3]}, TypeError, r"param_scheduler\['critic'\]\[0\] must be a parameter scheduler"),
    ],
)
def test_impossible_schedules(make, schedule, error, message):
    with pytest.raises(error, match=message):
        make(param_scheduler=schedule).train()


def test_other_schedules_than_were_saved_are_refused(make, tmp_path):
    make(param_scheduler=SCHEDULES, train_cfg={"max_epochs": 1}).train()
    other = {"painter": SCHEDULES["critic"], "critic": SCHEDULES["painter"]}  # as many in all
    with pytest.raises(CheckpointError, match="2 schedules of painter, but 1 are configured"):
        make(param_scheduler=other, resume=True).train()


def test_learning_rates_are_scaled_for_all(make):
    runner = make(auto_scale_lr={"base_batch_size": 8, "enable": True})
    assert runner.optim_wrapper.get_lr() == {"painter.lr": [0.005], "critic.lr": [0.01]}


# What must not change, and what is watched


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"painter": {"optimizer": {"type": "AdamW", "lr": 0.01}}}, "optimizer: {'painter': 'Adam', 'critic': 'SGD'}"),
        ({"critic": {"optimizer": {"type": "SGD", "lr": 0.02}, "accumulative_counts": 2}}, "batch size x accumulated"),
    ],
)
def test_a_run_with_other_optimizers_does_not_go_on(make, change, message):
    make(train_cfg={"max_epochs": 1}).train()
    with pytest.raises(CheckpointError, match=message):
        make(optim_wrapper={**wrappers(), **change}, resume=True).train()


def test_a_bad_number_of_either_is_found(make):
    loader = DataLoader(points(bad=9), batch_size=4)
    with pytest.raises(BadNumberError, match="The loss is nan in iteration 3 of 12") as caught:
        make(train_dataloader=loader).train()
    assert caught.value.places == ((0, 2),)


@pytest.mark.parametrize("painter", [{}, AMP])
def test_a_run_goes_back_and_leaves_out_a_bad_batch(make, painter):
    loader = DataLoader(points(bad=9), batch_size=4, drop_last=True)
    runner = make(
        train_dataloader=loader,
        optim_wrapper=wrappers(painter=painter),
        custom_hooks=[],
        default_hooks={
            "bad_numbers": BadNumbersHook("rollback", interval=1),
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False},
            "summary": None,
        },
    )
    runner.train()
    assert runner.train_loop.left_out == {(0, 2), (1, 2)}
    assert runner.iter == 8
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())


def test_leaving_out_steps_is_refused(make):
    hook = BadNumbersHook("skip")
    with pytest.raises(ValueError, match=r"one optimizer, but this run has 2 \(painter, critic\).*'rollback'"):
        make(default_hooks={"bad_numbers": hook}).train()


# How they are configured


def test_objects_may_have_any_names(make):
    model = Game()
    runner = make(
        model=model,
        optim_wrapper={
            "painter": OptimWrapper(torch.optim.SGD(model.painter.parameters(), lr=0.1)),
            "critic": OptimWrapper(torch.optim.SGD(model.critic.parameters(), lr=0.2)),
        },
    )
    assert isinstance(runner.optim_wrapper, OptimWrapperDict)
    runner.train()
    assert runner.optim_wrapper["painter"].message_hub is runner.message_hub
    held = OptimWrapperDict(one=OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)))
    assert build_optim_wrapper(model, held) is held


def test_a_constructor_of_ones_own(make):
    @OPTIM_WRAPPER_CONSTRUCTORS.register_module(name="ForGames", force=True)
    class ForGames:
        def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
            self.cfg = optim_wrapper_cfg

        def __call__(self, model):
            parts = {"painter": model.painter, "critic": model.critic}
            return OptimWrapperDict(
                **{
                    name: OptimWrapper(torch.optim.SGD(part.parameters(), lr=self.cfg[name]["optimizer"]["lr"]))
                    for name, part in parts.items()
                }
            )

    runner = make(optim_wrapper={"constructor": "ForGames", **wrappers()})
    runner.train()
    assert runner.optim_wrapper.get_lr() == {"painter.lr": [0.01], "critic.lr": [0.02]}


def test_parts_may_lie_deeper():
    model = nn.Sequential(Game(), nn.Linear(2, 2))
    built = build_optim_wrapper(
        model, {"0.painter.0": {"optimizer": {"type": "SGD", "lr": 0.1}}, "1": wrappers()["critic"]}
    )
    assert [p for group in built["0.painter.0"].param_groups for p in group["params"]] == list(
        model[0].painter[0].parameters()
    )


def test_what_nobody_updates_is_named(make, capsys):
    runner = make(optim_wrapper={"painter": wrappers()["painter"]})
    _ = runner.optim_wrapper
    told = capsys.readouterr().out
    assert "No optimizer wrapper holds critic.0.weight, critic.0.bias, critic.3.weight, critic.3.bias" in told
    model = Game()
    model.critic.requires_grad_(False)
    _ = make(model=model, optim_wrapper={"painter": wrappers()["painter"]}).optim_wrapper
    assert "WARNING" not in capsys.readouterr().out


def test_what_two_would_update_is_refused(capsys):
    model = nn.ModuleDict({"game": Game(), "other": nn.Linear(1, 1)})
    model["other"].weight = model["game"].critic[3].bias
    cfg = {"optimizer": {"type": "SGD", "lr": 0.1}}
    with pytest.raises(ValueError, match=r"game and other hold the same parameters: game.critic.3.bias"):
        build_optim_wrapper(model, {"game": cfg, "other": cfg})
    objects = {name: OptimWrapper(torch.optim.SGD(part.parameters(), lr=0.1)) for name, part in model.items()}
    assert len(build_optim_wrapper(model, objects)) == 2  # somebody may mean it


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        ({"critc": {"optimizer": {"type": "SGD"}}}, ValueError, r"\['critc'\].*no submodule.*Did you mean 'critic'"),
        ({"critic": wrappers()["critic"], "painter": 3}, TypeError, r"\['painter'\] must be the config of an optim"),
        ({"critic": wrappers()["critic"], "painter": {"type": "SGD"}}, TypeError, "wrappers for critic"),
        ({"critic": {"type": "SGD", "lr": 0.1}}, ValueError, "optim_wrapper.optimizer is missing"),
    ],
)
def test_impossible_configurations(cfg, error, message):
    with pytest.raises(error, match=message):
        build_optim_wrapper(Game(), cfg)


def test_an_error_within_names_the_part():
    with pytest.raises(ValueError, match="custom_keys") as caught:
        build_optim_wrapper(Game(), wrappers(critic={"paramwise_cfg": {"custom_key": {}}}))
    assert caught.value.__notes__ == ["(raised for optim_wrapper['critic'])"]


def test_a_step_that_is_not_overridden_says_what_to_do(make):
    class Usual(Game):
        train_step = BaseModel.train_step

        def forward(self, points, mode="tensor"):
            return {"loss": self.critic(points).mean()}

    with pytest.raises(TypeError, match=r"optim_wrapper\['painter'\].update_params\(loss\).*overrides train_step"):
        make(model=Usual()).train()
