"""The hooks of a run, compiled into the calls that each stage really needs."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Collection, Iterator
from copy import copy
from typing import TYPE_CHECKING, Any

from ..logging import print_log
from ..utils import nearest
from .hook import Hook, get_priority

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["HookList", "overrides"]

_Call = tuple[Hook, Callable[..., Any]]

# What Hook's own methods hand a stage on to; overriding the one means acting at the other.
_SHARED = {
    f"{when}_{mode}_{unit}": f"_{when}_{unit}"
    for when in ("before", "after")
    for mode in ("train", "val", "test")
    for unit in ("epoch", "iter")
}


class HookList:
    """Hooks in the order of their priorities; those of one priority in the order of their registration.

    A stage costs a call for each hook that overrides it, or sets it on the instance, and is not idle at it. The others
    cost nothing.
    """

    def __init__(self) -> None:
        self._hooks: list[tuple[int, Hook]] = []
        self._settings: dict[int, dict[str, str]] = {}  # by identity: a hook need not be hashable
        self._stages: dict[str, tuple[_Call, ...]] = {}
        self._running: list[tuple[str, Iterator[_Call]]] = []  # each with the calls that are still to come
        self.warned: set[str] = set()
        """What was said already of the order of the hooks, so that it is not said again at every checkpoint."""

    def __iter__(self) -> Iterator[Hook]:
        return (hook for _, hook in self._hooks)

    def __len__(self) -> int:
        return len(self._hooks)

    @property
    def running(self) -> list[str]:
        """The stages that are being called now, the outermost first."""
        return [stage for stage, _ in self._running]

    def still_to_act(self) -> list[tuple[str, Hook]]:
        """Return the hooks whose turn is still to come in the stages that are being called now, with the stage."""
        return [(stage, hook) for stage, rest in self._running for hook, _ in copy(rest)]

    def settings(self, hook: Hook) -> dict[str, str]:
        """Return what a hook was when it was registered: its class, priority, and public attributes, as text.

        Two hooks of one class are told apart by it when a run goes on. Only attributes of plain values count.
        """
        return self._settings[id(hook)]

    def register(self, hook: Hook, priority: int | str | None = None) -> None:
        """Insert a hook after those of the same priority; by default the priority is the hook's own.

        A hook that is registered during a stage takes part in it, if its turn is still to come.

        Raises:
            TypeError: One of its stages does not take what the loops hand it.
        """
        if isinstance(hook.idle_at, str) or not isinstance(hook.idle_at, Collection):
            raise TypeError(
                f"{type(hook).__name__}.idle_at must be a collection of stages, such as ('after_train_iter',), but it"
                f" is {hook.idle_at!r}. An attribute that is meant for something else needs another name."
            )
        _check_stages(hook)
        number = get_priority(hook.priority if priority is None else priority)
        index = len(self._hooks)
        while index > 0 and self._hooks[index - 1][0] > number:
            index -= 1
        self._hooks.insert(index, (number, hook))
        self._settings[id(hook)] = _settings(hook, number)
        self._stages = {}

    def call(self, stage: str, runner: Runner, **kwargs: Any) -> None:
        """Call every hook that acts at ``stage``.

        An exception leaves as it is, with a note that names the hook and the stage.
        """
        methods = self._stages.get(stage)
        rest = iter(self._compile(stage) if methods is None else methods)
        self._running.append((stage, rest))
        try:
            while True:
                compiled = self._stages
                for hook, method in rest:  # noqa: B007  an error that leaves names the hook
                    method(runner, **kwargs)
                    if self._stages is not compiled:
                        break
                else:
                    return
                # It registered a hook: go on behind it in the new order.
                methods = self._compile(stage)
                index = 1 + next(i for i, (other, _) in enumerate(methods) if other is hook)
                rest = iter(methods[index:])
                self._running[-1] = stage, rest
        except Exception as error:
            error.add_note(f"(raised in the hook {type(hook).__name__}, stage {stage})")
            raise
        finally:
            self._running.pop()

    def _compile(self, stage: str) -> tuple[_Call, ...]:
        found = ((hook, _acts_at(hook, stage)) for _, hook in self._hooks)
        methods = tuple((hook, method) for hook, method in found if method is not None)
        self._stages[stage] = methods
        return methods

    def stop(self, runner: Runner) -> None:
        """Tell every hook that a signal ends the training, or asks for a checkpoint."""
        for _, hook in self._hooks:
            try:
                hook.before_stop(runner)
            except Exception as error:
                error.add_note(f"(raised in the hook {type(hook).__name__}, before_stop)")
                raise

    def close(self) -> None:
        """Close every hook: the run is over, however it ended.

        One that fails keeps none of the others from being closed; its error is logged, so that it hides none of the
        run's own.
        """
        for _, hook in self._hooks:
            try:
                hook.close()
            except Exception as error:
                name = type(hook).__name__
                print_log(f"{name}.close() failed: {type(error).__name__}: {error}", "current", logging.ERROR)
        self._stages = {}  # in the next run others may be idle


def overrides(hook: Hook, stage: str) -> bool:
    """Whether the hook acts at a stage."""
    return _acts_at(hook, stage) is not None


def _acts_at(hook: Hook, stage: str) -> Callable[..., Any] | None:
    """Return the hook's method for a stage, or None where that would only be Hook's own, which does nothing."""
    method: Callable[..., Any] | None = getattr(hook, stage, None)
    if method is None or stage in hook.idle_at:
        return None
    if _is_own(hook, stage):
        return method
    shared = _SHARED.get(stage)
    return method if shared is not None and _is_own(hook, shared) else None


def _settings(hook: Hook, priority: int) -> dict[str, str]:
    public = {name: value for name, value in vars(hook).items() if not name.startswith("_") and _is_setting(value)}
    kind = type(hook)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "priority": str(priority),
        **{
            f".{name}": os.fspath(value) if isinstance(value, os.PathLike) else repr(value)
            for name, value in public.items()
        },
    }


def _is_setting(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, (str, int, float, os.PathLike))


def _check_stages(hook: Hook) -> None:
    """Find at once what would be found when the stage comes, or never."""
    name = type(hook).__name__
    for stage in Hook.stages:
        method = _acts_at(hook, stage)
        if method is None:
            continue
        if not callable(method):
            raise TypeError(f"{name}.{stage} must be a method, since it is a stage of hooks, but it is {method!r}.")
        first, *others = list(inspect.signature(getattr(Hook, stage)).parameters)[1:]
        try:
            signature = inspect.signature(method)
        except ValueError:  # written in C
            continue
        try:
            signature.bind(first, **dict.fromkeys(others))
        except TypeError as error:
            raise TypeError(
                f"{name}.{stage}{signature} cannot be called: {error}. It is called as"
                f" {stage}({', '.join([first, *(f'{other}=...' for other in others)])})."
            ) from error
    for attribute in dir(type(hook)):
        if attribute.startswith(("before_", "after_")) and not hasattr(Hook, attribute):
            meant = nearest(attribute, Hook.stages, cutoff=0.8)
            if meant:
                print_log(
                    f"{name}.{attribute} is no stage of hooks, so that no loop calls it. Did you mean {meant[0]!r}?",
                    logger="current",
                    level=logging.WARNING,
                )


def _is_own(hook: Hook, name: str) -> bool:
    if name in vars(hook):
        return True
    return getattr(type(hook), name, None) is not getattr(Hook, name, None)
