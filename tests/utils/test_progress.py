import io
import operator
import os
import re

import pytest

from mainspring.utils import (
    ProgressBar,
    TimerError,
    track_iter_progress,
    track_parallel_progress,
    track_progress,
    track_progress_rich,
)


def square(number):
    return number * number


def states(text):
    """Return the bars in a text, with what is measured left out."""
    return [re.sub(r"[0-9.]+ (tasks?/s)", r"N \1", bar) for bar in text.split("\r")]


def test_a_bar_fills_up():
    file = io.StringIO()
    bar = ProgressBar(4, bar_width=8, file=file)
    bar.update()
    bar.update(3)
    assert bar.completed == 4
    assert states(file.getvalue()) == [
        "[        ] 0/4, elapsed: 0s, ETA:",
        "[>>      ] 1/4, N task/s, elapsed: 0s, ETA:     0s",
        "[>>>>>>>>] 4/4, N task/s, elapsed: 0s, ETA:     0s",
    ]


def test_a_bar_never_grows_beyond_its_end():
    file = io.StringIO()
    ProgressBar(2, bar_width=4, file=file).update(5)
    assert states(file.getvalue())[-1] == "[>>>>] 5/2, N task/s, elapsed: 0s, ETA:     0s"


def test_without_a_number_of_tasks_they_are_counted():
    file = io.StringIO()
    ProgressBar(file=file).update(3)
    assert states(file.getvalue()) == ["completed: 0, elapsed: 0s", "completed: 3, elapsed: 0s, N tasks/s"]


def test_a_bar_may_be_started_later():
    file = io.StringIO()
    bar = ProgressBar(2, start=False, file=file)
    assert file.getvalue() == ""
    with pytest.raises(TimerError):
        bar.update()
    with pytest.raises(ValueError, match="num_tasks is how many tasks were finished, at least 1, but it is 0"):
        bar.update(0)


def test_a_narrow_terminal_has_a_narrow_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "60")
    file = Terminal()
    ProgressBar(100, file=file).update(50)
    assert all(len(line) < 60 for line in file.getvalue().split("\r"))


@pytest.mark.parametrize("tasks", [[1, 2, 3], range(1, 4), (1, 2, 3), (iter([1, 2, 3]), 3)])
def test_tasks_one_after_the_other(tasks):
    file = io.StringIO()
    assert track_progress(square, tasks, bar_width=3, file=file) == [1, 4, 9]
    shown = states(file.getvalue())
    assert [bar[:5] for bar in shown] == ["[   ]", "[>  ]", "[>> ]", "[>>>]"]
    assert shown[-1].endswith("\n")


def test_a_task_counts_when_it_is_finished():
    file = io.StringIO()
    for number in track_iter_progress([1, 2], bar_width=2, file=file):
        assert states(file.getvalue())[-1].startswith(("[  ]", "[> ]")[number - 1])


def test_further_arguments_go_to_the_function():
    assert track_progress(pow, [2, 3], file=io.StringIO(), exp=2) == [4, 9]


@pytest.mark.parametrize("track", [track_progress, lambda func, tasks: track_iter_progress(tasks)])
def test_tasks_without_a_number(track):
    with pytest.raises(TypeError, match="tasks must be a sequence, or a tuple of an iterator and how many tasks"):
        track(square, (number for number in [1, 2]))


@pytest.mark.parametrize(
    ("options", "bars"), [({}, 6), ({"skip_first": True}, 4), ({"skip_first": True, "chunksize": 2}, 2)]
)
def test_tasks_in_several_processes(options, bars):
    file = io.StringIO()
    assert track_parallel_progress(square, list(range(5)), 2, file=file, **options) == [0, 1, 4, 9, 16]
    assert len(states(file.getvalue())) == bars


def test_results_in_any_order():
    found = track_parallel_progress(square, range(6), 2, keep_order=False, file=io.StringIO())
    assert sorted(found) == [0, 1, 4, 9, 16, 25]


def test_processes_are_prepared(monkeypatch):
    monkeypatch.delenv("PREPARED", raising=False)
    options = {"initializer": os.environ.__setitem__, "initargs": ("PREPARED", "yes")}
    found = track_parallel_progress(os.getenv, (iter(["PREPARED"]), 1), 1, file=io.StringIO(), **options)
    assert found == ["yes"]
    assert "PREPARED" not in os.environ
    with pytest.raises(TypeError, match="initargs must be a tuple, but it is 3"):
        track_parallel_progress(square, [1], 1, initializer=print, initargs=3)


@pytest.mark.parametrize("nproc", [1, 2])
def test_the_bar_of_rich(nproc, capsys):
    assert track_progress_rich(square, [1, 2, 3], nproc=nproc, description="Squares") == [1, 4, 9]
    shown = capsys.readouterr().out
    assert "Squares" in shown
    assert "3/3 100%" in shown


def test_tasks_with_several_arguments_or_none(capsys):
    assert track_progress_rich(operator.add, [(1, 2), [3, 4]]) == [3, 7]
    assert track_progress_rich(len, ["abc"]) == [3]
    assert track_progress_rich(list, task_num=2) == [[], []]
    assert track_progress_rich(square, iter([1, 2])) == [1, 4]
    assert "2/?" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, [1]), TypeError, "func must be a function"),
        ((square, 3), TypeError, "tasks must be something to iterate over"),
        ((square, [1, 2], 3), ValueError, "task_num is 3, but there are 2 tasks"),
        ((square,), ValueError, "tasks is empty: say with task_num"),
        ((square, [1], None, 0), ValueError, "nproc must be at least 1, but it is 0"),
        ((square, [1], None, 1.5), TypeError, "nproc must be an integer, but it is 1.5"),
    ],
)
def test_what_rich_is_not_asked_to_show(arguments, error, message):
    with pytest.raises(error, match=message):
        track_progress_rich(*arguments)
