"""Several optimizers: their wrappers by name."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from mainspring import AmpOptimWrapper, MessageHub, MMLogger, OptimWrapper, OptimWrapperDict


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 1)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return Pair()


def wrappers_of(pair, kind=OptimWrapper, **options):
    return OptimWrapperDict(
        first=kind(optimizer=torch.optim.SGD(pair.first.parameters(), lr=0.1, momentum=0.9), **options),
        second=kind(optimizer=torch.optim.Adam(pair.second.parameters(), lr=0.2), **options),
    )


def test_it_is_read_like_a_dict(pair):
    wrappers = wrappers_of(pair)
    assert list(wrappers.keys()) == list(wrappers) == ["first", "second"]
    assert dict(wrappers.items()) == wrappers.optim_wrappers == dict(wrappers.parts)
    assert list(wrappers.values()) == [wrappers["first"], wrappers["second"]]
    assert len(wrappers) == 2
    assert "first" in wrappers
    assert "third" not in wrappers
    with pytest.raises(KeyError, match=r"no optimizer wrapper 'frist'. Did you mean 'first'"):
        wrappers["frist"]


def test_what_it_tells_stands_under_the_names(pair):
    wrappers = wrappers_of(pair)
    assert wrappers.get_lr() == {"first.lr": [0.1], "second.lr": [0.2]}
    assert wrappers.get_momentum() == {"first.momentum": [0.9], "second.momentum": [0.9]}
    assert wrappers.param_groups["second"] is wrappers["second"].optimizer.param_groups
    assert repr(wrappers).startswith("OptimWrapperDict(first=OptimWrapper(")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda w: w.update_params(torch.ones(())), "update_params(loss)"),
        (lambda w: w.update_params(torch.ones(()), num_items=3), "update_params(loss)"),
        (lambda w: w.backward(torch.ones(())), "backward(loss)"),
        (lambda w: w.scale_loss(torch.ones(())), "scale_loss(loss)"),
        (lambda w: w.step(), "step()"),
        (lambda w: w.should_update(), "should_update()"),
        (lambda w: w.should_sync(), "should_sync()"),
        (lambda w: w.counted_before(3), "counted_before(iteration)"),
        (lambda w: w.log_as("x"), "log_as(name)"),
        (lambda w: w.inner_count, "inner_count"),
        (lambda w: w.accumulative_counts, "accumulative_counts"),
        (lambda w: w.defaults, "defaults"),
    ],
)
def test_what_has_no_meaning_for_all_names_what_to_call(pair, call, named):
    with pytest.raises(TypeError) as caught:
        call(wrappers_of(pair))
    assert f"optim_wrapper['first'].{named}" in str(caught.value)
    assert "several optimizers (first, second)" in str(caught.value)


def test_it_has_no_optimizer_as_it_says(pair):
    wrappers = wrappers_of(pair)
    assert not hasattr(wrappers, "optimizer")
    with pytest.raises(AttributeError, match=r"optim_wrapper\['first'\].optimizer"):
        _ = wrappers.optimizer
    with pytest.raises(AttributeError, match="no attribute 'lr'"):
        _ = wrappers.lr


def test_everything_public_of_a_wrapper_is_answered():
    """What is inherited would look for the attributes of one optimizer, which are not there."""
    public = {name for name in vars(OptimWrapper) if not name.startswith("_")}
    assert public <= set(vars(OptimWrapperDict))
    for name in public:
        ours, theirs = vars(OptimWrapperDict)[name], vars(OptimWrapper)[name]
        if inspect.isfunction(theirs):
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name


def test_counting_reaches_all(pair):
    wrappers = wrappers_of(pair, accumulative_counts=2)
    for parameter in pair.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrappers.initialize_count_status(pair, 4, 7)
    assert [wrapper.inner_count for wrapper in wrappers.values()] == [4, 4]
    assert all(parameter.grad is None for parameter in pair.parameters())
    wrappers.enter_iteration(4)
    assert not wrappers.has_begun(4)
    wrappers["second"].update_params(pair.second.bias.sum())
    assert [wrappers[name].counted_before(4) for name in wrappers] == [4, 4]
    assert wrappers["second"].counted_before(9) == 4, "not entered: one loss"
    assert wrappers.has_begun(4)
    assert not wrappers["first"].has_begun(4)
    assert pair.second.bias.grad.item() == 0.5
    wrappers.zero_grad()
    assert pair.second.bias.grad is None


def test_each_counts_its_own_losses(pair):
    """The first has two losses in an iteration, the second one; each accumulates two of its own."""
    wrappers = wrappers_of(pair, accumulative_counts=2)
    wrappers.initialize_count_status(pair, 0, 3)
    moved = []
    for iteration in range(3):
        wrappers.enter_iteration(iteration)
        before = [pair.first.bias.tolist(), pair.second.bias.tolist()]
        wrappers["first"].update_params(pair.first.bias.sum())
        wrappers["first"].update_params(pair.first.bias.sum())
        wrappers["second"].update_params(pair.second.bias.sum())
        moved.append((before[0] != pair.first.bias.tolist(), before[1] != pair.second.bias.tolist()))
    assert moved == [(True, False), (True, True), (True, True)]  # the second's last group is cut short by the end


def test_states_stand_under_the_names_and_come_back(pair):
    wrappers = wrappers_of(pair, accumulative_counts=2)
    wrappers["first"].update_params(pair.first.bias.sum())
    state = wrappers.state_dict()
    assert list(state) == ["first", "second"]
    assert state["first"]["accumulated"]["counts"] == 1
    other = wrappers_of(Pair(), accumulative_counts=2)
    other.load_state_dict(state)
    other.initialize_count_status(pair, 1, 4)
    assert other["first"].inner_count == 1
    assert [p.grad is not None for p in other["first"].param_groups[0]["params"]] == [False, True]
    assert other.state_dict()["first"]["accumulated"]["counts"] == 1


@pytest.mark.parametrize("change", [{"third": {}}, {"second": None}])
def test_the_state_of_other_wrappers_is_refused(pair, change):
    state = {**wrappers_of(pair).state_dict(), **change}
    state = {name: one for name, one in state.items() if one is not None}
    with pytest.raises(ValueError, match=r"state is that of the optimizer wrappers first.*this run has first, second"):
        wrappers_of(pair).load_state_dict(state)


def test_a_state_that_does_not_fit_names_its_wrapper(pair):
    state = wrappers_of(pair).state_dict()
    state["second"] = {"state": {}}
    with pytest.raises(ValueError, match="no state of Adam") as caught:
        wrappers_of(pair).load_state_dict(state)
    assert caught.value.__notes__ == ["(raised while loading the state of optim_wrapper['second'])"]


def test_the_context_enters_those_of_all(pair):
    with wrappers_of(pair, AmpOptimWrapper, dtype="bfloat16").optim_context(pair):
        assert pair.first(torch.ones(1, 2)).dtype is torch.bfloat16
    assert pair.first(torch.ones(1, 2)).dtype is torch.float32


class Syncing(Pair):
    """Counts what DistributedDataParallel would leave out."""

    def __init__(self):
        super().__init__()
        self.paused = 0

    def no_sync(self):
        from contextlib import contextmanager

        @contextmanager
        def pause():
            self.paused += 1
            yield

        return pause()


@pytest.mark.parametrize("kind", [OptimWrapper, AmpOptimWrapper])
def test_gradients_are_exchanged_once_an_update(kind):
    model = Syncing()
    wrapper = kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 7)
    paused = []
    for _ in range(7):
        before = model.paused
        with wrapper.optim_context(model):
            loss = model.first(torch.ones(1, 2)).float().sum()
        wrapper.update_params(loss)
        paused.append(model.paused > before)
    assert paused == [True, True, False, True, True, False, False]


def test_wrappers_that_disagree_about_it_are_entered_one_by_one():
    model = Syncing()
    wrappers = wrappers_of(model, accumulative_counts=2)
    wrappers["first"].update_params(model.first.bias.sum())
    with pytest.raises(ValueError, match=r"optim_wrapper\['first'\].optim_context\(model\)"):
        wrappers.optim_context(model)
    wrappers["second"].update_params(model.second.bias.sum())
    with wrappers.optim_context(model):
        assert model.paused == 0


def test_norms_are_logged_by_the_names(pair):
    wrappers = wrappers_of(pair, clip_grad={"max_norm": 1.0})
    wrappers.message_hub = hub = MessageHub("norms")
    assert wrappers.message_hub is hub
    wrappers["second"].update_params(3 * pair.second.bias.sum())
    assert list(hub.log_scalars) == ["train/second.grad_norm"]
    assert hub.get_scalar("train/second.grad_norm").current() == pytest.approx(3)
    assert wrappers.knows_norm


@pytest.mark.parametrize("kind", [OptimWrapper, AmpOptimWrapper])
@pytest.mark.parametrize("counts", [1, 2])
def test_gradients_that_another_loss_leaves_are_warned_of_once(pair, capsys, kind, counts):
    MMLogger.get_instance("strays", log_level="WARNING")
    wrappers = wrappers_of(pair, kind, accumulative_counts=counts)

    def iterations(freeze):
        for _ in range(3 * counts):
            wrappers["second"].update_params(pair.second(torch.ones(1, 2)).sum())
            pair.second.requires_grad_(not freeze)
            wrappers["first"].update_params(pair.second(pair.first(torch.ones(1, 2))).sum())
            pair.second.requires_grad_(True)
        return capsys.readouterr().out

    assert "WARNING" not in iterations(freeze=True)
    told = iterations(freeze=False)
    assert told.count("WARNING") == 1
    assert "optim_wrapper['second'] have gradients before its loss is computed" in " ".join(told.split())


def test_settings_that_are_changed_before_the_training_hold(pair):
    wrappers = wrappers_of(pair)
    for name in wrappers:
        wrappers[name].param_groups[0]["lr"] = 0.7
    wrappers.keep_settings()
    other = wrappers_of(pair)
    other.load_state_dict(wrappers.state_dict())
    assert other.get_lr() == {"first.lr": [0.1], "second.lr": [0.2]}  # changed on purpose, as far as it can see


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "at least one wrapper"),
        ({"first": torch.nn.Linear(1, 1)}, TypeError, "first must be an OptimWrapper of one optimizer, but it is Lin"),
    ],
)
def test_impossible_arguments(given, error, message):
    with pytest.raises(error, match=message):
        OptimWrapperDict(**given)


def test_it_takes_none_of_its_kind(pair):
    with pytest.raises(TypeError, match="OptimWrapper of one optimizer"):
        OptimWrapperDict(both=wrappers_of(pair))
