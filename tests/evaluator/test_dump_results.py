"""Predictions are written to a file, read without running code, and evaluated later with the same results."""

import pickle

import pytest
import torch

from mainspring import load
from mainspring.evaluator import Accuracy, DumpResults, Evaluator
from mainspring.structures import BaseDataElement

SCORES = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


def forms(part):
    scores, labels = SCORES[part], LABELS[part]
    pairs = list(zip(scores, labels, strict=True))
    return {
        "columns": (scores, labels),
        "named columns": {"scores": scores, "label": labels},
        "samples": [{"scores": one, "label": label} for one, label in pairs],
        "elements": [BaseDataElement(metainfo={"id": 1}, scores=one, label=label) for one, label in pairs],
    }


@pytest.mark.parametrize("form", ["columns", "named columns", "samples", "elements"])
def test_what_is_written_gives_the_same_results(tmp_path, form):
    path = tmp_path / "new" / "results.pkl"
    evaluator = Evaluator([Accuracy(topk=(1, 2)), DumpResults(path)])
    for part in torch.arange(7).split(3):
        evaluator.process(forms(part)[form])
    expected = evaluator.evaluate(size=7)
    assert list(expected) == ["accuracy/top1", "accuracy/top2"]
    results = load(path)
    assert len(results) == 7
    assert type(results[0]) is (tuple if form == "columns" else dict)
    for chunk_size in (1, 3, 10):
        assert Evaluator(Accuracy(topk=(1, 2))).offline_evaluate(results, chunk_size=chunk_size) == expected


def test_the_file_holds_plain_data_and_not_whole_batches(tmp_path):
    many = torch.zeros(1000, 100, requires_grad=True)
    metric = DumpResults(tmp_path / "results.pickle")
    boxes = BaseDataElement(boxes=many[0])
    metric.process(None, [BaseDataElement(scores=many[0], nested=[boxes]), {"scores": many[1], "path": "a.png"}])
    metric.evaluate(size=2)
    assert (tmp_path / "results.pickle").stat().st_size < 5_000
    first, second = pickle.loads((tmp_path / "results.pickle").read_bytes())
    assert set(first) == {"scores", "nested"}
    assert first["nested"][0]["boxes"].shape == (100,)
    assert not second["scores"].requires_grad
    assert second["path"] == "a.png"


def test_in_a_run_that_tests(make_runner, tmp_path):
    metrics = [{"type": "Accuracy"}, {"type": "DumpResults", "out_file_path": str(tmp_path / "test.pkl")}]
    runner = make_runner(test_dataloader=make_runner().val_dataloader, test_cfg={}, test_evaluator=metrics)
    expected = runner.test()
    assert Evaluator(Accuracy()).offline_evaluate(load(tmp_path / "test.pkl"), chunk_size=4) == expected


def test_nothing_but_a_file(tmp_path):
    evaluator = Evaluator({"type": "DumpResults", "out_file_path": str(tmp_path / "results.pkl")})
    evaluator.process([{"label": 1}])
    assert evaluator.evaluate(1) == {}
    assert load(tmp_path / "results.pkl") == [{"label": 1}]


def test_other_files_are_refused():
    with pytest.raises(ValueError, match=r"must end with '\.pkl' or '\.pickle', but it is 'results\.json'"):
        DumpResults("results.json")
