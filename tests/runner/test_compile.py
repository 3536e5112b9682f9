"""A model that is compiled, and one whose channels are innermost: they train, stop and go on like any other."""

from __future__ import annotations

import copy
import signal

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from mainspring import BaseModel
from mainspring.hooks import Hook
from mainspring.model import Compile, ImgDataPreprocessor, compile_model

EAGER = {"backend": "aot_eager"}  # traces and differentiates as the others do, and needs no compiler of C++


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return x + self.layer(x).relu()


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x):
        return self.blocks(self.stem(x))


class Stop(Hook):
    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.at:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def is_compiled(module):
    return module._compiled_call_impl is not None


def test_it_learns_what_it_learns_uncompiled(make_runner):
    weights = []
    for name, options in (("plain", {}), ("compiled", {"compile": EAGER})):
        runner = make_runner(**options)
        runner.train()
        weights.append(runner.model.state_dict())
        assert is_compiled(runner.model) == (name == "compiled")
    torch.testing.assert_close(weights[1], weights[0])
    assert list(weights[1]) == list(weights[0])


def test_stopped_and_resumed_it_ends_with_the_same_bits(make_runner, net, tmp_path):
    def run(name, **options):
        torch.manual_seed(0)
        runner = make_runner(model=net(dropout=0.3), work_dir=tmp_path / name, compile=EAGER, resume="auto", **options)
        runner.train()
        return runner.model.state_dict()

    whole = run("whole")
    with pytest.raises(SystemExit):
        run("stopped", custom_hooks=[Stop(3)])
    resumed = run("stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_resumed_run_says_that_it_is_compiled_now(make_runner, capsys):
    make_runner().train()
    make_runner(resume="auto", train_cfg={"max_epochs": 3}, compile=EAGER).train()
    assert "compile was None and is {'backend': 'aot_eager'" in capsys.readouterr().out


def test_a_copy_is_not_compiled(make_runner):
    runner = make_runner(compile=EAGER)
    assert is_compiled(runner.model)
    assert not is_compiled(copy.deepcopy(runner.model))


def test_only_the_blocks_are_compiled_where_regions_are_asked_for():
    model = Blocks()
    compile_model(model, Compile(**EAGER, regional=True))
    assert [is_compiled(module) for module in (model, model.stem, *model.blocks)] == [False, False, True, True]
    x = torch.randn(3, 6)
    torch.testing.assert_close(model(x), copy.deepcopy(model)(x))


def test_a_model_without_blocks_is_compiled_whole(capsys):
    model = nn.Linear(2, 2)
    compile_model(model, Compile(**EAGER, regional=True))
    assert is_compiled(model)
    assert "Linear has no blocks of one class" in capsys.readouterr().out


@torch._dynamo.register_backend(name="fails")
def fails(graph, inputs):
    raise RuntimeError("no such instruction")


def test_what_cannot_be_compiled_runs_uncompiled(make_runner, capsys):
    runner = make_runner(compile={"backend": "fails"})
    runner.train()
    assert not is_compiled(runner.model)
    text = capsys.readouterr().out
    assert text.count("Net cannot be compiled, and runs uncompiled from now on: BackendCompilerFailed") == 1
    assert "no such instruction" in text


def test_or_is_an_error_where_one_graph_is_asked_for(make_runner):
    runner = make_runner(compile={"backend": "fails", "fullgraph": True})
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match="no such instruction"):
        runner.train()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bakend": "inductor"}, "compile.bakend: there is no such option. Did you mean 'backend'"),
        ({"mode": "default", "options": {}}, "compile.mode and options cannot both be given"),
    ],
)
def test_options_are_checked(make_runner, given, message):
    with pytest.raises(ValueError, match=message):
        make_runner(compile=given)
    with pytest.raises(TypeError, match="compile must be"):
        make_runner(compile="inductor")


class Images(BaseModel):
    def __init__(self):
        super().__init__(ImgDataPreprocessor(mean=[127.5], std=[127.5]))
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
        self.seen = None

    def forward(self, inputs, labels, mode="tensor"):
        self.seen = inputs
        scores = self.layers(inputs).flatten(1)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else (scores, labels)


def test_channels_can_be_innermost(make_runner, tmp_path):
    generator = torch.Generator().manual_seed(0)
    data = [(torch.randint(0, 256, (3, 8, 8), generator=generator).byte(), n % 4) for n in range(12)]

    def run(name, channels_last, **options):
        torch.manual_seed(0)
        runner = make_runner(
            model=Images(),
            work_dir=tmp_path / name,
            train_dataloader=DataLoader(data, 4, shuffle=True),
            val_dataloader=...,
            val_cfg=...,
            val_evaluator=...,
            optim_wrapper={"optimizer": {"type": "Adam", "lr": 0.01}},
            env_cfg={"channels_last": channels_last},
            resume="auto",
            **options,
        )
        runner.train()
        for tensor in (runner.model.seen, runner.model.layers[0].weight):
            assert tensor.is_contiguous(memory_format=torch.channels_last) == channels_last
        return runner.model.state_dict()

    whole = run("whole", True)
    torch.testing.assert_close(whole, run("plain", False), rtol=1e-3, atol=1e-3)
    with pytest.raises(SystemExit):
        run("stopped", True, custom_hooks=[Stop(3)])
    resumed = run("stopped", True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
