"""The history of one scalar, read from the device as late and as seldom as possible."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..device import number_at_hand
from ..utils import did_you_mean
from .waiting import Arrived, Number, Waiting, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["HistoryBuffer", "read_together"]

_FOLD = 512
"""How many values may wait one by one before they are joined."""


class HistoryBuffer:
    """The newest values of one scalar, with statistics over a window of them.

    :meth:`update` only appends: a tensor stays on its device until something is read. Then all that waits
    comes to the host together, as float64. Where nobody reads, hundreds of waiting tensors become one.

    Only the newest ``max_length`` entries are kept. The sums of all values and counts ever given go on, so
    that the :meth:`mean` of everything stays exact.

    Args:
        log_history: Values to begin with.
        count_history: Their counts.
        max_length: How many entries are kept.
        name: What the scalar is called in messages.

    Raises:
        ValueError: The two histories differ in length, or ``max_length`` is not positive.

    >>> buffer = HistoryBuffer()
    >>> buffer.update(torch.tensor(1.0))
    >>> buffer.update(2.5)
    >>> buffer.mean(), buffer.max(), buffer.current()
    (1.75, 2.5, 2.5)
    >>> buffer.statistics("mean", window_size=1)
    2.5
    """

    _statistics_methods: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(
        self,
        log_history: Sequence[Number] = (),
        count_history: Sequence[Number] = (),
        max_length: int = 10_000,
        *,
        name: str = "",
    ) -> None:
        if len(log_history) != len(count_history):
            raise ValueError(
                f"log_history and count_history must be equally long, but there are {len(log_history)} values"
                f" and {len(count_history)} counts."
            )
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}.")
        self.max_length = max_length
        self.name = name
        self._values: deque[float] = deque(maxlen=max_length)
        self._counts: deque[Number] = deque(maxlen=max_length)
        self._total_sum = 0.0
        self._total_count: Number = 0
        self._total_updates = 0
        self._waiting = Waiting(max_length, self._called)
        self._pending = self._waiting.pending
        self._append([float(value) for value in log_history], list(count_history))

    def update(self, log_val: Number | np.number[Any] | Tensor, count: Number = 1) -> None:
        """Append a value.

        Args:
            log_val: A number, or a tensor (or array) with one element. A tensor on a device is detached and not
                read; of one that has been changed in place, and of a view, a copy is taken. Change no other one
                afterwards.
            count: How many samples ``log_val`` is the sum of: a mean is the sum of values by the sum of counts.

        Raises:
            ValueError: ``log_val`` has more than one element, or none.
            TypeError: ``log_val`` or ``count`` is no number.
        """
        value = log_val
        if isinstance(value, Tensor):
            number = number_at_hand(value)
            value = value if number is None else number
        if isinstance(value, Tensor):
            if value.requires_grad:
                # A leaf is a parameter, which the next update changes.
                value = value.detach().clone() if value.is_leaf else value.detach()
            if value.dim() != 0:
                if value.numel() != 1:
                    raise ValueError(self._no_scalar(value))
                value = value.reshape(())
            try:
                # What is written to (a running sum) will be again; a view may keep a large tensor alive.
                shared = value._version != 0 or value._is_view()
            except RuntimeError:  # made in inference mode: nobody counts what is written to it
                shared = True
            if shared:
                value = value.clone()
        elif type(value) is not float:
            value = float(self._number(value))
        if type(count) is not int:
            count = self._checked_count(count)
        if count != 1:
            self._waiting.count_next(count)
        pending = self._pending
        pending.append(value)
        if len(pending) >= _FOLD:
            self._waiting.fold()

    def append(self, value: float) -> None:
        """Append a number whose count is 1: :meth:`update` without the questions what it was given."""
        pending = self._pending
        pending.append(value)
        if len(pending) >= _FOLD:
            self._waiting.fold()

    @property
    def data(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The values and the counts that are kept, two float64 arrays."""
        self._read()
        return np.array(self._values, dtype=np.float64), np.array(self._counts, dtype=np.float64)

    @property
    def total_sum(self) -> float:
        """The sum of all values ever given."""
        self._read()
        return self._total_sum

    @property
    def total_count(self) -> Number:
        """The sum of all counts ever given."""
        self._read()
        return self._total_count

    @property
    def total_updates(self) -> int:
        """How many values were ever given."""
        return self._total_updates + len(self._waiting)

    def mean(self, window_size: int | None = None) -> float:
        """Return the sum of values over the sum of counts.

        Args:
            window_size: Of the newest so many entries. None, or a number that covers all, means everything
                ever given, also what is no longer kept. A number between that and ``max_length`` means what
                is kept.

        Raises:
            ValueError: There is no value yet, or ``window_size`` is not positive.
        """
        if window_size is None or window_size >= self.total_updates:
            self._check(window_size)
            total, count = self._total_sum, self._total_count
        else:
            total = sum(self._window(window_size))
            count = sum(_newest(self._counts, window_size))
        return total / count if count else float("nan")

    def min(self, window_size: int | None = None) -> float:
        """Return the smallest of the newest ``window_size`` (None: of all) entries that are kept."""
        return float(np.min(self._window(window_size)))

    def max(self, window_size: int | None = None) -> float:
        """Return the largest of the newest ``window_size`` (None: of all) entries that are kept."""
        return float(np.max(self._window(window_size)))

    def current(self) -> float:
        """Return the newest value."""
        return self._window(1)[0]

    def statistics(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """Return a statistic by its name.

        Args:
            method_name: ``"mean"``, ``"min"``, ``"max"``, ``"current"``, or what was registered.
            *args: Handed on to the method.
            **kwargs: Handed on to the method.

        Raises:
            KeyError: There is no statistic of that name.
        """
        methods = self._statistics_methods
        if method_name not in methods:
            raise KeyError(
                f"There is no statistic called {method_name!r}.{did_you_mean(method_name, methods)}"
                f" The statistics are: {', '.join(methods)}."
            )
        return methods[method_name](self, *args, **kwargs)

    @classmethod
    def register_statistics(cls, method: Callable[..., Any]) -> Callable[..., Any]:
        """Add a statistic: a function of a buffer and arguments of its own, called by its name. A decorator.

        Raises:
            ValueError: Another function is registered under that name.

        >>> @HistoryBuffer.register_statistics
        ... def spread(buffer, window_size):
        ...     values, counts = buffer.data
        ...     return float(np.ptp(values[-window_size:]))
        >>> HistoryBuffer([3, 1, 2], [1, 1, 1]).statistics("spread", window_size=2)
        1.0
        """
        name = method.__name__
        known = cls._statistics_methods.setdefault(name, method)
        if (known.__module__, known.__qualname__) != (method.__module__, method.__qualname__):
            raise ValueError(f"There is a statistic called {name!r} already: give the function another name.")
        cls._statistics_methods[name] = method  # a notebook cell that runs again
        return method

    @property
    def _log_history(self) -> np.ndarray[Any, Any]:
        # Statistics written for MMEngine read this name and the next.
        return self.data[0]

    @property
    def _count_history(self) -> np.ndarray[Any, Any]:
        return self.data[1]

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept and the totals, as tensors and numbers. Reads what waits."""
        self._read()
        return {
            "values": torch.tensor(list(self._values), dtype=torch.float64),
            "counts": torch.tensor(list(self._counts), dtype=torch.float64),
            "total_sum": self._total_sum,
            "total_count": self._total_count,
            "total_updates": self._total_updates,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Replace the history by that of :meth:`state_dict`."""
        self._waiting.clear()
        self._values = deque(state_dict["values"].tolist(), maxlen=self.max_length)
        self._counts = deque(state_dict["counts"].tolist(), maxlen=self.max_length)
        self._total_sum = state_dict["total_sum"]
        self._total_count = state_dict["total_count"]
        self._total_updates = state_dict["total_updates"]

    def _window(self, window_size: int | None) -> list[float]:
        self._check(window_size)
        return _newest(self._values, len(self._values) if window_size is None else window_size)

    def _check(self, window_size: int | None) -> None:
        self._read()
        if not self._values:
            raise ValueError(f"The history of {self._called} is empty: call update first.")
        if window_size is not None and window_size < 1:
            raise ValueError(f"window_size must be at least 1, got {window_size} for {self._called}.")

    def _read(self) -> None:
        if self._waiting:
            read_together([self])

    def _append_arrived(self, arrived: Arrived) -> None:
        self._total_sum += arrived.dropped_sum
        self._total_count += arrived.dropped_count
        self._total_updates += arrived.dropped_updates
        self._append(arrived.values, arrived.counts)

    def _append(self, values: Sequence[Number], counts: Sequence[Number]) -> None:
        # One by one, so that the sum does not depend on how often the buffer is read: sum() is more exact than that.
        total = self._total_sum
        for value in values:
            total += value
        self._total_sum = total
        self._total_count += sum(counts)
        self._total_updates += len(values)
        self._values += values
        self._counts += counts

    @property
    def _called(self) -> str:
        return repr(self.name) if self.name else "this buffer"

    def _no_scalar(self, value: Any) -> str:
        return (
            f"The value logged as {self._called} must have one element, but its shape is"
            f" {tuple(value.shape)}. Log its mean or sum, for example."
        )

    def _number(self, value: Any) -> Number:
        if isinstance(value, (int, float)):
            return value
        if isinstance(value, (np.generic, np.ndarray)):
            if value.size != 1:
                raise ValueError(self._no_scalar(value))
            return self._number(value.item())
        raise TypeError(
            f"The value logged as {self._called} must be a number or a tensor with one element,"
            f" got {value!r} ({type(value).__name__})."
        )

    def _checked_count(self, count: Any) -> Number:
        if isinstance(count, np.number):
            count = count.item()
        if not isinstance(count, (int, float)):
            raise TypeError(
                f"The count logged with {self._called} must be a number, got {count!r} ({type(count).__name__})."
            )
        return count


for _method in (HistoryBuffer.mean, HistoryBuffer.min, HistoryBuffer.max, HistoryBuffer.current):
    HistoryBuffer.register_statistics(_method)


def _newest(entries: deque[Any], count: int) -> list[Any]:
    """Return the newest entries, in their order."""
    return list(islice(reversed(entries), count))[::-1]


def read_together(buffers: Iterable[HistoryBuffer]) -> None:
    """Bring all that waits in the buffers to the host, with one transfer from each device."""
    unread = []
    for buffer in buffers:
        if buffer._waiting.has_numbers_only():
            buffer._append(*buffer._waiting.take_pending())
        else:
            unread.append(buffer)
    for buffer, arrived in zip(unread, fetch([buffer._waiting for buffer in unread]), strict=True):
        buffer._append_arrived(arrived)
