"""Whole runs with optimizers beside torch's usual ones: they are resumed with the same bits, in their right states."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mainspring import BaseModel, Runner
from mainspring.checkpoint import read_checkpoint
from mainspring.hooks import Hook, OptimizerModesHook
from mainspring.registry import OPTIMIZERS

try:
    from schedulefree import AdamWScheduleFree
except ImportError:
    AdamWScheduleFree = None


class TwoSets(torch.optim.Optimizer):
    """Trains with some weights and evaluates with their mean, in the manner of schedule-free SGD.

    Going from one to the other rounds.
    """

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "training": False, "count": 0})

    def _change(self, training, weight):
        for group in self.param_groups:
            if group["training"] is not training:
                group["training"] = training
                for parameter in group["params"]:
                    if parameter in self.state:
                        parameter.data.lerp_(self.state[parameter]["z"], weight)

    def train(self):
        self._change(True, 0.1)

    def eval(self):
        self._change(False, 1 - 1 / 0.9)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            assert group["training"], "a step in the eval state"
            group["count"] += 1
            for parameter in group["params"]:
                z = self.state[parameter].setdefault("z", parameter.clone())
                x = parameter.lerp(z, 1 - 1 / 0.9)
                z.sub_(parameter.grad, alpha=group["lr"])
                x.lerp_(z, 1 / (group["count"] + 1))
                parameter.copy_(x.lerp(z, 0.1))


class Deep(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3)
        )

    def forward(self, inputs, labels=None, mode="tensor"):
        scores = self.layers(inputs)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else (scores, labels)


class Watch(Hook):
    """Keeps what the model held at each stage."""

    priority = "LOWEST"

    def __init__(self, end=None):
        self.trained, self.validated = [], []
        self.end = end

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.trained.append(weights(runner.model))
        if runner.iter + 1 == self.end:
            raise KeyboardInterrupt

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.validated.append(weights(runner.model))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).numpy().tobytes()


def saved(folder, name):
    content = read_checkpoint(Path(folder) / name)["state_dict"]
    return torch.cat([tensor.flatten() for tensor in content.values()]).numpy().tobytes()


@pytest.fixture(autouse=True, scope="module")
def _registered():
    OPTIMIZERS.register_module(module=TwoSets)


@pytest.fixture
def run(make_runner, tmp_path):
    def make(folder="run", optimizer=None, interval=3, hook=None, **changes):
        torch.manual_seed(0)
        arguments = {
            "model": Deep(),
            "work_dir": tmp_path / folder,
            "optim_wrapper": {"optimizer": optimizer or {"type": "TwoSets"}},
            "train_cfg": {"by_epoch": True, "max_epochs": 3, "val_interval": 1},
            "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": interval, "by_epoch": False}},
            "custom_hooks": [hook or Watch()],
            "resume": "auto",
        }
        return make_runner(**{**arguments, **changes})

    return make


def name_of(cfg):
    return cfg["type"] if isinstance(cfg["type"], str) else cfg["type"].__name__


MUON = {"type": "MuonWithAdamW", "lr": 0.02, "adamw_lr": 0.01}
KINDS = [{"type": "TwoSets"}, MUON]
if AdamWScheduleFree is not None:
    KINDS.append({"type": AdamWScheduleFree, "lr": 0.01, "warmup_steps": 4})


@pytest.mark.parametrize("optimizer", KINDS, ids=name_of)
@pytest.mark.parametrize("end", [4, 7, 10])
def test_a_run_that_is_killed_goes_on_with_the_same_bits(run, optimizer, end):
    whole = Watch()
    run("whole", optimizer, hook=whole).train()
    with pytest.raises(KeyboardInterrupt):
        run("run", optimizer, hook=Watch(end)).train()
    second = Watch()
    model = run("run", optimizer, hook=second).train()
    assert second.trained == whole.trained[-len(second.trained) :]
    assert second.validated == whole.validated[-len(second.validated) :]
    assert weights(model) == saved(run("whole", optimizer).work_dir, "iter_15.pth")


@pytest.mark.parametrize("optimizer", KINDS, ids=name_of)
def test_where_it_is_saved_changes_nothing(run, optimizer):
    often, seldom = Watch(), Watch()
    run("often", optimizer, interval=1, hook=often).train()
    run("seldom", optimizer, interval=15, hook=seldom).train()
    assert often.trained == seldom.trained
    assert often.validated == seldom.validated


def test_validated_saved_and_returned_are_the_weights_to_evaluate(run):
    watch = Watch()
    runner = run(interval=5, hook=watch)
    model = runner.train()
    assert watch.validated[0] != watch.trained[4], "those to train"
    folder = runner.work_dir
    assert watch.validated[0] == saved(folder, "iter_5.pth")
    assert watch.validated[-1] == saved(folder, "iter_15.pth") == weights(model)
    runner.val()
    assert weights(model) == watch.validated[-1]
    runner.save_checkpoint(folder, "own.pth")
    assert saved(folder, "own.pth") == weights(model)


def test_a_checkpoint_that_is_loaded_is_evaluated_as_it_is(run):
    watch = Watch()
    runner = run(interval=5, hook=watch)
    runner.train()
    runner.load_checkpoint(Path(runner.work_dir) / "iter_5.pth")
    runner.val()
    assert watch.validated[-1] == watch.validated[0]


def test_a_run_made_longer_goes_on(run):
    whole = Watch()
    run("whole", hook=whole).train()
    runner = run("run", train_cfg={"by_epoch": True, "max_epochs": 2})
    runner.train()
    second = Watch()
    run("run", hook=second).train()
    assert second.trained == whole.trained[10:]


def test_by_resume_of_the_runner_itself(run):
    whole = Watch()
    first = run("whole", interval=6, hook=whole)
    first.train()
    second = Watch()
    runner: Runner = run("other", hook=second)
    runner.resume(Path(first.work_dir) / "iter_6.pth")
    runner.train()
    assert second.trained == whole.trained[6:]


def test_only_such_optimizers_have_the_hook(run):
    assert not any(isinstance(hook, OptimizerModesHook) for hook in _hooks_of(run("a", MUON)))
    assert any(isinstance(hook, OptimizerModesHook) for hook in _hooks_of(run("b")))


def test_no_second_average(run):
    with pytest.raises(ValueError, match="TwoSets keeps weights for evaluation by itself"):
        run(custom_hooks=[{"type": "EMAHook"}]).train()


def _hooks_of(runner):
    _ = runner.optim_wrapper
    return runner.hooks


class Twins(BaseModel):
    """Two classifiers, each trained by an optimizer of its own; their mean predicts."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Deep(), Deep()

    def train_step(self, data, optim_wrapper):
        inputs, labels = self.data_preprocessor(data, True)
        losses = {}
        for name, part in (("first", self.first), ("second", self.second)):
            losses[f"loss_{name}"] = part(inputs, labels, "loss")["loss"]
            optim_wrapper[name].update_params(losses[f"loss_{name}"])
        return losses

    def forward(self, inputs, labels=None, mode="tensor"):
        return self.first(inputs)[0] + self.second(inputs)[0], labels


@pytest.mark.parametrize("second", [{"type": "TwoSets", "lr": 0.3}, {"type": "Adam", "lr": 0.01}], ids=name_of)
@pytest.mark.parametrize("end", [4, 7, 10])
def test_it_goes_on_so_beside_another_optimizer(run, second, end):
    def make(folder, hook):
        wrappers = {
            "first": {"optimizer": {"type": "TwoSets"}},
            "second": {"optimizer": second, "accumulative_counts": 2},
        }
        torch.manual_seed(0)
        return run(folder, hook=hook, model=Twins(), optim_wrapper=wrappers)

    whole, rest = Watch(), Watch()
    first = make("whole", whole)
    final = weights(first.train())
    assert whole.validated[0] != whole.trained[4], "those to train"
    assert final == whole.validated[-1] == saved(first.work_dir, "iter_15.pth")
    with pytest.raises(KeyboardInterrupt):
        make("run", Watch(end)).train()
    assert weights(make("run", rest).train()) == final
    assert rest.trained == whole.trained[-len(rest.trained) :]
    assert rest.validated == whole.validated[-len(rest.validated) :]


def test_beside_another_optimizer_only_its_own_parameters_change(run):
    torch.manual_seed(0)
    model, watch = Twins(), Watch()
    plain = {"optimizer": {"type": "Adam", "lr": 0.01}}
    run(hook=watch, model=model, optim_wrapper={"first": {"optimizer": {"type": "TwoSets"}}, "second": plain}).train()
    half = len(weights(model.first))
    assert watch.validated[0][half:] == watch.trained[4][half:]
    assert watch.validated[0][:half] != watch.trained[4][:half]
