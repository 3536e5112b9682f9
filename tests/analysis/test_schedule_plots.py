"""What is said of schedules before a run is what they do in it."""

import pytest

from mainspring.analysis import plot_schedule, schedule_values
from mainspring.hooks import Hook

ALONE = dict.fromkeys(("val_dataloader", "val_cfg", "val_evaluator"))
WARM_UP = {"type": "LinearLR", "start_factor": 0.1, "end": 6, "by_epoch": False}
EPOCHS = {"max_epochs": 3, "epoch_length": 5}
ITERATIONS = {"max_iters": 13, "epoch_length": 5}
RUNS = {
    "epochs": (EPOCHS, [WARM_UP, {"type": "StepLR", "step_size": 1, "gamma": 0.5}]),
    "converted": (EPOCHS, {"type": "CosineAnnealingLR", "convert_to_iter_based": True}),
    "updates": (EPOCHS, [{"type": "WSDLR", "warmup": 2, "unit": "update"}, {"type": "LinearMomentum", "end": 2}]),
    "iterations": (ITERATIONS, [WARM_UP, {"type": "PolyLR", "begin": 5, "by_epoch": False}]),
    "updates of iterations": (ITERATIONS, {"type": "CosineAnnealingLR", "unit": "update"}),
}


class Record(Hook):
    def __init__(self):
        self.values = {"lr": [], "momentum": []}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for name, line in self.values.items():
            line.append(runner.optim_wrapper.param_groups[0][name])


@pytest.mark.parametrize(("length", "schedules"), RUNS.values(), ids=RUNS)
def test_the_values_are_those_of_a_run(make_runner, length, schedules):
    record = Record()
    make_runner(
        train_cfg={"by_epoch": False, "max_iters": 13} if length is ITERATIONS else {"max_epochs": 3},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.8}, "accumulative_counts": 2},
        param_scheduler=schedules,
        custom_hooks=[record],
        **ALONE,
    ).train()
    values = schedule_values(schedules, {"lr": 0.1, "momentum": 0.8}, accumulative_counts=2, **length)
    assert values == {name: record.values[name] for name in values}
    assert len(set(values["lr"])) > 2


def test_a_picture_of_several():
    schedules = {"cosine": {"type": "CosineAnnealingLR", "by_epoch": False}, "wsd": {"type": "WSDLR", "unit": "iter"}}
    (axes,) = plot_schedule(schedules, 0.2, max_iters=50).axes
    assert [line.get_label() for line in axes.get_lines()] == ["cosine", "wsd"]
    assert axes.get_lines()[0].get_ydata()[0] == 0.2
    assert list(axes.get_lines()[1].get_xdata()) == list(range(50))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("iteration", "learning rate")


def test_a_panel_for_each_parameter_over_epochs():
    schedules = [WARM_UP, {"type": "StepParamScheduler", "param_name": "weight_decay", "step_size": 1}]
    figure = plot_schedule(schedules, {"lr": 0.1, "weight_decay": 0.5}, max_epochs=2, epoch_length=4)
    assert [axes.get_ylabel() for axes in figure.axes] == ["learning rate", "weight decay"]
    line = figure.axes[1].get_lines()[0]
    assert list(line.get_xdata()) == [n / 4 for n in range(8)]
    assert list(line.get_ydata()) == [0.5] * 4 + [0.05] * 4


@pytest.mark.parametrize("length", [{}, {"max_epochs": 3}, {"max_epochs": 3, "epoch_length": 2, "max_iters": 6}])
def test_the_length_of_the_run(length):
    with pytest.raises(ValueError, match="The length of the run is max_epochs and epoch_length, or else max_iters"):
        schedule_values(WARM_UP, **length)


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no schedules to draw"):
        plot_schedule([], max_iters=3)
