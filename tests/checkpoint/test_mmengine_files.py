"""Files as MMEngine 0.10 writes them are read without it, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mainspring import MessageHub, Runner
from mainspring.checkpoint import CheckpointError, load_checkpoint, read_checkpoint, save_checkpoint
from mainspring.model import PretrainedInit

# Writes what MMEngine's runner does after two epochs of two iterations, of a model of one layer.
WRITE = """
import sys, types
from collections import Counter, OrderedDict
import numpy as np
import torch

module = types.ModuleType("mmengine.logging.history_buffer")
for name in ("mmengine", "mmengine.logging"):
    sys.modules[name] = types.ModuleType(name)
sys.modules[module.__name__] = module

class HistoryBuffer:
    _made = False

    def __init__(self, values):
        self.max_length = 1_000_000
        self._log_history = np.array(values)
        self._count_history = np.ones(len(values), dtype=np.int64)
        if not HistoryBuffer._made:  # the first of a process carries the statistics along
            self._statistics_methods = OrderedDict(mean=HistoryBuffer.mean, current=HistoryBuffer.current)
            HistoryBuffer._made = True

    @classmethod
    def mean(cls): ...

    @classmethod
    def current(cls): ...

HistoryBuffer.__module__ = module.__name__
module.HistoryBuffer = HistoryBuffer

layer = torch.nn.Linear(2, 1)
torch.nn.init.constant_(layer.weight, 0.5)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.param_groups[0].update(lr=0.01, initial_lr=0.1)
metainfo = {"classes": ("a", "b"), "palette": np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)}
schedule = {"gamma": 0.1, "param_name": "lr", "begin": 0, "end": 3, "by_epoch": True, "base_values": [0.1],
            "last_step": 2, "_global_step": 2, "verbose": False, "_last_value": [0.01]}
histories = {"train/lr": HistoryBuffer([0.1, 0.1, 0.01, 0.01]), "train/loss": HistoryBuffer([1.0, 0.5, 0.25, 0.25])}
infos = {"epoch": 1, "iter": 3, "eta": np.float64(1.5), "best_score": np.float32(0.25), "dataset_meta": metainfo,
         "last_ckpt": "epoch_2.pth", "big": np.array([1, 2], dtype=">i4"), "turned": np.arange(6.0).reshape(2, 3).T,
         "none": np.zeros((0, 2)), "texts": np.array(["ab", "c"]), "flag": np.bool_(True),
         "objects": np.array([None, {"x": np.float64(2.0)}], dtype=object)}
torch.save({
    "meta": {"epoch": 2, "iter": 4, "cfg": "", "seed": 3, "experiment_name": "x", "time": "20250101_000000",
             "mmengine_version": "0.10.7", "dataset_meta": metainfo},
    "state_dict": OrderedDict((f"layer.{name}", value) for name, value in layer.state_dict().items()),
    "message_hub": {"log_scalars": OrderedDict(histories), "runtime_info": OrderedDict(infos),
                    "resumed_keys": OrderedDict.fromkeys([*histories, *infos], True)},
    "optimizer": {**optimizer.state_dict(), "base_param_settings": {"params": [torch.zeros(1)], "lr": 0.1}},
    "param_schedulers": [{**schedule, "milestones": Counter({1: 1})}],
}, sys.argv[1])
"""


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("mmengine") / "epoch_2.pth"
    subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)
    return path


@pytest.fixture(params=["numpy.core", "numpy._core"])
def file(written, tmp_path, request):
    """The file, as it is written with NumPy 1 and with NumPy 2."""
    path = tmp_path / "epoch_2.pth"
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                for spelling in (b"numpy.core.", b"numpy._core."):
                    data = data.replace(spelling + b"multiarray\n", f"{request.param}.multiarray\n".encode())
            new.writestr(entry.filename, data)
    return path


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def train_step(self, data, optim_wrapper):
        loss = self.layer(data.float()).mean()
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}


def make(file, work_dir, **changes):
    return Runner(
        **{
            "model": Net(),
            "work_dir": work_dir,
            "load_from": file,
            "train_dataloader": {"dataset": [torch.ones(2)] * 8, "batch_size": 4, "collate_fn": "default_collate"},
            "train_cfg": {"by_epoch": True, "max_epochs": 3},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
            "param_scheduler": {"type": "MultiStepLR", "milestones": [1], "gamma": 0.1, "end": 3},
            **changes,
        }
    )


def test_everything_in_it_is_read(file):
    assert "mmengine" not in sys.modules
    checkpoint = read_checkpoint(file)
    assert type(checkpoint["state_dict"]["layer.weight"]) is torch.Tensor
    assert np.array_equal(checkpoint["meta"]["dataset_meta"]["palette"], [[1, 2, 3], [4, 5, 6]])
    infos = checkpoint["message_hub"]["runtime_info"]
    assert (infos["eta"], infos["best_score"], infos["flag"]) == (1.5, 0.25, True)
    assert infos["dataset_meta"] is checkpoint["meta"]["dataset_meta"], "what was one object is one still"
    assert infos["big"].tolist() == [1, 2]
    assert infos["big"].dtype == np.dtype("i4")
    assert infos["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert infos["none"].shape == (0, 2)
    assert infos["texts"].tolist() == ["ab", "c"]
    assert infos["objects"] == [None, {"x": 2.0}]


def test_its_histories_go_into_a_message_hub(file):
    hub = MessageHub.new_instance("from mmengine")
    hub.load_state_dict(read_checkpoint(file)["message_hub"])
    loss = hub.get_scalar("train/loss")
    assert loss.data[0].tolist() == [1.0, 0.5, 0.25, 0.25]
    assert (loss.mean(), loss.mean(2), loss.total_updates) == (0.5, 0.25, 4)


def test_its_weights_are_loaded(file):
    net, pretrained = Net(), Net()
    weight = read_checkpoint(file)["state_dict"]["layer.weight"]
    load_checkpoint(net, file, strict=True)
    PretrainedInit(str(file))(pretrained)
    layer = nn.Linear(2, 1)
    PretrainedInit(str(file), prefix="layer")(layer)
    for module in (net.layer, pretrained.layer, layer):
        assert torch.equal(module.weight, weight)


def test_a_run_begins_with_its_weights(file, tmp_path):
    runner = make(file, tmp_path / "run")
    runner.load_or_resume()
    assert torch.equal(runner.model.layer.weight, read_checkpoint(file)["state_dict"]["layer.weight"])
    assert runner.iter == 0


def test_a_run_goes_on_from_it(file, tmp_path):
    checkpoint = read_checkpoint(file)
    runner = make(file, tmp_path / "run", resume=True)
    assert runner.seed == 3
    runner.resume(file)
    assert (runner.epoch, runner.iter) == (2, 4)
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([0.01])
    assert (runner.param_schedulers[0].last_step, runner.param_schedulers[0]._global_step) == (2, 2)
    momentum = runner.optim_wrapper.optimizer.state[runner.model.layer.weight]["momentum_buffer"]
    assert torch.equal(momentum, checkpoint["optimizer"]["state"][0]["momentum_buffer"])

    runner.train()
    assert (runner.epoch, runner.iter) == (3, 6)
    assert runner.message_hub.get_scalar("train/loss").total_updates == 6
    saved = read_checkpoint(Path(runner.work_dir) / "epoch_3.pth")
    assert saved["train_loop"]["iter"] == 6
    assert saved["message_hub"]["runtime_info"]["texts"].tolist() == ["ab", "c"]


def test_a_history_that_makes_no_sense_is_left_out_and_named(written, tmp_path, capsys):
    path = tmp_path / "odd.pth"
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, data.replace(b"_count_history", b"_other_history"))
    assert read_checkpoint(path)["message_hub"]["log_scalars"] == {}
    assert capsys.readouterr().out.count("histories cannot be read and are left out: train/lr, train/loss.") == 1


# What a file may try with the names that are let through.


def pickled(*body: bytes) -> bytes:
    return b"\x80\x02}X\x01\x00\x00\x00x" + b"".join(body) + b"s."


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


GETATTR = [name("builtins", "getattr"), name("__builtin__", "getattr")]
NUMPY = [name("numpy.core.multiarray", "_reconstruct"), name("numpy._core.multiarray", "scalar")]
HISTORY = name("mmengine.logging.history_buffer", "HistoryBuffer")
MKDIR = name(os.mkdir.__module__, "mkdir")


def write_bare(file, data):
    """Write a pickle as the content of a file, with what torch writes around one."""
    torch.save({}, file)
    with zipfile.ZipFile(file) as old:
        entries = {entry.filename: old.read(entry) for entry in old.infolist()}
    with zipfile.ZipFile(file, "w") as new:
        for key, value in entries.items():
            new.writestr(key, data if key.endswith("data.pkl") else value)


@pytest.mark.parametrize("function", [*GETATTR, *NUMPY, HISTORY, name("numpy", "ndarray"), name("numpy", "dtype")])
def test_no_name_leads_to_a_function_of_the_system(tmp_path, function):
    made, file = tmp_path / "made", tmp_path / "evil.pth"
    write_bare(file, pickled(function, MKDIR, text(str(made)), b"\x86R"))
    with pytest.raises(CheckpointError, match="mkdir"):
        read_checkpoint(file)
    assert not made.exists()


@pytest.mark.parametrize("function", GETATTR)
@pytest.mark.parametrize(
    "owner", [HISTORY, name("collections", "OrderedDict"), name("torch", "Tensor"), HISTORY + b")\x81"]
)
def test_no_attribute_is_ever_reached(tmp_path, function, owner):
    """By __init__ and __globals__, a real getattr would lead to every module that is loaded."""
    file = tmp_path / "evil.pth"
    for attribute in ("__init__", "__class__", "__subclasses__", "__dict__"):
        write_bare(file, pickled(function, owner, text(attribute), b"\x86R"))
        assert read_checkpoint(file) == {"x": None}


def test_what_a_stand_in_returns_cannot_be_called(tmp_path):
    """getattr(HistoryBuffer, 'mean')('text'), and _reconstruct(...)('text')."""
    file = tmp_path / "evil.pth"
    for function in (*GETATTR, NUMPY[0]):
        write_bare(file, pickled(function, HISTORY, text("mean"), b"\x86R", text("text"), b"\x85R"))
        with pytest.raises(CheckpointError, match="unrecognized function"):
            read_checkpoint(file)


def test_a_pickle_within_an_array_is_not_opened(tmp_path):
    """NumPy would unpickle the objects of an array that it reads from bytes."""

    class RunsCode:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    inner = pickle.dumps(RunsCode(), 0).decode("latin1")
    file = tmp_path / "evil.pth"
    of_objects = name("numpy", "dtype") + text("O8") + b"K\x00K\x01\x87R"
    as_bytes = name("_codecs", "encode") + text(inner) + text("latin1") + b"\x86R"
    write_bare(file, pickled(NUMPY[1], of_objects, as_bytes, b"\x86R"))
    with pytest.raises(CheckpointError, match="NumPy array of the type 'O8'"):
        read_checkpoint(file)
    assert not (tmp_path / "made").exists()


def test_names_are_let_through_only_while_a_checkpoint_is_read(file):
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(file)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file)


def test_what_is_let_through_by_the_user_stays_so(tmp_path):
    save_checkpoint({"a": b""}, tmp_path / "a.pth")
    with torch.serialization.safe_globals([bytes]):
        read_checkpoint(tmp_path / "a.pth")
        assert bytes in torch.serialization.get_safe_globals()
