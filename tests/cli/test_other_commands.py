"""config, plot, env and lr-find."""

from __future__ import annotations

import json

import pytest
import torch

from mainspring.utils import collect_env


def test_a_configuration_is_shown_whole(call, project):
    code, out, _ = call("config", "show", "mine.py", "--set", "model.width=9")
    assert code == 0
    assert "model = dict(type='Classifier', width=9)" in out
    (project / "shown.py").write_text(out)
    assert call("config", "diff", "shown.py", "mine.py")[1].splitlines()[-2:] != []
    assert "-model = dict(type='Classifier', width=9)" in call("config", "diff", "shown.py", "mine.py")[1]
    assert json.loads(call("config", "show", "mine.py", "--format", "json")[1])["model"]["width"] == 12


def test_configurations_without_a_difference_have_an_empty_one(call):
    assert call("config", "diff", "mine.py", "mine.py") == (0, "", "")


def test_where_values_come_from(call):
    code, out, _ = call("config", "explain", "mine.py", "model.width", "model.type", "--set", "model.type=X")
    assert code == 0
    assert out.splitlines() == ["model.width = 12  (mine.py, line 2)", "model.type = 'X'  (an override)"]
    every = call("config", "explain", "mine.py")[1]
    assert "optim_wrapper.optimizer.lr = 0.1  (base.py, line " in every
    code, _, err = call("config", "explain", "mine.py", "model.widht")
    assert code == 1
    assert "Did you mean 'width'" in err


@pytest.fixture
def runs(call):
    assert (
        call(
            "train",
            "mine.py",
            "--work-dir",
            "one",
            "--set",
            "+default_hooks.logger.type=LoggerHook",
            "--set",
            "+default_hooks.logger.interval=1",
        )[0]
        == 0
    )
    assert call("train", "mine.py", "--work-dir", "two", "--seed", "4")[0] == 0
    return "one", "two"


def test_scalars_are_a_table_or_a_picture(call, project, runs):
    code, out, _ = call("plot", *runs, "--key", "accuracy")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [(row[0], row[2]) for row in rows] == [("one", "2"), ("two", "2")]
    pytest.importorskip("matplotlib")
    for tokens in (["one"], ["one", "two"], ["one", "two", "--key", "accuracy"]):
        code, out, err = call("plot", *tokens, "-o", "curves.png")
        assert (code, err) == (0, "")
        assert (project / "curves.png").read_bytes().startswith(b"\x89PNG")
        (project / "curves.png").unlink()


def test_scalars_that_are_not_there_are_told(call, project, runs):
    for tokens, told in (
        (["nowhere"], "neither a work directory nor a file"),
        (["."], "holds no scalars"),
        (["one", "--key", "acuracy/top1"], "Did you mean"),
        (["one", "-o", "curves.txt"], "ends in .png"),
    ):
        code, _, err = call("plot", *tokens)
        assert code == 2
        assert told in err


def test_the_environment_is_told(call):
    code, out, _ = call("env")
    assert code == 0
    assert f"PyTorch: {torch.__version__}" in out
    assert "CUDA available" in out
    assert out.count("\n") >= len(collect_env())


def test_a_learning_rate_is_found(call, project):
    code, out, err = call("lr-find", "mine.py", "--updates", "20", "--start-lr", "1e-3")
    assert (code, err) == (0, "")
    assert "learning rate  loss, smoothed" in out
    assert "begin the search there" in out or "never falls" in out
    assert not (project / "work_dirs").exists()
    pytest.importorskip("matplotlib")
    assert call("lr-find", "mine.py", "--updates", "5", "-o", "lr.png")[0] == 0
    assert (project / "lr.png").read_bytes().startswith(b"\x89PNG")
