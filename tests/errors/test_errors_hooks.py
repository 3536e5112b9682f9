"""What hooks and their configs may get wrong, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainspring.evaluator import BaseMetric
from mainspring.hooks import CheckpointHook, Hook, IterTimerHook, LoggerHook
from mainspring.registry import RegistryError


class Raising(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        raise ZeroDivisionError("my own mistake")


class TestSlots:
    @pytest.mark.parametrize(
        ("slot", "hook", "meant", "name"),
        [
            ("chekpoint", {"type": "CheckpointHook", "interval": 2}, "checkpoint", "CheckpointHook"),
            ("chekpoint", None, "checkpoint", "CheckpointHook"),
            ("loger", Raising(), "logger", "LoggerHook"),
            ("ema", IterTimerHook(), "timer", "IterTimerHook"),
            ("logger", CheckpointHook(), "checkpoint", "CheckpointHook"),
        ],
    )
    def test_a_slot_beside_the_one_that_is_meant(self, refused, slot, hook, meant, name):
        words = (
            f"default_hooks.{slot} is ",
            f"the slot {meant!r} keeps its {name}",
            f"dict({meant}=...)",
            "custom_hooks",
        )
        refused(ValueError, *words, default_hooks={slot: hook})

    def test_further_slots_are_legal(self, make_runner):
        class Drawing(Hook):
            pass

        slots = {
            "visualization": Drawing(),
            "early_stopping": None,
            "checkpoint": None,
            "checkpoint_often": CheckpointHook(),
        }
        names = [type(hook).__name__ for hook in make_runner(default_hooks=slots).hooks]
        assert names.count("Drawing") == 1
        assert names.count("CheckpointHook") == 1

    @pytest.mark.parametrize(
        ("hook", "kind", "words"),
        [
            (5, TypeError, "default_hooks.logger must be a Hook or a config dict of one"),
            (False, TypeError, "default_hooks.logger must be a Hook"),
            (LoggerHook, TypeError, "default_hooks.logger must be a Hook"),
            ("LoggerHook", TypeError, "default_hooks.logger must be a Hook"),
            ({"interval": 5}, ValueError, "default_hooks.logger has no type: its dict is the whole config of a hook"),
            ({"type": "LogerHook"}, RegistryError, "Did you mean 'LoggerHook'"),
            ({"type": "LoggerHook", "intervall": 5}, TypeError, "Did you mean 'interval'?"),
            ({"type": "LoggerHook", "interval": 0}, ValueError, "LoggerHook: interval must be at least 1"),
            ({"type": "LoggerHook", "interval": "5"}, TypeError, "default_hooks.logger.interval must be an integer"),
            ({"type": "LoggerHook", "priority": "HIHG"}, ValueError, "Did you mean 'HIGH'?"),
            ({"type": "LoggerHook", "priority": 1000}, ValueError, "A priority lies between 0 and 100"),
        ],
    )
    def test_the_hook_in_a_slot(self, refused, hook, kind, words):
        refused(kind, words, default_hooks={"logger": hook})

    @pytest.mark.parametrize("given", [[LoggerHook()], "logger", 3])
    def test_no_dict(self, refused, given):
        words = ("default_hooks must be a dict of hooks by slot", "checkpoint", "custom_hooks")
        refused(TypeError, *words, default_hooks=given)


class Unstaged:
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        pass


class TestCustomHooks:
    @pytest.mark.parametrize("given", [{"type": Raising}, {"a": Raising()}, Raising(), "EMAHook", 3])
    def test_no_list(self, refused, given):
        refused(TypeError, "custom_hooks must be a list of hooks", "custom_hooks=[...]", custom_hooks=given)

    @pytest.mark.parametrize("hook", [Raising, "EMAHook", None, Unstaged(), {"type": Unstaged}])
    def test_no_hook(self, refused, hook):
        refused(TypeError, "custom_hooks[1] must be a Hook or a config dict of one", custom_hooks=[Hook(), hook])

    def test_its_config(self, refused):
        refused(RegistryError, "'IterTimrHook'", "'IterTimerHook'", custom_hooks=[{"type": "IterTimrHook"}])
        words = "IterTimerHook has no argument 'seconds'"
        refused(TypeError, words, custom_hooks=[{"type": "IterTimerHook", "seconds": 1}])


class TestStages:
    def test_an_error_of_a_hook_keeps_its_type_and_traceback_and_gains_a_note(self, make_runner):
        with pytest.raises(ZeroDivisionError, match="my own mistake") as caught:
            make_runner(custom_hooks=[Raising()]).train()
        assert caught.value.__notes__ == ["(raised in the hook Raising, stage after_train_iter)"]
        assert caught.traceback[-1].name == "after_train_iter"
        assert caught.traceback[-1].path.name == "test_errors_hooks.py"
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        ("stage", "method", "call"),
        [
            ("after_train_iter", lambda self, runner: None, "(runner, batch_idx=..., data_batch=..., outputs=...)"),
            ("after_train_epoch", lambda self: None, "(runner)"),
            ("after_val_epoch", lambda self, runner: None, "(runner, metrics=...)"),
            (
                "after_test_iter",
                lambda self, runner, batch: None,
                "(runner, batch_idx=..., data_batch=..., outputs=...)",
            ),
            ("before_save_checkpoint", lambda self, runner, file: None, "(runner, checkpoint=...)"),
        ],
    )
    def test_a_method_with_another_signature_is_refused_before_the_run(self, refused, make_runner, stage, method, call):
        wrong = type("Wrong", (Hook,), {stage: method})
        words = (f"Wrong.{stage}(", "cannot be called", f"It is called as {stage}{call}")
        refused(TypeError, *words, custom_hooks=[wrong()])
        with pytest.raises(TypeError, match=f"Wrong.{stage}"):
            make_runner().register_hook(wrong())

    def test_methods_that_take_more_or_anything_are_fine(self, make_runner):
        seen = []

        class Lenient(Hook):
            def after_train_epoch(self, runner, verbose=False):
                seen.append("epoch")

            def after_val_epoch(self, *args, **kwargs):
                seen.append(sorted(kwargs))

        make_runner(custom_hooks=[Lenient()], train_cfg={"max_epochs": 1}).train()
        assert seen == ["epoch", ["metrics"]]

    def test_a_stage_that_is_no_method(self, refused):
        wrong = type("Wrong", (Hook,), {"before_train": 5})
        refused(TypeError, "Wrong.before_train must be a method", custom_hooks=[wrong()])

    def test_a_misspelt_stage_is_told_of_and_a_stage_of_ones_own_is_not(self, make_runner):
        methods = {"after_train_itr": lambda self, runner: None, "after_encoding": lambda self, runner: None}
        runner = make_runner(custom_hooks=[type("Own", (Hook,), methods)()])
        logged = Path(runner.logger.log_file).read_text()
        assert "Own.after_train_itr is no stage of hooks" in logged
        assert "Did you mean 'after_train_iter'?" in logged
        assert "after_encoding" not in logged

    def test_a_priority_that_there_is_not(self, refused):
        wrong = type("Wrong", (Hook,), {"priority": "LWO"})
        refused(ValueError, "no priority 'LWO'. Did you mean 'LOW'?", custom_hooks=[wrong()])

    def test_nothing_to_register(self, make_runner):
        with pytest.raises(TypeError, match="must be a Hook or a config dict of one"):
            make_runner().register_hook(None)


CHECKPOINTS = {
    "interval": ({"interval": 0}, ValueError, "CheckpointHook: interval must be at least 1, or -1"),
    "interval below": ({"interval": -2}, ValueError, "CheckpointHook: interval must be at least 1, or -1"),
    "interval string": ({"interval": "1"}, TypeError, "default_hooks.checkpoint.interval must be an integer"),
    "keep": ({"max_keep_ckpts": 0}, ValueError, "CheckpointHook: max_keep_ckpts must be at least 1, or -1"),
    "begin": ({"save_begin": -1}, ValueError, "CheckpointHook: save_begin must not be negative"),
    "begin string": ({"save_begin": "1"}, TypeError, "default_hooks.checkpoint.save_begin must be an integer"),
    "unit": ({"by_epoch": "no"}, TypeError, "default_hooks.checkpoint.by_epoch must be True or False"),
    "name": ({"filename_tmpl": "last.pth"}, ValueError, "filename_tmpl must have a {} for the number"),
    "name type": ({"filename_tmpl": 3}, TypeError, "default_hooks.checkpoint.filename_tmpl must be a string"),
    "best": ({"save_best": 3}, TypeError, "default_hooks.checkpoint.save_best must be a string or a list"),
    "best rule": ({"save_best": "quality"}, ValueError, "say rule='greater' or rule='less'"),
    "rule": ({"save_best": "auto", "rule": "grater"}, ValueError, "rule must be 'greater' or 'less'"),
    "rules": ({"save_best": ["acc", "loss"], "rule": ["less"] * 3}, ValueError, "3 rules are given for 2 metrics"),
    "argument": (
        {"save_bset": "auto"},
        TypeError,
        "CheckpointHook has no argument 'save_bset'. Did you mean 'save_best'?",
    ),
}


def watching(name, **options):
    return {"checkpoint": {"type": "CheckpointHook", "save_best": name, **options}}


class Constant(BaseMetric):
    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return {"acc": self.answers.pop(0)}


class TestCheckpointHook:
    @pytest.mark.parametrize("case", CHECKPOINTS, ids=str)
    def test_its_arguments(self, refused, case):
        options, kind, words = CHECKPOINTS[case]
        refused(kind, words, default_hooks={"checkpoint": {"type": "CheckpointHook", **options}})

    def test_a_best_that_no_validation_can_tell(self, refused):
        off = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}
        words = ("save_best='auto'", "there are none", "val_dataloader, val_cfg and val_evaluator")
        refused(ValueError, *words, default_hooks=watching("auto"), **off)

    @pytest.mark.parametrize("names", ["acurracy/top1", ["accuracy/top1", "acurracy/top1"]])
    def test_a_metric_that_nobody_answers(self, make_runner, names):
        with pytest.raises(ValueError, match=r"Did you mean 'accuracy/top1'.*It returned: accuracy/top1") as caught:
            make_runner(default_hooks=watching(names), train_cfg={"max_epochs": 3}).train()
        assert "save_best watches 'acurracy/top1'" in str(caught.value)

    @pytest.mark.parametrize("answer", ["high", None, [1.0, 2.0]])
    def test_a_metric_that_is_no_number(self, make_runner, answer):
        with pytest.raises(TypeError, match="save_best watches 'acc', which must be a number") as caught:
            make_runner(default_hooks=watching("acc"), val_evaluator=Constant(answer)).train()
        assert repr(answer) in str(caught.value)

    def test_a_metric_that_is_not_a_number_is_told_of_and_never_the_best(self, make_runner):
        metric = Constant(float("nan"), 1.0, float("nan"))
        runner = make_runner(
            default_hooks=watching("acc", interval=-1), val_evaluator=metric, train_cfg={"max_epochs": 3}
        )
        runner.train()
        assert [path.name for path in Path(runner.work_dir).glob("best_*")] == ["best_acc_epoch_2.pth"]
        logged = Path(runner.logger.log_file).read_text()
        assert logged.count("save_best watches 'acc', which is not a number (NaN) now") == 2
