import json
import warnings

import pytest

from mainspring.hooks import Hook, ProfilerHook

NO_VALIDATION = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}


@pytest.fixture(autouse=True)
def _allow_torchs_own_words():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning: Profiler clears events at the end of each cycle")
        yield


@pytest.mark.parametrize(
    ("options", "ready_at"),
    [
        ({}, [5]),
        ({"profile_times": 2}, [10]),
        ({"by_epoch": False, "profile_times": 3}, [3]),
        ({"by_epoch": False, "profile_times": 6, "schedule": {"wait": 1, "warmup": 1, "active": 1}}, [3, 6]),
    ],
)
def test_traces_are_ready_when_they_should_be(make_runner, options, ready_at):
    ready = []
    hook = ProfilerHook(on_trace_ready=lambda profiler: ready.append(profiler.step_num), **options)
    make_runner(custom_hooks=[hook], **NO_VALIDATION).train()
    assert ready == ready_at


def test_a_trace_goes_to_a_file(make_runner, tmp_path):
    path = tmp_path / "traces" / "trace.json"
    hook = ProfilerHook(by_epoch=False, profile_times=2, json_trace_path=str(path), record_shapes=True)
    make_runner(custom_hooks=[hook], **NO_VALIDATION).train()
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert "aten::addmm" in names
    assert not [name for name in names if name is not None and name.startswith("ProfilerStep#2")]


@pytest.mark.parametrize(
    ("on_trace_ready", "heading"),
    [(None, "Self CPU %"), ({"type": "log_trace", "header": "Where it goes", "row_limit": 3}, "Where it goes")],
)
def test_a_table_is_logged(make_runner, on_trace_ready, heading):
    hook = ProfilerHook(by_epoch=False, on_trace_ready=on_trace_ready)
    runner = make_runner(custom_hooks=[hook], log_level="INFO", **NO_VALIDATION)
    runner.train()
    with open(runner.logger.log_file, encoding="utf-8") as file:
        assert heading in file.read()


def test_traces_for_tensorboard(make_runner):
    for options, folder in (({}, "tf_tracing_logs"), ({"dir_name": "mine", "worker_name": "w"}, "mine")):
        hook = ProfilerHook(by_epoch=False, on_trace_ready={"type": "tb_trace", **options})
        runner = make_runner(custom_hooks=[hook], **NO_VALIDATION)
        runner.train()
        assert [path.suffix for path in (runner.env.work_dir / folder).iterdir()] == [".json"]


def test_an_interrupted_run_leaves_no_profiler_behind(make_runner):
    class Breaks(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            raise KeyError("broken")

    ready = []
    hooks = [Breaks(), ProfilerHook(on_trace_ready=ready.append)]
    with pytest.raises(KeyError, match="broken"):
        make_runner(custom_hooks=hooks, **NO_VALIDATION).train()
    assert ready == []
    make_runner(custom_hooks=[ProfilerHook(on_trace_ready=ready.append)], **NO_VALIDATION).train()
    assert len(ready) == 1


def test_a_run_that_ends_early_gives_what_it_has(make_runner):
    class Stops(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.train_loop.stop_training = batch_idx == 2

    ready = []
    hooks = [
        Stops(),
        ProfilerHook(by_epoch=False, profile_times=9, on_trace_ready=lambda one: ready.append(one.step_num)),
    ]
    make_runner(custom_hooks=hooks, **NO_VALIDATION).train()
    assert len(ready) == 1


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({"profile_times": 3}, {}, "profile_times is 3 epochs, but the run has 2"),
        ({"by_epoch": False, "profile_times": 11}, {}, "profile_times is 11 iterations, but the run has 10"),
        ({}, {"train_cfg": {"by_epoch": False, "max_iters": 4}}, "this run counts iterations: write by_epoch=False"),
    ],
)
def test_more_than_the_run_has(make_runner, options, changes, message):
    with pytest.raises(ValueError, match=message):
        make_runner(custom_hooks=[ProfilerHook(**options)], **NO_VALIDATION, **changes).train()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"by_epoch": 1}, TypeError, "ProfilerHook: by_epoch must be True or False"),
        ({"profile_times": 0}, ValueError, "profile_times must be at least 1, but it is 0"),
        ({"activity_with_cpu": False}, ValueError, "there is nothing to record"),
        ({"schedule": 3}, TypeError, "schedule must be a dict or None"),
        ({"schedule": {"wate": 1}}, ValueError, r"schedule.wate: there is no such option. Did you mean 'wait'\?"),
        ({"schedule": {"wait": 1}}, ValueError, "schedule is {'wait': 1}, which torch.profiler refuses"),
        ({"on_trace_ready": 3}, TypeError, "on_trace_ready must be a function, or dict"),
        ({"on_trace_ready": {"type": "log"}}, ValueError, "must be 'log_trace' or 'tb_trace', but it is 'log'"),
        ({"on_trace_ready": {"type": "log_trace", "sort": 1}}, ValueError, "on_trace_ready.sort: .* 'sort_by'"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        ProfilerHook(**options)


def test_a_device_that_is_not_there_is_said(make_runner, monkeypatch):
    monkeypatch.setattr(
        "mainspring.hooks.profiler_hook.supported_activities",
        lambda: {__import__("torch").profiler.ProfilerActivity.CPU},
    )
    ready = []
    hook = ProfilerHook(activity_with_cpu=False, activity_with_cuda=True, on_trace_ready=ready.append)
    runner = make_runner(custom_hooks=[hook], **NO_VALIDATION)
    runner.train()
    with open(runner.logger.log_file, encoding="utf-8") as file:
        assert "torch's profiler finds no device here" in file.read()
    assert len(ready) == 1
