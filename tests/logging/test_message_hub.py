import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from mainspring.logging import HistoryBuffer, MessageHub, MMLogger


@pytest.fixture
def hub():
    return MessageHub("test")


def test_scalars(hub):
    hub.update_scalar("train/loss", torch.tensor(2.0, requires_grad=True) * 2)
    hub.update_scalar("train/loss", 6.0)
    hub.update_scalars({"train/lr": 0.1, "train/acc": {"value": torch.tensor(9), "count": 10}, "n": {"value": 3}})
    assert hub.get_scalar("train/loss").mean() == 5
    assert hub.get_scalar("train/acc").mean() == 0.9
    assert list(hub.log_scalars) == ["train/loss", "train/lr", "train/acc", "n"]


def test_errors_name_the_key(hub):
    with pytest.raises(ValueError, match="'train/scores' must have one element, but its shape is"):
        hub.update_scalar("train/scores", torch.ones(2))
    with pytest.raises(TypeError, match="'train/name' must be a number"):
        hub.update_scalar("train/name", "adam")
    with pytest.raises(ValueError, match=r"log_dict\['a'\] must be dict\(value=..., count=...\)"):
        hub.update_scalars({"a": {"count": 3}})
    with pytest.raises(ValueError, match="'cnt': 3"):
        hub.update_scalars({"a": {"value": 1, "cnt": 3}})
    with pytest.raises(TypeError, match="log_dict must be a dict"):
        hub.update_scalars([("a", 1)])
    with pytest.raises(TypeError, match="info_dict must be a dict"):
        hub.update_info_dict([("a", 1)])


def test_an_unknown_scalar_is_named_with_the_nearest(hub):
    hub.update_scalar("train/loss", 1.0)
    with pytest.raises(KeyError, match=r"no scalar 'train/los'\. Did you mean 'train/loss'"):
        hub.get_scalar("train/los")


def test_infos(hub):
    hub.update_info("epoch", 3)
    hub.update_info_dict({"a": [1], "b": object})
    assert hub.get_info("epoch") == 3
    assert hub.get_info("none") is None
    assert hub.get_info("none", 5) == 5
    assert hub.pop_info("a") == [1]
    assert hub.pop_info("a", "gone") == "gone"
    assert list(hub.runtime_info) == ["epoch", "b"]


def test_whether_a_key_is_resumed_does_not_change(hub):
    hub.update_scalar("loss", 1.0, resumed=False)
    hub.update_info("epoch", 1)
    with pytest.raises(ValueError, match="'loss' was written with resumed=False before and now with resumed=True"):
        hub.update_scalar("loss", 1.0)
    with pytest.raises(ValueError, match="'epoch'"):
        hub.update_info("epoch", 1, resumed=False)


@pytest.mark.usefixtures("as_on_a_device")
def test_all_scalars_arrive_in_one_transfer(hub):
    class Transfers(TorchFunctionMode):
        count = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.count += getattr(func, "__name__", "") in ("cpu", "item", "numpy", "to")
            return func(*args, **(kwargs or {}))

    for step in range(5):
        hub.update_scalar("a", torch.tensor(step + 0.5))
        hub.update_scalar("b", torch.tensor(step, dtype=torch.int64))
        hub.update_scalar("c", torch.tensor(step + 0.5, dtype=torch.bfloat16))
        hub.update_scalar("d", step / 2)
    with Transfers() as transfers:
        hub.flush()
        means = [hub.get_scalar(key).mean() for key in "abcd"]
    assert transfers.count == 1
    assert means == [2.5, 2.0, 2.5, 1.0]


def test_state(hub, tmp_path):
    hub.update_scalar("loss", torch.tensor(0.5))
    hub.update_scalar("speed", 3.0, resumed=False)
    nested = {"list": [1, 2.5, "x", None, (True,)], "weights": torch.arange(3)}
    hub.update_info("nested", nested)
    hub.update_info("best", np.float64(0.75))
    hub.update_info("classes", np.array([1, 2], dtype=np.uint8))
    hub.update_info("secret", 1, resumed=False)
    torch.save(hub.state_dict(), tmp_path / "hub.pth")
    nested["list"].append("later")

    loaded = MessageHub("other")
    loaded.update_scalar("kept", 1.0)
    loaded.update_info("epoch", 9)
    loaded.load_state_dict(torch.load(tmp_path / "hub.pth", weights_only=True))
    assert set(loaded.log_scalars) == {"loss", "kept"}
    assert loaded.get_scalar("loss").current() == 0.5
    assert loaded.get_info("nested")["list"] == [1, 2.5, "x", None, (True,)]
    assert loaded.get_info("nested")["weights"].tolist() == [0, 1, 2]
    assert (type(loaded.get_info("best")), loaded.get_info("best")) == (np.float64, 0.75)
    assert loaded.get_info("classes").dtype == np.uint8
    assert loaded.get_info("classes").tolist() == [1, 2]
    assert loaded.get_info("epoch") == 9
    assert loaded.get_info("secret") is None
    with pytest.raises(ValueError, match="'speed'"):  # what is not resumed is remembered as such
        loaded.update_scalar("speed", 1.0)


@pytest.mark.parametrize("value", [object(), {"a": [object()]}, torch.nn.Linear(1, 1)])
def test_what_is_not_plain_is_left_out_of_the_state(hub, capsys, value):
    MMLogger.new_instance("hub-state", log_level="DEBUG")
    try:
        hub.update_info("odd", value)
        hub.update_info("even", 2)
        assert hub.state_dict()["runtime_info"] == {"even": 2}
    finally:
        MMLogger._instance_dict.pop("hub-state")
    assert "DEBUG - The info 'odd' of the message hub is not saved" in capsys.readouterr().out


def test_the_state_of_a_hub_of_mmengine(hub, capsys):
    state = {
        "log_scalars": {"loss": object()},
        "runtime_info": {"epoch": 3},
        "resumed_keys": {"loss": True, "x": False},
    }
    hub.load_state_dict(state)
    assert hub.get_info("epoch") == 3
    assert hub.log_scalars == {}
    assert "WARNING" in (printed := capsys.readouterr().out)
    assert "loss" in printed
    with pytest.raises(TypeError, match="state_dict must be a dict"):
        hub.load_state_dict(MessageHub("another"))


def test_instances():
    before = dict(MessageHub._instance_dict)
    MessageHub._instance_dict.clear()
    try:
        assert MessageHub.get_current_instance().instance_name == "mainspring"
        first = MessageHub.get_instance("run")
        first.update_scalar("loss", 1.0)
        assert MessageHub.get_instance("run") is MessageHub.get_current_instance() is first
        assert MessageHub.new_instance("run").log_scalars == {}
    finally:
        MessageHub._instance_dict.clear()
        MessageHub._instance_dict.update(before)


def test_beginnings():
    hub = MessageHub("x", {"loss": HistoryBuffer([1], [1])}, {"epoch": 2}, {"epoch": False})
    hub.update_scalar("loss", 3.0)
    hub.update_info("epoch", 3, resumed=False)
    assert list(hub.state_dict()["log_scalars"]) == ["loss"]
    assert hub.state_dict()["runtime_info"] == {}
    assert hub.get_scalar("loss").mean() == 2
