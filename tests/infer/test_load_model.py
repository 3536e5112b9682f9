"""Models from checkpoints alone."""

import pytest
import torch
from torch import nn

import mainspring
from mainspring import BaseModel, Runner
from mainspring.checkpoint import CheckpointError
from mainspring.infer import load_model
from mainspring.registry import MODELS


@pytest.fixture
def registered():
    """Register a model for the time of a test."""

    @MODELS.register_module(name="LoadedNet")
    class LoadedNet(BaseModel):
        def __init__(self, width=3, pretrained=None, data_preprocessor=None):
            super().__init__(data_preprocessor)
            assert pretrained is None, "weights that are overwritten anyway"
            self.layer = nn.Linear(width, 2)
            self.norm = nn.BatchNorm1d(2)

        def forward(self, inputs, labels=None, mode="tensor"):
            scores = self.norm(self.layer(inputs))
            return {"loss": scores.square().sum()} if mode == "loss" else scores

    yield LoadedNet
    del MODELS._module_dict["LoadedNet"]


def config(**changes):
    inputs = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    return {
        "model": {"type": "LoadedNet", "width": 3},
        "data_preprocessor": {"type": "BaseDataPreprocessor"},
        "train_dataloader": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=4),
        "train_cfg": {"by_epoch": True, "max_epochs": 2},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
        "default_hooks": {"summary": None},
        "log_level": "WARNING",
        **changes,
    }


def weights_equal(model, weights):
    own = model.state_dict()
    return own.keys() == weights.keys() and all(torch.equal(own[name], weights[name]) for name in own)


def test_a_run_leaves_checkpoints_that_are_models(registered, tmp_path):
    runner = Runner.from_cfg(mainspring.Config(config(work_dir=str(tmp_path))))
    runner.train()

    model = mainspring.load_model(tmp_path / "epoch_2.pth")

    assert type(model) is registered
    assert not any(module.training for module in model.modules())
    assert weights_equal(model, runner.model.state_dict())
    inputs = torch.ones(1, 3)
    assert torch.equal(model.test_step([inputs]), runner.model.eval()(inputs))


def test_of_a_run_with_an_average_the_averaged_weights_are_loaded(registered, tmp_path):
    hook = mainspring.hooks.EMAHook(momentum=0.5, weights_file="ema.safetensors")
    runner = Runner.from_cfg(config(work_dir=str(tmp_path), custom_hooks=[hook]))
    runner.train()

    model = load_model(tmp_path / "epoch_2.pth")
    averaged = hook.ema_model.module.layer.weight
    assert torch.equal(model.layer.weight, averaged)
    assert not torch.equal(model.layer.weight, runner.model.layer.weight)

    pytest.importorskip("safetensors")
    alone = load_model(tmp_path / "ema.safetensors", cfg={"type": "LoadedNet"})
    assert torch.equal(alone.layer.weight, averaged)


def write(path, text, **more):
    weights = nn.Sequential()
    weights.layer, weights.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)
    mainspring.save_checkpoint({"state_dict": weights.state_dict(), "meta": {"cfg": text}, **more}, path)
    return weights.state_dict()


def test_the_text_may_be_all_that_configurations_are_written_as(registered, tmp_path):
    text = (
        "model = dict(type='LoadedNet', width=+3, pretrained='somewhere')\n"
        "limits = [(-1, float('inf')), {'a-b': None}, {1, 2}, set(), frozenset({3})]\n"
        "others = [complex(1, 2), range(3), b'x', ..., -inf, dict({'a b': nan})]\n"
        "globals().update({'dict': 1, 'two words': 2})\n"
    )
    weights = write(tmp_path / "a.pth", text)
    assert weights_equal(load_model(tmp_path / "a.pth"), weights)
    # MMEngine's files have it in another place.
    write(tmp_path / "b.pth", "", message_hub={"runtime_info": {"cfg": text}})
    assert load_model(tmp_path / "b.pth", device=torch.device("cpu")).layer.in_features == 3


def test_a_checkpoint_without_configuration(registered, tmp_path):
    weights = write(tmp_path / "a.pth", "")
    with pytest.raises(ValueError, match=r"keeps no configuration.*Pass it, as cfg="):
        load_model(tmp_path / "a.pth")
    for cfg in ({"type": "LoadedNet"}, {"model": {"type": "LoadedNet"}, "work_dir": "x"}):
        assert weights_equal(load_model(tmp_path / "a.pth", cfg=cfg), weights)
    (tmp_path / "cfg.py").write_text("width = 1 + 2\nmodel = dict(type='LoadedNet', width=width)\n")
    assert weights_equal(load_model(tmp_path / "a.pth", cfg=tmp_path / "cfg.py"), weights)
    with pytest.raises(ValueError, match=r"cfg has no 'model'.* Did you mean 'modell'\?"):
        load_model(tmp_path / "a.pth", cfg={"modell": {}})
    with pytest.raises(TypeError, match="cfg must be"):
        load_model(tmp_path / "a.pth", cfg=3)


CODE = [
    "import os",
    "model = dict(type=open('/etc/passwd').read())",
    "model = [dict(type='LoadedNet') for _ in range(3)][0]",
    "model = dict(**globals())",
    "model = {**{}}",
    "model = __import__('os').name",
    "a = b = 1",
    "globals().update(dict(a=1), b=2)",
    "(globals().clear)()",
    "model = f'{print(1)}'",
    "model = -'a'",
    "x = ",
    "x = " + "[" * 100_000,
    "x = {[]: 1}",
    "x = set(range(1000000000000))",
    "x = float('three')",
]


@pytest.mark.parametrize("line", CODE, ids=range(len(CODE)))
def test_without_trust_no_code_runs(registered, tmp_path, line):
    write(tmp_path / "a.pth", f"model = dict(type='LoadedNet')\n{line}\n")
    with pytest.raises(ValueError, match=r"'.*a\.pth' is not data alone.*trust=True"):
        load_model(tmp_path / "a.pth")


def test_with_trust_a_program_is_run_and_its_modules_are_imported(tmp_path, monkeypatch):
    (tmp_path / "models_of_mine.py").write_text(
        "from mainspring import BaseModel\nfrom torch import nn\n"
        "class Net(BaseModel):\n"
        "    def __init__(self, width):\n"
        "        super().__init__()\n"
        "        self.layer, self.norm = nn.Linear(width, 2), nn.BatchNorm1d(2)\n"
        "    def forward(self, x, mode='tensor'):\n"
        "        return self.layer(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    weights = write(tmp_path / "a.pth", "model = dict(type='models_of_mine.Net', width=1 + 2)")
    with pytest.raises(ValueError, match=r"would run code: line 1 has 1 \+ 2\."):
        load_model(tmp_path / "a.pth")
    assert weights_equal(load_model(tmp_path / "a.pth", trust=True), weights)

    write(tmp_path / "b.pth", "model = dict(type='models_of_mine.Net', width=3)")
    with pytest.raises(KeyError, match=r"'models_of_mine.Net' is not registered.*trust=True"):
        load_model(tmp_path / "b.pth")  # though it has been imported meanwhile


@pytest.mark.parametrize(
    "text",
    [
        "model = dict(type='LoadedNet', data_preprocessor=dict(type='os.system', command='false'))",
        "model = dict(type='LoadedNet')\ndata_preprocessor = dict(type='os.system', command='false')",
        "model = dict(type='Net', _scope_='antigravity')",
        "model = dict(type='Net')\ndefault_scope = 'antigravity'",
        "model = dict(type='antigravity.Net')",
    ],
)
def test_what_is_named_is_looked_up_in_registries_only(registered, tmp_path, text, caplog):
    import sys

    write(tmp_path / "a.pth", text)
    with pytest.raises(KeyError, match=r"not registered|not in the 'model' registry"):
        load_model(tmp_path / "a.pth")
    assert "antigravity" not in sys.modules


def test_a_configuration_cannot_ask_for_trust(registered, tmp_path):
    write(tmp_path / "a.pth", "model = dict(type='LoadedNet', init_cfg=dict(type='Pretrained', trust=True))")
    with pytest.raises(ValueError, match=r"says trust=True somewhere"):
        load_model(tmp_path / "a.pth")
    # Of the run it was, for what that loaded; and its modules may have been imported by whoever loads it.
    write(
        tmp_path / "b.pth", "trust = True\ncustom_imports = dict(imports=['no.such'])\nmodel = dict(type='LoadedNet')"
    )
    load_model(tmp_path / "b.pth")


def test_weights_that_do_not_fit_and_devices_that_are_not_there(registered, tmp_path, capsys):
    write(tmp_path / "a.pth", "model = dict(type='LoadedNet', width=5)")
    with pytest.raises(CheckpointError, match=r"other shapes \(1\): layer.weight"):
        load_model(tmp_path / "a.pth")
    assert load_model(tmp_path / "a.pth", strict=False).layer.in_features == 5
    with pytest.raises(ValueError, match="load_model: device is 'cuda:99'"):
        load_model(tmp_path / "a.pth", device="cuda:99")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint '.*none\.pth'"):
        load_model(tmp_path / "none.pth")
