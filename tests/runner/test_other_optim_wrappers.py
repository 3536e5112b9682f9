"""An optimizer wrapper need not be an OptimWrapper: any object with its methods will do."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from mainspring.hooks import BadNumbersHook, EMAHook

HOOKS = {"checkpoint": {"type": "CheckpointHook", "interval": 1}, "summary": None}


class Own:
    """What a user writes who knows the methods, and derives from nothing."""

    def __init__(self, model):
        self._sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.max_iters = 0

    def initialize_count_status(self, model, init_counts, max_counts):
        self.max_iters = max_counts

    def optim_context(self, model):
        return nullcontext()

    def update_params(self, loss):
        loss.backward()
        self._sgd.step()
        self._sgd.zero_grad()

    def get_lr(self):
        return {"lr": [group["lr"] for group in self._sgd.param_groups]}

    def state_dict(self):
        return self._sgd.state_dict()

    def load_state_dict(self, state_dict):
        self._sgd.load_state_dict(state_dict)


class WithGroups(Own):
    @property
    def param_groups(self):
        return self._sgd.param_groups


@pytest.fixture
def run(make_runner, net, capsys):
    def train(kind, hooks=(), default_hooks=HOOKS, **changes):
        torch.manual_seed(2)
        model = net(dropout=0.2)
        runner = make_runner(
            model=model, optim_wrapper=kind(model), custom_hooks=list(hooks), default_hooks=default_hooks, **changes
        )
        runner.train()
        return runner, capsys.readouterr().out

    return train


@pytest.mark.parametrize("kind", [Own, WithGroups])
def test_it_trains_with_an_average_and_goes_on_after_a_stop(run, tmp_path, kind):
    whole, told = run(kind, [EMAHook()])
    assert whole.optim_wrapper.max_iters == 10
    run(kind, [EMAHook()], work_dir=tmp_path / "stopped", train_cfg={"max_epochs": 1})
    rest, _ = run(kind, [EMAHook()], work_dir=tmp_path / "stopped", resume="auto")
    assert rest.iter == 10
    for name, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[name], value), name
    average, other = (next(h for h in runner.hooks if isinstance(h, EMAHook)).ema_model for runner in (whole, rest))
    assert average.steps.item() == 10
    for one, same in zip(average.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
    assert told.count("WARNING") == 1
    assert (
        "BadNumbersHook cannot follow its policy 'raise': it looks at losses and steps through an OptimWrapper" in told
    )
    assert f"the optimizer wrapper of this run is a {kind.__name__}, which is none" in told


@pytest.mark.parametrize("policy", ["raise", "skip", "rollback"])
def test_nothing_is_looked_after_as_one_warning_says(run, make_loader, policy):
    dataset = make_loader().dataset
    dataset.tensors[0][3] = float("nan")
    loader = torch.utils.data.DataLoader(dataset, batch_size=4)
    hook = BadNumbersHook(policy=policy)
    runner, told = run(Own, default_hooks={**HOOKS, "bad_numbers": hook}, train_dataloader=loader)
    assert told.count(f"cannot follow its policy {policy!r}") == 1
    assert runner.iter == 10
    runner.train()
    assert hook.skipped == 0


def test_without_the_hook_there_is_no_warning(run):
    assert "WARNING" not in run(Own, default_hooks={**HOOKS, "bad_numbers": None})[1]
