"""What may be wrong with the file that a run begins or goes on from, and what is said of it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from mainspring.checkpoint import CheckpointError


@pytest.fixture
def weights(net, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(net().state_dict(), path)
    return path


@pytest.fixture
def trained(make_runner):
    """Return the last checkpoint of a run."""
    runner = make_runner()
    runner.train()
    return Path(runner.work_dir) / "epoch_2.pth"


class RunsCode:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


class TestFile:
    def test_there_is_none(self, refused, weights):
        words = ("There is no checkpoint", "wieghts.pth", "Beside it lies 'weights.pth'")
        refused(FileNotFoundError, *words, load_from=weights.with_name("wieghts.pth"))
        refused(FileNotFoundError, "There is no checkpoint", load_from=weights.parent)

    def test_it_is_cut_short(self, refused, weights):
        whole = weights.read_bytes()
        for part in (0, 10, len(whole) // 2, len(whole) - 1):
            weights.write_bytes(whole[:part])
            refused(CheckpointError, "weights.pth", "is damaged", "Use an older checkpoint", load_from=weights)

    def test_a_bit_of_its_weights_is_flipped(self, refused, net, weights):
        damaged = bytearray(weights.read_bytes())
        number = torch.load(weights)["layers.4.weight"].numpy().tobytes()
        damaged[damaged.index(number) + 5] ^= 4
        weights.write_bytes(damaged)
        refused(CheckpointError, "weights.pth", "is damaged", "checksum", load_from=weights)

    @pytest.mark.parametrize("text", ["<html>Not found</html>", "version https://git-lfs.github.com/spec/v1"])
    def test_it_is_a_text(self, refused, weights, text):
        weights.write_text(text)
        refused(
            CheckpointError, "begins with", repr(text[:4].encode()), "torch.save did not write it", load_from=weights
        )

    @pytest.mark.parametrize("resume", [False, True])
    @pytest.mark.parametrize("zipped", [False, True])
    def test_it_would_run_code(self, refused, tmp_path, resume, zipped):
        trace, path = tmp_path / "trace", tmp_path / "evil.pth"
        content = {"state_dict": RunsCode(trace)}
        if zipped:
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content, protocol=2))
        refused(CheckpointError, "evil.pth", "trust=True", load_from=path, resume=resume)
        assert not trace.exists()


class TestContent:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ([1, 2], "holds a list, but a checkpoint is a dict"),
            ({"state_dict": [1, 2]}, "no dict of tensors by name, but a list"),
            ({0: torch.zeros(1)}, "no dict of tensors by name, but a dict with the keys 0"),
            ({"model": {}}, "not in the model (1): model"),
            (nn.Linear(3, 3).state_dict(), "Not one name fits"),
            ({f"backbone.{name}": torch.zeros(1) for name in ("weight", "bias")}, "revise_keys"),
        ],
    )
    def test_it_fits_in_no_way(self, refused, tmp_path, content, words):
        path = tmp_path / "other.pth"
        torch.save(content, path)
        refused(CheckpointError, "other.pth", words, load_from=path)

    def test_it_fits_in_part(self, make_runner, net, tmp_path):
        path = tmp_path / "part.pth"
        saved = {**net().state_dict(), "layers.0.weight": torch.zeros(2, 2), "head": torch.zeros(1)}
        del saved["layers.0.bias"]
        torch.save(saved, path)
        runner = make_runner(load_from=path)
        runner.load_or_resume()
        logged = Path(runner.logger.log_file).read_text()
        assert "missing (1): layers.0.bias" in logged
        assert "not in the model (1): head" in logged
        assert "layers.0.weight: (2, 2) given, (8, 6) expected" in logged
        assert torch.equal(runner.model.layers[4].weight, saved["layers.4.weight"])

    def test_weights_are_no_run_to_go_on_from(self, refused, weights):
        words = ("weights.pth", "holds no optimizer", "pass it as load_from, with resume=False")
        refused(CheckpointError, *words, load_from=weights, resume=True)

    @pytest.mark.parametrize(
        ("key", "value", "kind", "words"),
        [
            ("train_loop", {"iter": 3}, CheckpointError, "holds no position of a run"),
            ("optimizer", {"lr": 3}, ValueError, "no state of SGD: it has no 'state' and 'param_groups'"),
        ],
    )
    def test_a_part_of_the_run_is_no_state(self, make_runner, trained, key, value, kind, words):
        torch.save({**torch.load(trained), key: value}, trained)
        with pytest.raises(kind, match=words) as caught:
            make_runner(load_from=trained, resume=True, train_cfg={"max_epochs": 3}).train()
        assert caught.value.__notes__ == [f"(raised while going on from {str(trained)!r})"]


class TestResume:
    def test_another_model(self, refused, net, trained):
        class Wider(net):
            def __init__(self):
                super().__init__()
                self.layers[4] = nn.Linear(8, 5)

        words = ("epoch_2.pth", "do not fit Wider", "layers.4.weight: (3, 8) given, (5, 8) expected")
        refused(CheckpointError, *words, model=Wider(), load_from=trained, resume=True)

    @pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "LBFGS", "Adadelta"])
    def test_another_optimizer(self, make_runner, trained, name):
        runner = make_runner(
            load_from=trained, resume=True, train_cfg={"max_epochs": 3}, optim_wrapper={"optimizer": {"type": name}}
        )
        with pytest.raises(ValueError, match=f"(?s)optimizer: SGD then, {name} now.*resume=False"):
            runner.train()

    def test_other_schedules(self, make_runner, trained):
        schedule = {"type": "StepLR", "step_size": 1}
        runner = make_runner(load_from=trained, resume=True, param_scheduler=schedule, train_cfg={"max_epochs": 3})
        with pytest.raises(CheckpointError, match="progress of 0 schedules, but 1 are configured"):
            runner.train()
