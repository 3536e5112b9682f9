import pytest
import torch

from mainspring.evaluator import Evaluator, Metric, TorchMetric
from mainspring.registry import METRICS

torchmetrics = pytest.importorskip("torchmetrics")

PREDICTIONS = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
TARGETS = torch.tensor([1, 0, 0, 0])


def in_two_batches(metric, predictions=PREDICTIONS, targets=TARGETS):
    metric.process(None, (predictions[:3], targets[:3]))
    metric.process(None, (predictions[3:], targets[3:]))
    return metric.evaluate(size=len(targets))


def test_by_name():
    metric = METRICS.build(
        {"type": "TorchMetric", "metric": "Accuracy", "task": "multiclass", "num_classes": 2, "prefix": "val"}
    )
    assert isinstance(metric, Metric)
    assert in_two_batches(metric) == {"val/Accuracy": 0.75}


@pytest.mark.parametrize("name", ["MulticlassAUROC", "classification.MulticlassAUROC", "classification.auroc.AUROC"])
def test_names_that_lie_deeper(name):
    arguments = {"task": "multiclass"} if name.endswith(".AUROC") else {}
    metric = TorchMetric(name, num_classes=2, **arguments)
    assert list(in_two_batches(metric)) == [name.rpartition(".")[2]]


def test_a_module_that_is_not_imported_yet():
    metric = TorchMetric("segmentation.MeanIoU", num_classes=2, input_format="index")
    metric.process(None, (torch.tensor([[0, 1]]), torch.tensor([[0, 1]])))
    assert metric.evaluate(1) == {"MeanIoU": 1.0}


def test_by_class_and_by_object():
    by_class = TorchMetric(torchmetrics.MeanSquaredError, key="rmse", squared=False)
    predictions, targets = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 3.0, 8.0])
    assert in_two_batches(by_class, predictions, targets) == {"rmse": 2.0}
    by_object = TorchMetric(torchmetrics.MeanSquaredError())
    assert in_two_batches(by_object, predictions, targets) == {"MeanSquaredError": 4.0}


def test_a_collection_gives_several_answers():
    collection = torchmetrics.MetricCollection(
        {"mse": torchmetrics.MeanSquaredError(), "mae": torchmetrics.MeanAbsoluteError()}
    )
    predictions, targets = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 3.0, 8.0])
    assert in_two_batches(TorchMetric(collection), predictions, targets) == {"mse": 4.0, "mae": 1.0}
    assert in_two_batches(TorchMetric(collection, keys=["mae"]), predictions, targets) == {"mae": 1.0}
    with pytest.raises(ValueError, match=r"gives no 'maee'\. Did you mean 'mae'"):
        in_two_batches(TorchMetric(collection, keys=["maee"]), predictions, targets)


def test_its_own_state_is_used_and_begins_anew():
    inner = torchmetrics.MeanAbsoluteError()
    metric = TorchMetric(inner)
    metric.process(None, (torch.tensor([1.0]), torch.tensor([4.0])))
    assert inner.update_count == 1
    assert metric.evaluate(1) == {"MeanAbsoluteError": 3.0}
    assert inner.update_count == 0


def test_the_state_is_cleared_although_computing_failed():
    inner = torchmetrics.MeanSquaredError()
    metric = TorchMetric(inner, keys=["rmse"])
    with pytest.raises(ValueError, match=r"gives no 'rmse'\."):
        in_two_batches(metric, *torch.ones(2, 4))
    assert inner.update_count == 0


def test_results_that_are_no_single_numbers():
    inner = torchmetrics.ConfusionMatrix(task="multiclass", num_classes=2)
    (matrix,) = in_two_batches(TorchMetric(inner)).values()
    assert matrix.tolist() == [[2, 1], [0, 1]]
    recall = TorchMetric("MulticlassRecall", num_classes=2, average=None)
    expected = {"MulticlassRecall/0": pytest.approx(2 / 3), "MulticlassRecall/1": 1.0}
    assert in_two_batches(recall) == expected
    recall.dataset_meta = {"classes": ("cat", "dog")}
    assert list(in_two_batches(recall)) == ["MulticlassRecall/cat", "MulticlassRecall/dog"]


@pytest.mark.parametrize(
    "metric",
    [
        {"type": "torchmetrics.MulticlassRecall", "num_classes": 2},
        {"type": "torchmetrics.classification.MulticlassRecall", "num_classes": 2},
        {"type": torchmetrics.classification.MulticlassRecall, "num_classes": 2},
        torchmetrics.classification.MulticlassRecall(num_classes=2),
    ],
)
def test_in_a_list_of_metrics(metric):
    evaluator = Evaluator([metric, {"type": "Accuracy"}])
    evaluator.process((PREDICTIONS, TARGETS))
    assert evaluator.evaluate(4) == {"MulticlassRecall": pytest.approx(5 / 6), "accuracy/top1": 75.0}
    assert Evaluator(metric).metrics[0].key == "MulticlassRecall"


def test_one_alone_in_a_run(make_runner):
    runner = make_runner(val_evaluator=torchmetrics.classification.MulticlassF1Score(num_classes=3))
    assert list(runner.val()) == ["MulticlassF1Score"]


def test_further_arguments_of_update():
    metric = TorchMetric("BinaryFairness", num_groups=2, update_keys={"groups": 2}, pred_key=0, target_key=1)
    groups = torch.tensor([0, 0, 1, 1])
    metric.process(None, (PREDICTIONS[:, 1], TARGETS, groups))
    results = metric.evaluate(4)
    inner = torchmetrics.classification.BinaryFairness(num_groups=2)
    inner.update(PREDICTIONS[:, 1], TARGETS, groups)
    assert results == {name: value.item() for name, value in inner.compute().items()}


def test_samples_in_dicts_and_texts():
    metric = TorchMetric("MeanAbsoluteError", pred_key="age", target_key="true_age")
    metric.process(None, [{"age": 30.0, "true_age": 33.0}, {"age": 21.0, "true_age": 20.0}])
    assert metric.evaluate(2) == {"MeanAbsoluteError": 2.0}
    text = TorchMetric("WordErrorRate", key="wer")
    text.process(None, (["hello world"], ["hello word"]))
    assert text.evaluate(1) == {"wer": 0.5}


def test_it_moves_to_the_device_of_the_predictions():
    inner = torchmetrics.MeanSquaredError()
    metric = TorchMetric(inner)
    metric.process(None, (torch.empty(3, device="meta"), torch.ones(3)))
    assert inner.sum_squared_error.device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": "Acuracy"}, ValueError, "no metric torchmetrics.Acuracy. Did you mean 'Accuracy'"),
        ({"metric": "clasification.AUROC"}, ValueError, "no metric torchmetrics.clasification.AUROC"),
        ({"metric": torch.nn.Linear(1, 1)}, TypeError, "metric must be a metric of torchmetrics or its name"),
        ({"metric": torchmetrics.MeanSquaredError(), "squared": False}, TypeError, "built already .* squared"),
    ],
)
def test_what_is_no_metric(arguments, error, message):
    with pytest.raises(error, match=message):
        TorchMetric(**arguments)
