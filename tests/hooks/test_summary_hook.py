import re
import sys
from pathlib import Path

import pytest

from mainspring.checkpoint import weights_digest
from mainspring.hooks import CheckpointHook, Hook, SummaryHook


@pytest.fixture
def summary(make_runner, monkeypatch, tmp_path):
    """Train and return the rows of the table in the log, as pairs."""
    monkeypatch.chdir(tmp_path)

    def run(**changes):
        runner = make_runner(log_level="INFO", **changes)
        runner.train()
        return rows_of(runner), runner

    return run


def rows_of(runner):
    text = Path(runner.logger.log_file).read_text()
    return re.findall(r"^│ (.*?) +│ (.*?) +│$", text, flags=re.MULTILINE)


def test_the_table_tells_the_results_and_where_things_lie(summary):
    rows, runner = summary(default_hooks={"checkpoint": CheckpointHook(interval=1, save_best="accuracy/top1")})
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    best = hook.best["accuracy/top1"]
    last = runner.message_hub.get_scalar("val/accuracy/top1").current()
    assert rows == [
        ("best accuracy/top1", f"{best['score']:.4f} at epoch {best['number']}"),
        ("best checkpoint", f"run/{best['file']}"),
        ("last accuracy/top1", f"{last:.4f}"),
        ("last checkpoint", "run/epoch_2.pth"),
        ("sha256 of weights", weights_digest(runner.model.state_dict())[:16]),
        ("log", f"run/{runner.timestamp}/{runner.timestamp}.log"),
        ("scalars", "run/vis_data/scalars.jsonl"),
        ("curves", "run/curves.png"),
    ]
    for _, place in rows:
        if place.startswith("run/"):
            assert Path(place).is_file(), place
    assert Path("run/curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_checkpoints_and_validation_the_rest_is_told(summary):
    rows, _ = summary(
        default_hooks={"checkpoint": None, "summary": SummaryHook(curves=None)},
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    )
    assert [name for name, _ in rows] == ["sha256 of weights", "log", "scalars"]
    assert not Path("run/curves.png").exists()


def test_the_picture_may_have_another_name(summary):
    rows, _ = summary(default_hooks={"summary": SummaryHook(curves="[loss].png")})
    assert rows[-1] == ("curves", "run/[loss].png")
    assert Path("run/[loss].png").is_file()


def test_without_matplotlib_it_says_how_to_get_it(summary, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    rows, _ = summary()
    said = " ".join(text for _, text in rows[-2:])  # in two lines
    assert rows[-2][0] == "curves"
    assert "needs matplotlib, which is not installed" in said
    assert "pip install 'mainspring[plot]'" in said
    assert not Path("run/curves.png").exists()


def test_only_training_is_summed_up(make_runner):
    runner = make_runner(log_level="INFO")
    runner.val()
    assert rows_of(runner) == []
    runner.train()
    length = len(rows_of(runner))
    assert length > 0
    runner.val()
    assert len(rows_of(runner)) == length


def test_a_run_that_fails_ends_with_its_error_and_no_table(make_runner):
    class Fails(Hook):
        def after_train_epoch(self, runner):
            raise ZeroDivisionError("mine")

    runner = make_runner(log_level="INFO", custom_hooks=[Fails()])
    with pytest.raises(ZeroDivisionError, match="mine"):
        runner.train()
    assert rows_of(runner) == []


def test_a_run_that_is_finished_already_still_knows_its_results(summary, make_runner):
    first, _ = summary()
    again, _ = summary(resume="auto")
    assert dict(again)["last accuracy/top1"] == dict(first)["last accuracy/top1"]
    assert dict(again)["last checkpoint"] == "run/epoch_2.pth"
