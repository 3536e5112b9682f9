import pytest
import torch

from mainspring.evaluator import BaseMetric, Metric
from mainspring.structures import BaseDataElement


class Mean(BaseMetric):
    default_prefix = "mean"

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return {"value": sum(results) / len(results)}


def test_results_are_gathered_computed_and_cleared():
    metric = Mean()
    metric.process(None, [1.0, 2.0])
    metric.process(None, [6.0])
    assert metric.evaluate(size=3) == {"mean/value": 3.0}
    assert metric.results == []
    metric.process(None, [5.0])
    assert metric.evaluate(size=1) == {"mean/value": 5.0}


def test_results_beyond_the_data_set_are_dropped():
    metric = Mean()
    metric.process(None, [1.0, 2.0, 600.0])
    assert metric.evaluate(size=2) == {"mean/value": 1.5}


@pytest.mark.parametrize(("prefix", "key"), [(None, "mean/value"), ("val", "val/value")])
def test_the_prefix(prefix, key):
    metric = Mean(prefix=prefix)
    metric.process(None, [1.0])
    assert list(metric.evaluate(size=1)) == [key]


def test_results_are_cleared_although_computing_failed():
    metric = Mean()
    metric.process(None, ["a"])
    with pytest.raises(TypeError):
        metric.evaluate(size=1)
    assert metric.results == []


def test_no_results_are_named_as_the_cause():
    with pytest.raises(ZeroDivisionError) as caught:
        Mean().evaluate(size=3)
    assert caught.value.__notes__ == ["There are no results: Mean.process has appended none."]


def test_results_reach_compute_metrics_on_the_cpu():
    seen = []

    class Keep(Mean):
        def compute_metrics(self, results):
            seen.extend(results)
            return {"n": len(results)}

    metric = Keep()
    element = BaseDataElement(x=torch.ones(2))
    metric.process(None, [{"a": [torch.ones(1)], "b": element, "c": "text"}])
    metric.evaluate(size=1)
    assert seen[0]["a"][0].device.type == seen[0]["b"].x.device.type == "cpu"
    assert seen[0]["c"] == "text"


def test_plain_results_are_handed_on_and_not_copied():
    given = [{"label": 1, "scores": [0.5, (1, None)]}, 2.0, "text", ({"a": True},)]
    seen = []

    class Keep(Mean):
        def compute_metrics(self, results):
            seen.extend(results)
            return {"n": len(results)}

    metric = Keep()
    metric.process(None, given)
    metric.evaluate(size=4)
    assert all(one is other for one, other in zip(given, seen, strict=True))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="collect_device must be 'cpu' or 'gpu', but it is 'tpu'"):
        Mean(collect_device="tpu")
    with pytest.raises(ValueError, match="needs collect_device='cpu', but it is 'gpu'"):
        Mean(collect_device="gpu", collect_dir="/tmp/x")


def test_what_is_a_metric():
    assert isinstance(Mean(), Metric)
    assert not isinstance(object(), Metric)
    with pytest.raises(TypeError, match="abstract"):
        BaseMetric()
