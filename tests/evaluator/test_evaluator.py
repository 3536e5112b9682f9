from collections import OrderedDict

import pytest
import torch

from mainspring.evaluator import Accuracy, BaseMetric, Evaluator
from mainspring.registry import EVALUATOR, METRICS
from mainspring.structures import BaseDataElement


@METRICS.register_module()
class Recorder(BaseMetric):
    """Keeps what reaches it, and answers with what it was given."""

    def __init__(self, answer=None, **kwargs):
        super().__init__(**kwargs)
        self.answer = {"count": 1} if answer is None else answer
        self.calls = []

    def process(self, data_batch, data_samples):
        self.calls.append((data_batch, data_samples))
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return self.answer


class Twin(Recorder):
    pass


class Foreign:
    """A metric that shares only the three members."""

    dataset_meta = None

    def process(self, data_batch, data_samples):
        self.last = data_samples

    def evaluate(self, size):
        return {"size": size}


@pytest.mark.parametrize("metrics", [Recorder(), {"type": "Recorder"}, [Recorder()], ({"type": Recorder},)])
def test_metrics_in_any_form(metrics):
    evaluator = Evaluator(metrics)
    evaluator.process([1, 2], "batch")
    assert evaluator.metrics[0].calls[-1] == ("batch", [1, 2])
    assert evaluator.evaluate(2) == {"count": 1}


def test_gathering_streaming_and_foreign_metrics_work_side_by_side():
    evaluator = EVALUATOR.build({"type": "Evaluator", "metrics": [Recorder(), {"type": "Accuracy"}, Foreign()]})
    evaluator.dataset_meta = {"classes": ("a", "b")}
    assert [metric.dataset_meta for metric in evaluator.metrics] == [{"classes": ("a", "b")}] * 3
    assert evaluator.dataset_meta == {"classes": ("a", "b")}
    evaluator.process((torch.eye(2), torch.tensor([0, 0])))
    assert evaluator.evaluate(2) == {"count": 1, "accuracy/top1": 50.0, "size": 2}


def test_data_elements_become_dicts_and_all_else_stays():
    recorder = Recorder()
    evaluator = Evaluator(recorder)
    evaluator.process([BaseDataElement(metainfo={"id": 3}, x=1), {"x": 2}])
    assert recorder.calls[-1][1] == [{"id": 3, "x": 1}, {"x": 2}]
    pair = (torch.ones(2), torch.ones(2))
    evaluator.process(pair)
    assert recorder.calls[-1][1] is pair


def test_two_metrics_with_one_key():
    evaluator = Evaluator([Recorder(prefix="a"), Twin(prefix="a")])
    evaluator.process([1])
    with pytest.raises(ValueError, match=r"Recorder and Twin both return 'a/count'\. .* Twin\(prefix='\.\.\.'\)"):
        evaluator.evaluate(1)


@pytest.mark.parametrize(("answer", "described"), [(3.5, r"3\.5 \(float\)"), ([("a", 1)], r"\(list\)")])
@pytest.mark.parametrize("prefix", [None, "p"])
def test_a_metric_that_answers_nothing(answer, described, prefix):
    evaluator = Evaluator(Recorder(answer=answer, prefix=prefix))
    evaluator.process([1])
    with pytest.raises(ValueError, match=f"The metric Recorder returned .*{described}.*compute_metrics"):
        evaluator.evaluate(1)


def test_a_metric_may_have_nothing_to_answer(capsys):
    evaluator = Evaluator([Recorder(answer=OrderedDict()), Accuracy()])
    evaluator.process([{"pred_label": 1, "gt_label": 1}])
    assert evaluator.evaluate(1) == {"accuracy/top1": 100.0}
    assert capsys.readouterr().out.count("The metric Recorder returned an empty dict") == 1


def test_a_metric_that_forgets_to_return():
    class Silent(Recorder):
        def compute_metrics(self, results):
            pass

    evaluator = Evaluator(Silent(prefix="x"))
    with pytest.raises(ValueError, match="The metric Silent returned None"):
        evaluator.evaluate(1)


def test_what_is_no_metric():
    with pytest.raises(ValueError, match="empty list of metrics"):
        Evaluator([])
    with pytest.raises(TypeError, match=r"metrics\[1\] is 3 \(int\), which is no metric"):
        Evaluator([Accuracy(), 3])
    with pytest.raises(TypeError, match=r"metrics\[0\] is 'Accuracy' \(str\), which is no metric"):
        Evaluator("Accuracy")


def test_offline():
    samples = [{"pred_label": n % 2, "gt_label": 0} for n in range(5)]
    recorder = Recorder()
    evaluator = Evaluator([Accuracy(), recorder])
    data = [{"inputs": torch.tensor(n), "id": n} for n in range(5)]
    assert evaluator.offline_evaluate(samples, data, chunk_size=2) == {"accuracy/top1": 60.0, "count": 1}
    assert [batch["id"] for batch, _ in recorder.calls] == [[0, 1], [2, 3], [4]]
    assert [len(chunk) for _, chunk in recorder.calls] == [2, 2, 1]
    assert evaluator.offline_evaluate(iter(samples)) == {"accuracy/top1": 60.0, "count": 1}
    assert recorder.calls[-1][0] is None


def test_offline_with_arguments_that_do_not_fit():
    evaluator = Evaluator(Recorder())
    with pytest.raises(ValueError, match="data has 2 and data_samples has 3"):
        evaluator.offline_evaluate([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="chunk_size must be 1 or more, but it is 0"):
        evaluator.offline_evaluate([1], chunk_size=0)


def test_a_metric_given_twice_is_found_before_anything_runs():
    class Count(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results.append(1)

        def compute_metrics(self, results):
            return {"count": len(results)}

    with pytest.raises(ValueError, match=r"metrics\[1\] is a second Count with the same settings"):
        Evaluator([Count(), Count()])
    with pytest.raises(ValueError, match=r"metrics\[1\] is a second Accuracy with the same settings"):
        Evaluator([Accuracy(topk=(1, 2)), Accuracy(topk=(1, 2))])
    assert len(Evaluator([Accuracy(topk=1), Accuracy(topk=2)]).metrics) == 2
    assert len(Evaluator([Count(prefix="a"), Count(prefix="b")]).metrics) == 2
