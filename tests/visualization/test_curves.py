import math
import subprocess
import sys

import numpy as np
import pytest

from mainspring.visualization import curves, plot_curves
from mainspring.visualization.scalars_file import ScalarsFile

pytest.importorskip("matplotlib")


def write(path, records):
    file = ScalarsFile(path)
    for record in records:
        file.append(record)
    file.close()
    return path


def a_run(iterations=200, epoch=40):
    for iteration in range(10, iterations + 1, 10):
        share = iteration / iterations
        train = {"lr": 0.1 * (1 - share), "base_lr": 0.1 * (1 - share), "loss": math.exp(-share), "grad_norm": 1.0}
        yield {**train, "time": 0.1, "iter": iteration, "epoch": iteration // epoch, "mode": "train"}
        if iteration % epoch == 0:
            val = {"accuracy/top1": 99 - 50 / iteration, "loss": 1 / iteration, "time": 0.1}
            yield {**val, "iter": iteration, "epoch": iteration // epoch, "mode": "val"}


def size_of(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def sorted_records(records):
    return [
        {name: list(zip(c.at, c.values, strict=True)) for name, c in kind.items()} for kind in curves._sort(records)
    ]


def test_a_picture_of_a_run(tmp_path):
    records = list(a_run())
    scalars = write(tmp_path / "scalars.jsonl", records)
    assert plot_curves(scalars, tmp_path / "new" / "curves.png") == tmp_path / "new" / "curves.png"
    width, height = size_of(tmp_path / "new" / "curves.png")
    assert width == 2 * 600  # losses, accuracy, validation loss, learning rate: two by two
    assert height == 2 * 456
    without_loss = [{k: v for k, v in r.items() if r["mode"] == "train" or k != "loss"} for r in records]
    plot_curves(write(tmp_path / "2.jsonl", without_loss), tmp_path / "2.png")
    assert size_of(tmp_path / "2.png") == (3 * 600, 456)


@pytest.mark.parametrize(
    "values", [[1.0], [math.nan, math.nan], [1.0, math.inf, 0.5], [-1.0, 2.0], [1e-3, 1e3], [0.0, 0.0]]
)
def test_any_values_can_be_drawn(tmp_path, values):
    records = []
    for index, value in enumerate(values):
        records.append({"iter": index, "loss": value, "lr": value, "mode": "train"})
        records.append({"iter": index, "acc": value, "mode": "val"})
    plot_curves(write(tmp_path / "scalars.jsonl", records), tmp_path / "curves.png")
    assert size_of(tmp_path / "curves.png") == (3 * 600, 456)


def test_nothing_to_draw(tmp_path):
    scalars = write(tmp_path / "scalars.jsonl", [{"iter": 1, "time": 0.1, "mode": "train"}])
    with pytest.raises(ValueError, match=r"scalars.jsonl holds no losses, metrics or learning rates"):
        plot_curves(scalars, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_what_is_drawn_where():
    losses, metrics, rates = sorted_records(list(a_run(80)))
    assert list(losses) == ["loss"]
    assert losses["loss"][0] == (10.0, math.exp(-1 / 8))
    assert metrics["accuracy/top1"] == [(40.0, 99 - 50 / 40), (80.0, 99 - 50 / 80)]
    assert set(metrics) == {"accuracy/top1", "loss"}
    assert list(rates) == ["lr"]  # base_lr is the same


def test_records_of_mmengine_and_with_hierarchy():
    train = [{"loss": 1.0, "lr": 0.1, "base_lr": 0.2, "epoch": 1, "iter": i, "step": i} for i in (10, 20)]
    losses, metrics, rates = sorted_records([*train, {"acc": 90.0, "time": 0.1, "step": 1}])
    assert losses == {"loss": [(10, 1.0), (20, 1.0)]}
    assert metrics == {"acc": [(20, 90.0)]}
    assert set(rates) == {"lr", "base_lr"}
    named = [
        {"train/loss": 1.0, "train/lr": 0.1, "iter": 10},
        {"val/loss": 2.0, "step": 1},
        {"test/acc": 1.0, "step": 1},
    ]
    assert sorted_records(named) == [{"loss": [(10, 1.0)]}, {"loss": [(10, 2.0)]}, {"lr": [(10, 0.1)]}]


def test_metrics_that_fit_one_axis_are_together():
    def curve(value):
        return curves._Curve([1.0], [value])

    metrics = {"top1": curve(90.0), "top5": curve(99.0), "mAP": curve(0.4), "loss": curve(50.0), "AR": curve(0.05)}
    assert [list(group) for group in curves._by_size(metrics)] == [["top5", "top1"], ["mAP", "AR"], ["loss"]]


@pytest.mark.parametrize(
    ("name", "less"),
    [
        ("loss", True),
        ("val/loss_cls", True),
        ("MAE", True),
        ("top1_error", True),
        ("accuracy/top1", False),
        ("mAP", False),
    ],
)
def test_which_end_is_best(name, less):
    assert curves._less_is_better(name) is less


def test_the_running_mean_is_a_mean_around_each_value():
    line = np.arange(100.0)
    assert np.allclose(curves._running_mean(line)[5:-5], line[5:-5])
    noisy = np.random.default_rng(0).standard_normal(1000)
    assert curves._running_mean(noisy).std() < 0.2
    gap = np.array([1.0, np.nan, 3.0])
    assert np.array_equal(curves._running_mean(gap), gap, equal_nan=True)


def test_no_window_system_is_touched_and_no_figure_stays(tmp_path):
    scalars = write(tmp_path / "scalars.jsonl", a_run())
    script = (
        "import sys; from mainspring.visualization import plot_curves;"
        "plot_curves(sys.argv[1], sys.argv[2]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, scalars, tmp_path / "curves.png"], check=True, timeout=120)
    assert (tmp_path / "curves.png").exists()
