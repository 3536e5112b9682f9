import re
from types import SimpleNamespace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, IterableDataset

from mainspring.logging import HistoryBuffer, MessageHub
from mainspring.registry import LOG_PROCESSORS
from mainspring.runner import LogProcessor


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(10)


def loader(length):
    return DataLoader(range(length))


def place(epoch=0, iteration=9, max_epochs=10, max_iters=220, batches=22):
    """What a log processor reads of a runner: the position, the data and the message hub."""
    return SimpleNamespace(
        message_hub=MessageHub("test"),
        epoch=epoch,
        iter=iteration,
        max_epochs=max_epochs,
        max_iters=max_iters,
        train_dataloader=loader(batches),
        val_loop=None,
        val_dataloader=loader(5),
        test_dataloader=loader(7),
        device=torch.device("cpu"),
    )


@pytest.fixture
def runner():
    runner = place()
    hub = runner.message_hub
    for i in range(30):
        hub.update_scalar("train/lr", 0.1 / (i + 1))
        hub.update_scalar("train/base_lr", 0.2 / (i + 1))
        hub.update_scalar("train/time", 0.01 * i)
        hub.update_scalar("train/data_time", 0.001)
        hub.update_scalar("train/loss", torch.tensor(float(i)))
        hub.update_scalar("train/loss_cls", torch.tensor(i * 1e-6, dtype=torch.float64))
        hub.update_scalar("train/grad_norm", 2.0 * i)
        hub.update_scalar("train/momentum", 0.9)
        hub.update_scalar("val/time", 0.02 * i)
        hub.update_scalar("val/data_time", 0.003)
        hub.update_scalar("val/loss", 1.0 * i)
    hub.update_scalar("val/accuracy/top1", 98.2)
    hub.update_info("val/curve", [1, 2, 3])
    hub.update_scalar("test/time", 0.5)
    hub.update_info("eta", 100000.5)
    return runner


def test_a_training_line_by_epochs(runner):
    record, line = LogProcessor().get_log_after_iter(runner, 9, "train")
    assert line == (
        "Epoch(train)  [1][10/22]  lr: 3.3333e-03 base_lr: 6.6667e-03  eta: 1 day, 3:46:40  time: 0.2450"
        "  data_time: 0.0010  loss: 24.5000  loss_cls: 2.4500e-05  grad_norm: 49.0000  momentum: 0.9000"
    )
    assert record == pytest.approx(
        {
            "lr": 0.1 / 30,
            "base_lr": 0.2 / 30,
            "time": 0.245,
            "data_time": 0.001,
            "loss": 24.5,
            "loss_cls": 24.5e-6,
            "grad_norm": 49.0,
            "momentum": 0.9,
            "epoch": 1,
            "iter": 10,
        }
    )
    assert all(type(value) in (float, int) for value in record.values())


def test_a_training_line_by_iterations(runner):
    record, line = LogProcessor(by_epoch=False).get_log_after_iter(runner, 9, "train")
    assert line.startswith("Iter(train) [ 10/220]  lr: 3.3333e-03 base_lr: 6.6667e-03  eta: 1 day, 3:46:40  time: ")
    assert record["iter"] == 10
    assert "epoch" not in record


def test_numbers_are_as_wide_as_the_last_of_their_kind():
    runner = place(epoch=3, iteration=70, max_epochs=100, max_iters=2200, batches=1000)
    runner.message_hub.update_scalar("train/lr", 1e-5)
    runner.message_hub.update_scalar("train/loss", float("nan"))
    by_epoch, by_iter = LogProcessor(), LogProcessor(by_epoch=False)
    assert by_epoch.get_log_after_iter(runner, 9, "train")[1] == (
        "Epoch(train)   [4][  10/1000]  lr: 1.0000e-05  loss: nan"
    )
    assert by_iter.get_log_after_iter(runner, 9, "train")[1] == "Iter(train) [  71/2200]  lr: 1.0000e-05  loss: nan"


def test_lines_within_validation_and_test_show_times_only(runner):
    record, line = LogProcessor().get_log_after_iter(runner, 3, "val")
    assert line == "Epoch(val) [0][4/5]    eta: 1 day, 3:46:40  time: 0.4900  data_time: 0.0030"
    assert (record["iter"], record["epoch"]) == (9, 0)
    assert LogProcessor().get_log_after_iter(runner, 3, "test")[1] == (
        "Epoch(test) [4/7]    eta: 1 day, 3:46:40  time: 0.5000"
    )
    by_iter = LogProcessor(by_epoch=False)
    assert by_iter.get_log_after_iter(runner, 3, "val")[1].startswith("Iter(val) [4/5]    eta: ")


def test_the_line_after_a_validation_shows_its_results_and_mean_times(runner):
    runner.epoch = 3
    record, line = LogProcessor().get_log_after_epoch(runner, 5, "val")
    assert line == (
        "Epoch(val) [3][5/5]    loss: 29.0000  accuracy/top1: 98.2000  curve: [1, 2, 3]  time: 0.5400"
        "  data_time: 0.0030"
    )
    assert record == pytest.approx({"loss": 29.0, "accuracy/top1": 98.2, "time": 0.54, "data_time": 0.003})
    record, _ = LogProcessor().get_log_after_epoch(runner, 5, "val", with_non_scalar=True)
    assert list(record) == ["loss", "accuracy/top1", "curve", "time", "data_time"]
    assert record["curve"] == [1, 2, 3]


def test_the_line_after_a_test(runner):
    assert LogProcessor().get_log_after_epoch(runner, 7, "test") == ({"time": 0.5}, "Epoch(test) [7/7]    time: 0.5000")
    assert LogProcessor(by_epoch=False).get_log_after_epoch(runner, 7, "test")[1].startswith("Iter(test) [7/7]    ")


def test_names_with_hierarchy(runner):
    custom = [dict(data_src="loss", log_name="smooth", method_name="mean", window_size=30)]
    processor = LogProcessor(log_with_hierarchy=True, custom_cfg=custom)
    record, line = processor.get_log_after_iter(runner, 9, "train")
    assert record["train/loss"] == 24.5
    assert record["train/smooth"] == 14.5
    assert (record["epoch"], record["iter"]) == (1, 10)
    assert "  loss: 24.5000" in line
    assert "val/accuracy/top1" in processor.get_log_after_epoch(runner, 5, "val")[0]


def test_a_stream_has_no_length(runner):
    runner.train_dataloader = DataLoader(Stream(), batch_size=2)
    assert LogProcessor().get_log_after_iter(runner, 9, "train")[1].startswith("Epoch(train)  [1][10]  lr: ")


@pytest.mark.parametrize("eta", [None, float("inf"), float("nan")])
def test_no_time_left_is_shown_where_it_is_not_known(runner, eta):
    runner.message_hub.update_info("eta", eta)
    assert "eta" not in LogProcessor().get_log_after_iter(runner, 9, "train")[1]


def test_window_size_digits_and_pattern(runner):
    record, _ = LogProcessor(window_size=3).get_log_after_iter(runner, 0, "train")
    assert record["loss"] == 28.0
    record, line = LogProcessor(mean_pattern="^grad", num_digits=1).get_log_after_iter(runner, 9, "train")
    assert (record["loss"], record["grad_norm"]) == (29.0, 49.0)
    assert "lr: 3.3e-03 base_lr: 6.7e-03" in line
    assert "loss: 29.0  loss_cls: 2.9e-05  grad_norm: 49.0" in line


def test_counts_weigh_the_mean(runner):
    for value, count in ((30.0, 10), (2.0, 10)):
        runner.message_hub.update_scalar("train/sample_loss", value, count)
    assert LogProcessor().get_log_after_iter(runner, 9, "train")[0]["sample_loss"] == 1.6
    assert LogProcessor(window_size=1).get_log_after_iter(runner, 9, "train")[0]["sample_loss"] == 0.2


def custom(runner, batch_idx=9, **entry):
    processor = LogProcessor(custom_cfg=[dict(data_src="loss", **entry)])
    record, _ = processor.get_log_after_iter(runner, batch_idx, "train")
    return record["loss"], record.get(entry.get("log_name"))


def test_custom_statistics(runner):
    assert custom(runner, method_name="mean", window_size=30) == (14.5, None)
    assert custom(runner, method_name="mean", window_size=30, log_name="long") == (24.5, 14.5)
    assert custom(runner, method_name="max", window_size=2, log_name="top") == (24.5, 29.0)
    assert custom(runner, method_name="current") == (29.0, None)
    assert custom(runner, method_name="min") == (0.0, None)
    assert custom(runner, method_name="mean", window_size="epoch", batch_idx=3) == (27.5, None)
    assert custom(runner, method_name="mean", window_size="global") == (14.5, None)


def test_the_global_mean_reaches_beyond_what_is_kept(runner):
    buffer = runner.message_hub.log_scalars["train/loss"] = HistoryBuffer(max_length=10)
    for i in range(100):
        buffer.update(float(i))
    assert custom(runner, method_name="mean", window_size="global") == (49.5, None)


def test_an_epoch_of_validation_is_as_long_as_it_was(runner):
    processor = LogProcessor(custom_cfg=[dict(data_src="loss", method_name="mean", window_size="epoch")])
    assert processor.get_log_after_epoch(runner, 5, "val")[0]["loss"] == 27.0


def test_statistics_of_scalars_that_are_not_there_are_left_out(runner):
    processor = LogProcessor(custom_cfg=[dict(data_src="later", method_name="mean")])
    assert "later" not in processor.get_log_after_iter(runner, 9, "train")[0]


def test_a_registered_statistic(runner):
    @HistoryBuffer.register_statistics
    def spread(buffer, window_size, scale):
        return (buffer.max(window_size) - buffer.min(window_size)) * scale

    try:
        assert custom(runner, method_name="spread", window_size="epoch", scale=2) == (18.0, None)
        with pytest.raises(ValueError, match=r"custom_cfg\[0\]: the statistic 'spread' does not take what is given"):
            custom(runner, method_name="spread", window_size=3)
    finally:
        del HistoryBuffer._statistics_methods["spread"]


LOSS = dict(data_src="loss", method_name="mean")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(custom_cfg=LOSS), "custom_cfg must be a list of dicts"),
        (dict(custom_cfg=["loss"]), r"custom_cfg\[0\] must be a dict, got 'loss'"),
        (dict(custom_cfg=[dict(data_src="loss")]), r"custom_cfg\[0\].method_name must be a string, got None"),
        (dict(custom_cfg=[LOSS, dict(method_name="mean")]), r"custom_cfg\[1\].data_src must be a string, got None"),
        (dict(custom_cfg=[dict(LOSS, method_name="mena")]), "no statistic 'mena'. Did you mean 'mean'"),
        (dict(custom_cfg=[dict(LOSS, windw=3)]), "'mean' does not take what is given: .*'windw'"),
        (
            dict(custom_cfg=[dict(LOSS, method_name="current", window_size=3)]),
            "'current' does not take .*'window_size'",
        ),
        (dict(custom_cfg=[dict(LOSS, window_size="epochs")]), r"custom_cfg\[0\].window_size must be .* got 'epochs'"),
        (dict(custom_cfg=[dict(LOSS, window_size=0)]), "window_size must be"),
        (dict(custom_cfg=[dict(LOSS, window_size=2.5)]), "window_size must be"),
        (dict(custom_cfg=[dict(LOSS, window_size="epoch")], by_epoch=False), "cannot be 'epoch' with by_epoch=False"),
        (dict(custom_cfg=[dict(LOSS, data_src="train/loss")]), "leave the mode out and say 'loss'"),
        (dict(custom_cfg=[LOSS, LOSS]), r"custom_cfg\[1\] and custom_cfg\[0\] both log 'loss'"),
        (dict(custom_cfg=[dict(LOSS, log_name="x"), dict(LOSS, data_src="y", log_name="x")]), "both log 'x'"),
        (dict(window_size=0), "window_size must be a whole number of at least 1, got 0"),
        (dict(window_size=True), "window_size must be"),
        (dict(num_digits=-1), "num_digits must be"),
        (dict(mean_pattern="("), r"mean_pattern '\(' is no regular expression"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        LogProcessor(**options)


def test_wrong_modes(runner):
    with pytest.raises(ValueError, match="mode must be 'train' or 'val' or 'test', got 'fit'"):
        LogProcessor().get_log_after_iter(runner, 0, "fit")
    with pytest.raises(ValueError, match="mode must be 'val' or 'test', got 'train'"):
        LogProcessor().get_log_after_epoch(runner, 0, "train")


@pytest.mark.usefixtures("as_on_a_device")
def test_a_line_costs_one_transfer(runner):
    class Transfers(TorchFunctionMode):
        count = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.count += getattr(func, "__name__", "") in ("cpu", "item", "numpy", "to")
            return func(*args, **(kwargs or {}))

    with Transfers() as transfers:
        LogProcessor().get_log_after_iter(runner, 9, "train")
    assert transfers.count == 1


def test_it_is_registered():
    processor = LOG_PROCESSORS.build(dict(type="LogProcessor", window_size=5))
    assert isinstance(processor, LogProcessor)
    assert processor.window_size == 5


def test_the_lines_of_a_run(make_runner):
    runner = make_runner(log_level="INFO")
    runner.train()
    with open(runner.logger.log_file) as file:
        lines = [line.split(" - ", 3)[3].rstrip() for line in file if re.search(r"- INFO - \w+\((train|val)\)", line)]
    number = r"[\d.e+-]+"
    for epoch in (1, 2):
        train = rf"Epoch\(train\) \[{epoch}\]\[5/5\]  lr: 1.0000e-01  eta: 0:00:00  time: {number}  data_time: "
        assert sum(re.match(train, line) is not None for line in lines) == 1
        val = rf"Epoch\(val\) \[{epoch}\]\[2/2\]    accuracy/top1: {number}  time: {number}  data_time: {number}$"
        assert sum(re.match(val, line) is not None for line in lines) == 1
