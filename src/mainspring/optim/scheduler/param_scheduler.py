"""What all schedulers share: counting, composition, state."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from ...logging import print_log
from ...utils import check_type
from .arguments import active_range, number, whole_number
from .chain import HasParamGroups, chain_of
from .recursion import Recursion
from .units import accumulative_counts, check_unit, chosen_unit, in_updates, times

__all__ = ["INF", "_ParamScheduler"]

INF = int(1e9)


class _ParamScheduler:
    """Base class of the schedulers of an optimizer's parameters.

    A scheduler counts the calls of :meth:`step`, the constructor's own being the first, from 0. It acts at
    the counts ``begin`` to ``end - 1``; ``last_step`` counts these, also from 0. Before, it hands on the
    value that enters it; after, it keeps to its last step.

    In a run it is stepped at the end of each epoch or iteration (``by_epoch``), as in MMEngine; so where
    ``accumulative_counts`` iterations make one update, the value of an iteration is the same as without. With
    ``unit='update'`` it is stepped once for each update of its optimizer instead, so that the value of an update
    is the same whatever the accumulation.

    What enters the first scheduler of a parameter is the group's base value, kept as
    ``initial_<param_name>``; what enters the next is what left the one before; the optimizer gets what
    leaves the last. Their order is that of construction. So those that overlap multiply, and so do two that
    are made alike for one optimizer. A value depends on the base values and the counts alone, never on how
    they were reached, and a value that is written into a group by hand lasts until the next step of a
    scheduler that acts. To move the whole schedule, change ``base_values``, which all schedulers of the
    parameter share.

    A subclass stores its settings, then calls this constructor, which makes the first step already. It
    defines one of two methods:

    - ``_value_at(entering, base, step)``, a formula;
    - ``_get_value()``, which reads ``self.optimizer.param_groups[i][self.param_name]`` (what the scheduler
      itself gave last), ``self.last_step`` and ``self.base_values``, and returns the next value of each
      group. What it remembers in attributes is saved as far as it is plain: numbers, strings, None, and
      lists, tuples and dicts of them.

    Args:
        optimizer: An optimizer, or a wrapper with ``param_groups``.
        param_name: The key in ``param_groups``: ``'lr'``, ``'momentum'`` (of optimizers with ``betas``, the
            first of these), ``'weight_decay'``, ...
        begin: The count at which it begins to act.
        end: The count from which it no longer acts.
        last_step: To go on without a state: the ``last_step`` that was reached; the optimizer's groups must
            then hold ``initial_<param_name>``. It takes the place of a scheduler of the same class,
            ``begin`` and ``end`` that the optimizer may still have.
        by_epoch: Whether it counts epochs, rather than iterations.
        verbose: Whether each value is logged.
        unit: What it counts, instead of ``by_epoch``: ``'epoch'``, ``'iter'``, or ``'update'``, the updates of
            the optimizer. One that a loss scaler or :class:`~mainspring.hooks.BadNumbersHook` leaves out counts too.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``begin``, ``end``, ``last_step`` or ``unit`` is impossible.
        KeyError: The groups have no such parameter, or no initial value to go on from.

    >>> import torch
    >>> class Halving(_ParamScheduler):
    ...     def _value_at(self, entering, base, step):
    ...         return entering / 2**step
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    >>> scheduler = Halving(optimizer, "lr", begin=1, end=4)
    >>> values = []
    >>> for _ in range(5):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> values
    [0.8, 0.8, 0.4, 0.2, 0.2]
    """

    _lengths: ClassVar[tuple[str, ...]] = ()
    """The settings that are counted in steps, besides ``begin`` and ``end``."""

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        settings = dict(vars(self))
        owner = type(self).__name__
        _check_optimizer(optimizer, owner)
        check_type(param_name, str, f"{owner}.param_name")
        check_type(by_epoch, bool, f"{owner}.by_epoch")
        check_type(verbose, bool, f"{owner}.verbose")
        last_step = whole_number(f"{owner}.last_step", last_step, low=-1, cure="-1 is a new schedule.")
        self.optimizer = optimizer
        self.param_name = param_name
        self.begin, self.end = active_range(owner, begin, end)
        self.unit = chosen_unit(owner, unit, by_epoch)
        """What it counts: ``'epoch'``, ``'iter'`` or ``'update'``."""
        self.by_epoch = self.unit == "epoch"
        self.verbose = verbose
        self.last_step = -1
        self._global_step = -1
        if last_step >= 0:
            _check_initial_values(optimizer, param_name, owner)
        self._chain = chain_of(optimizer, param_name)
        self.base_values = self._chain.base_values
        recursive = type(self)._get_value is not _ParamScheduler._get_value
        self._recursion = Recursion(self, settings) if recursive else None

        others = self._chain.schedulers
        self._chain.add(self, resumes=last_step >= 0)
        try:
            if last_step >= 0:
                self._go_to(self.begin + last_step, last_step)
            self.step()
        except BaseException:
            self._chain.take(others)  # one that failed must not take part
            raise
        self._chain.write()

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        begin: float = 0,
        end: float = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        unit: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a scheduler that counts iterations, or updates, from arguments that count epochs.

        Args:
            *args: The constructor's; those that count epochs are given by name.
            begin: In epochs; half ones are fine.
            end: In epochs.
            by_epoch: Must be True.
            epoch_length: Iterations in an epoch.
            unit: ``'update'`` for one that counts updates, as many in an epoch as the ``accumulative_counts`` of the
                optimizer's wrapper say; each length is rounded up to whole ones.
            **kwargs: The constructor's.

        Raises:
            ValueError: ``by_epoch`` is False, or ``epoch_length`` is missing or no positive number.
        """
        owner = cls.__name__
        if not by_epoch:
            raise ValueError(
                f"{owner}.by_epoch is False, so it counts iterations already, and there is nothing to"
                " convert. Leave out convert_to_iter_based, or by_epoch=False."
            )
        if epoch_length is None:
            raise ValueError(f"{owner}.epoch_length is missing: give the iterations of an epoch, len(dataloader).")
        length = whole_number(f"{owner}.epoch_length", epoch_length, low=1, cure="Give len(dataloader).")
        if unit is not None and unit != "update":
            raise ValueError(
                f"{owner}.unit is {unit!r}, but what is converted from epochs counts iterations. Leave unit out, or"
                " write unit='update' for one that counts updates."
            )
        for name in cls._lengths:
            kwargs[name] = times(kwargs.get(name), length)
        kwargs["begin"] = int(number(f"{owner}.begin", begin) * length)
        kwargs["end"] = INF if end == INF else int(number(f"{owner}.end", end) * length)
        if unit == "update":
            group = accumulative_counts(args[0] if args else kwargs.get("optimizer"))
            for name in (*cls._lengths, "begin", "end"):
                kwargs[name] = kwargs[name] if kwargs[name] == INF else in_updates(kwargs[name], group)
            kwargs["unit"] = unit
        else:
            kwargs["by_epoch"] = False
        return cls(*args, **kwargs)

    def step(self) -> None:
        """Count one more epoch, iteration or update, and set the groups' values where that changes them."""
        self._global_step += 1
        if self.begin <= self._global_step < self.end:
            self.last_step += 1
            if self._recursion is not None:
                self._recursion.advance(self._chain)
            values = self._chain.write()
            if self.verbose:
                self._report(values)

    def get_last_value(self) -> list[float]:
        """Return the value of each group as the schedules of this parameter set it last."""
        return list(self._chain.values)

    def state_dict(self) -> dict[str, Any]:
        """Return how far the scheduler is; its settings are the config's."""
        state: dict[str, Any] = {
            "last_step": self.last_step,
            "_global_step": self._global_step,
            "by_epoch": self.by_epoch,
        }
        if self.unit == "update":  # the other two are told by by_epoch
            state["unit"] = self.unit
        if self._recursion is not None:
            state["_recursion"] = self._recursion.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the progress of a state, under this scheduler's own settings.

        So a ``T_max``, ``end`` or ``gamma`` that was changed on purpose takes effect from here on. The
        groups get their values at once; where several schedulers share a parameter, load them in the order
        of construction.

        Args:
            state_dict: What :meth:`state_dict` returned, ours or MMEngine's.

        Raises:
            KeyError: It is no scheduler's state.
            ValueError: It counts epochs and this scheduler iterations, or anything else that differs.
        """
        owner = type(self).__name__
        missing = [key for key in ("last_step", "_global_step") if key not in state_dict]
        if missing:
            raise KeyError(
                f"A state for {owner} needs {' and '.join(missing)}, but this one has:"
                f" {', '.join(map(str, state_dict)) or 'nothing'}."
            )
        check_unit(owner, state_dict, self.unit)
        count, last_step = state_dict["_global_step"], state_dict["last_step"]
        if "begin" in state_dict and last_step >= 0:
            # MMEngine starts this count anew when it is given a last_step, which then is further on.
            count = max(count, state_dict["begin"] + last_step)
        remembered = state_dict.get("_recursion")
        if self._recursion is not None and remembered is not None:
            self._global_step, self.last_step = count, last_step
            self._recursion.load_state_dict(remembered)
        else:
            self._go_to(count, last_step)
        self._chain.record_base_values()
        self._chain.write()

    def _value_at(self, entering: float, base: float, step: int) -> float:
        """Return what leaves the scheduler.

        Args:
            entering: What the scheduler before hands on; the base value where there is none.
            base: The group's base value.
            step: The scheduler's own step, 0 at ``begin`` and ``end - begin - 1`` at most.
        """
        raise NotImplementedError(f"{type(self).__name__} must define _value_at(entering, base, step).")

    def _get_value(self) -> list[float]:
        """Return what leaves the scheduler at its present step, for each group."""
        entering = self._chain.entering(self)
        return [
            self._value_at(value, base, self.last_step) for value, base in zip(entering, self.base_values, strict=True)
        ]

    def _output(self, entering: float, base: float, index: int) -> float:
        if self.last_step < 0:
            return entering
        if self._recursion is not None:
            return self._recursion.output(entering, index)
        return self._value_at(entering, base, self.last_step)

    def _go_to(self, count: int, last_step: int) -> None:
        self._global_step = count
        if self._recursion is not None:
            self._recursion.replay(self._chain, last_step)
        else:
            # From the count, so that a range that was changed takes effect.
            self.last_step = min(count, self.end - 1) - self.begin if count >= self.begin else -1

    def _report(self, values: list[float]) -> None:
        for index, value in enumerate(values):
            print_log(
                f"{type(self).__name__}: {self.param_name} of group {index} is now {value:.4e}.",
                logger="current",
            )


def _check_optimizer(optimizer: Any, owner: str) -> None:
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise TypeError(
            f"{owner}.optimizer must be an optimizer or an OptimWrapper, with a list of param_groups, but it"
            f" is {optimizer!r} ({type(optimizer).__name__}). With several optimizers, make schedulers for"
            " each."
        )


def _check_initial_values(optimizer: HasParamGroups, param_name: str, owner: str) -> None:
    for index, group in enumerate(optimizer.param_groups):
        if f"initial_{param_name}" not in group:
            raise KeyError(
                f"{owner}.last_step is given, but group {index} has no 'initial_{param_name}' to go on"
                " from. Load the optimizer's state first, or leave last_step out for a new schedule."
            )
