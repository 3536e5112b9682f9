"""Options of a run that change how its model computes, and not what."""

import pytest
import torch
from torch.nn import functional as F

from mainspring import BaseModel, Runner


class Images(BaseModel):
    def __init__(self):
        super().__init__()
        self.stages = torch.nn.Sequential(*(self.stage() for _ in range(2)))
        self.head = torch.nn.Linear(2, 3)

    @staticmethod
    def stage():
        return torch.nn.Sequential(torch.nn.Conv1d(2, 2, 1), torch.nn.BatchNorm1d(2), torch.nn.ReLU())

    def forward(self, inputs, labels=None, mode="tensor"):
        scores = self.head(self.stages(inputs.view(-1, 2, 3)).mean(-1))
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else (scores, labels)


@pytest.fixture
def trained(make_runner, tmp_path):
    def train(name, **options):
        torch.manual_seed(0)
        runner = make_runner(model=Images(), work_dir=tmp_path / name, **options)
        model = runner.train()
        return model, runner.val()

    return train


def test_activation_checkpointing(trained):
    plain, _ = trained("plain")
    for number, modules in enumerate((True, ["stages.0"], "stages.1")):
        model, _ = trained(f"again{number}", activation_checkpointing=modules)
        assert any("forward" in vars(module) for module in model.modules())
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, plain.state_dict()[name]), name


def test_efficient_conv_bn_eval(trained):
    plain, metrics = trained("plain")
    model, found = trained("folded", efficient_conv_bn_eval=["stages"])
    assert found == metrics
    inputs = torch.randn(4, 6)
    torch.testing.assert_close(model.eval()(inputs)[0], plain.eval()(inputs)[0])


def test_from_a_configuration(tmp_path):
    cfg = {"model": {"type": Images}, "work_dir": str(tmp_path), "activation_checkpointing": ["stages.0"]}
    runner = Runner.from_cfg(cfg)
    assert "forward" in vars(runner.model.stages[0])
