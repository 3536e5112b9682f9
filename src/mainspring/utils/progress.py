"""Bars that show how far a loop over many tasks has come."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, TextIO

from .timer import Timer

__all__ = ["ProgressBar", "track_iter_progress", "track_parallel_progress", "track_progress", "track_progress_rich"]

Tasks = Sequence[Any] | tuple[Iterable[Any], int]


class ProgressBar:
    """A bar in text, written anew whenever :meth:`update` is called.

    Args:
        task_num: How many tasks there are; 0 if that is not known: then only the finished ones are counted.
        bar_width: How many characters wide the bar is; on a narrow terminal less.
        start: Whether it is shown at once.
        file: Where it is written; the standard output by default.

    Attributes:
        completed: How many tasks are finished.

    >>> bar = ProgressBar(4, bar_width=8)
    [        ] 0/4, elapsed: 0s, ETA:
    """

    def __init__(self, task_num: int = 0, bar_width: int = 50, start: bool = True, file: TextIO | None = None) -> None:
        self.task_num = task_num
        self.bar_width = bar_width
        self.completed = 0
        self.file = sys.stdout if file is None else file
        self.timer = Timer(start=False)
        if start:
            self.start()

    def start(self) -> None:
        """Show it, and count the time from now on."""
        if self.task_num > 0:
            empty = " " * self._width(len(f"[] 0/{self.task_num}, elapsed: 0s, ETA:"))
            self._write(f"[{empty}] 0/{self.task_num}, elapsed: 0s, ETA:")
        else:
            self._write("completed: 0, elapsed: 0s")
        self.timer.start()

    def update(self, num_tasks: int = 1) -> None:
        """Count tasks that were finished.

        Raises:
            ValueError: ``num_tasks`` is less than 1.
            TimerError: The bar was not started.
        """
        if num_tasks < 1:
            raise ValueError(f"num_tasks is how many tasks were finished, at least 1, but it is {num_tasks!r}.")
        self.completed += num_tasks
        elapsed = max(self.timer.since_start(), 1e-9)
        speed = self.completed / elapsed
        if self.task_num <= 0:
            self._write(f"\rcompleted: {self.completed}, elapsed: {elapsed:.0f}s, {speed:.1f} tasks/s")
            return
        part = min(self.completed / self.task_num, 1.0)
        left = max(self.task_num - self.completed, 0) / speed
        numbers = f"{self.completed}/{self.task_num}, {speed:.1f} task/s, elapsed: {elapsed:.0f}s, ETA: {left:5.0f}s"
        width = self._width(len(numbers) + len("[] "))
        filled = int(width * part)
        self._write(f"\r[{'>' * filled}{' ' * (width - filled)}] {numbers}")

    def _width(self, others: int) -> int:
        if not self.file.isatty():
            return self.bar_width
        return min(self.bar_width, max(shutil.get_terminal_size().columns - others - 1, 2))

    def _write(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()


def track_progress(
    func: Callable[..., Any], tasks: Tasks, bar_width: int = 50, file: TextIO | None = None, **kwargs: Any
) -> list[Any]:
    """Call a function for each task, with a bar, and return the results.

    Args:
        func: Called with a task, and with ``kwargs``.
        tasks: A sequence; or a tuple of an iterator and how many tasks it has.
        bar_width: As for :class:`ProgressBar`.
        file: As for :class:`ProgressBar`.
        **kwargs: Further arguments of the function.

    Raises:
        TypeError: ``tasks`` is neither.
    """
    return [func(task, **kwargs) for task in track_iter_progress(tasks, bar_width, file)]


def track_iter_progress(tasks: Tasks, bar_width: int = 50, file: TextIO | None = None) -> Iterator[Any]:
    """Return an iterator over tasks, with a bar; the arguments are those of :func:`track_progress`."""
    items, count = _items_of(tasks)
    return _tracked(items, ProgressBar(count, bar_width, file=file))


def _tracked(items: Iterable[Any], bar: ProgressBar) -> Iterator[Any]:
    for item in items:
        yield item
        bar.update()
    bar.file.write("\n")


def track_parallel_progress(
    func: Callable[..., Any],
    tasks: Tasks,
    nproc: int,
    initializer: Callable[..., Any] | None = None,
    initargs: tuple[Any, ...] | None = None,
    bar_width: int = 50,
    chunksize: int = 1,
    skip_first: bool = False,
    keep_order: bool = True,
    file: TextIO | None = None,
) -> list[Any]:
    """Call a function for each task in several processes, with a bar, and return the results.

    Args:
        func: Called with a task; it must be picklable, as a function of a module is.
        tasks: As for :func:`track_progress`.
        nproc: How many processes.
        initializer: Called once in each process.
        initargs: Its arguments.
        bar_width: As for :class:`ProgressBar`.
        chunksize: How many tasks are sent to a process at a time.
        skip_first: Leave the first tasks, one of each process, out of the bar: they may take longer than the rest.
        keep_order: Whether the results stand in the order of the tasks, or in that in which they were finished.
        file: As for :class:`ProgressBar`.
    """
    items, count = _items_of(tasks)
    if initargs is not None and not isinstance(initargs, tuple):
        raise TypeError(f"initargs must be a tuple, but it is {initargs!r}.")
    import multiprocessing

    unseen = min(nproc * chunksize, count) if skip_first else 0
    bar = ProgressBar(count - unseen, bar_width, start=False, file=file)
    results = []
    with multiprocessing.Pool(nproc, initializer, initargs or ()) as pool:
        if unseen == 0:
            bar.start()
        for result in (pool.imap if keep_order else pool.imap_unordered)(func, items, chunksize):
            results.append(result)
            if len(results) == unseen:
                bar.start()
            elif len(results) > unseen:
                bar.update()
    bar.file.write("\n")
    return results


def _items_of(tasks: Any) -> tuple[Iterable[Any], int]:
    if isinstance(tasks, tuple) and len(tasks) == 2 and isinstance(tasks[0], Iterable) and isinstance(tasks[1], int):
        return tasks
    if isinstance(tasks, Sequence):
        return tasks, len(tasks)
    raise TypeError(
        f"tasks must be a sequence, or a tuple of an iterator and how many tasks it has, but it is {tasks!r}"
        f" ({type(tasks).__name__})."
    )


def track_progress_rich(
    func: Callable[..., Any],
    tasks: Iterable[Any] = (),
    task_num: int | None = None,
    nproc: int = 1,
    chunksize: int = 1,
    description: str = "Processing",
    color: str = "blue",
) -> list[Any]:
    """Call a function for each task, in one process or several, with a bar in colour, and return the results in order.

    Args:
        func: Called with a task; with the items of a task that is a list or a tuple. In several processes it must be
            picklable.
        tasks: The tasks. If there are none, the function is called ``task_num`` times without arguments.
        task_num: How many there are, where ``tasks`` does not know.
        nproc: How many processes.
        chunksize: How many tasks are sent to a process at a time.
        description: What stands before the bar.
        color: The colour of the bar, by a name that rich knows.

    Raises:
        TypeError: ``func`` cannot be called, ``tasks`` not iterated over, or ``nproc`` is no integer.
        ValueError: ``task_num`` is not the number of tasks, or is missing; or ``nproc`` is less than 1.

    >>> track_progress_rich(pow, [(2, 3), (3, 2)])  # doctest: +SKIP
    [8, 9]
    """
    if not callable(func):
        raise TypeError(f"func must be a function, or something else that can be called, but it is {func!r}.")
    if not isinstance(tasks, Iterable):
        raise TypeError(f"tasks must be something to iterate over, such as a list, but it is {tasks!r}.")
    if not isinstance(nproc, int):
        raise TypeError(f"nproc must be an integer, but it is {nproc!r}.")
    if nproc < 1:
        raise ValueError(f"nproc must be at least 1, but it is {nproc}.")
    if isinstance(tasks, Sized):
        if len(tasks) == 0:
            if task_num is None:
                raise ValueError("tasks is empty: say with task_num how often the function is to be called.")
            tasks = [()] * task_num
        elif task_num is not None and task_num != len(tasks):
            raise ValueError(f"task_num is {task_num}, but there are {len(tasks)} tasks. Leave task_num out.")
        task_num = len(tasks)
    call = _Calls(func)
    if nproc == 1:
        return _shown(map(call, tasks), task_num, description, color)
    import multiprocessing

    with multiprocessing.Pool(nproc) as pool:  # before the bar, whose thread and locks a fork would take along
        return _shown(pool.imap(call, tasks, chunksize), task_num, description, color)


def _shown(results: Iterable[Any], count: int | None, description: str, color: str) -> list[Any]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = BarColumn(style="dim", complete_style=color, finished_style=color, pulse_style=color)
    columns = TextColumn("{task.description}"), bar, TimeRemainingColumn(), MofNCompleteColumn()
    finished = []
    with Progress(*columns, TaskProgressColumn(show_speed=True)) as progress:
        shown = progress.add_task(description, total=count)
        for result in results:
            finished.append(result)
            progress.advance(shown)
    return finished


class _Calls:
    """Calls a function with a task, or with the items of it. An object, so that it is picklable."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self._func = func

    def __call__(self, task: Any) -> Any:
        return self._func(*task) if isinstance(task, (list, tuple)) else self._func(task)
