"""Where the parts of a run leave what the others may want to know."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from ..utils import ManagerMixin, did_you_mean, from_plain, to_plain
from .history_buffer import HistoryBuffer, read_together
from .logger import print_log

if TYPE_CHECKING:
    import numpy as np

    from .waiting import Number

__all__ = ["MessageHub"]


class MessageHub(ManagerMixin):
    """Scalars with their history, and entries of any kind with their newest value only.

    What is written in a training step costs an append: tensors are not read before somebody asks, see
    :class:`HistoryBuffer`.

    Args:
        name: Name of the instance, for :meth:`get_instance`.
        log_scalars: Histories to begin with.
        runtime_info: Infos to begin with.
        resumed_keys: For each key, whether it belongs to the state of the run (True unless given).

    >>> hub = MessageHub("doc")
    >>> hub.update_scalar("train/loss", 0.5)
    >>> hub.update_scalars({"train/lr": 0.1, "train/acc": {"value": 9, "count": 10}})
    >>> hub.get_scalar("train/acc").mean()
    0.9
    >>> hub.update_info("epoch", 3)
    >>> hub.get_info("epoch")
    3
    """

    def __init__(
        self,
        name: str,
        log_scalars: dict[str, HistoryBuffer] | None = None,
        runtime_info: dict[str, Any] | None = None,
        resumed_keys: dict[str, bool] | None = None,
    ) -> None:
        super().__init__(name)
        self._log_scalars = dict(log_scalars or {})
        self._runtime_info = dict(runtime_info or {})
        self._resumed_keys = dict.fromkeys([*self._log_scalars, *self._runtime_info], True)
        self._resumed_keys.update(resumed_keys or {})

    @classmethod
    def get_current_instance(cls) -> Self:
        """Return the hub that was made last; where there is none, one called ``mainspring`` is made."""
        if not cls._instance_dict:
            return cls.get_instance("mainspring")
        return super().get_current_instance()

    def update_scalar(
        self, key: str, value: Number | np.number[Any] | Tensor, count: Number = 1, resumed: bool = True
    ) -> None:
        """Append a value to the history of a scalar.

        Args:
            key: Name of the scalar, such as ``"train/loss"``.
            value: A number, or a tensor with one element; a tensor is detached and not read.
            count: How many samples ``value`` is the sum of.
            resumed: Whether the scalar belongs to the state of the run. The same at every call.

        Raises:
            ValueError: ``value`` has not one element, or ``resumed`` differs from earlier calls.
            TypeError: ``value`` or ``count`` is no number.
        """
        if self._resumed_keys.get(key) is not resumed and self._resumed_keys.setdefault(key, resumed) != resumed:
            raise ValueError(_changed_mind(key, resumed))
        buffer = self._log_scalars.get(key)
        if buffer is None:
            buffer = self._log_scalars[key] = HistoryBuffer(name=key)
        if type(value) is float and count == 1:
            buffer.append(value)
        else:
            buffer.update(value, count)

    def update_scalars(self, log_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Append a value to each of several scalars.

        Args:
            log_dict: For each key a value, or ``dict(value=..., count=...)``.
            resumed: As for :meth:`update_scalar`.

        Raises:
            TypeError: ``log_dict`` is no mapping.
            ValueError: An entry that is a dict has no ``value``, or other keys.
        """
        for key, value in _mapping(log_dict, "log_dict").items():
            if not isinstance(value, Mapping):
                self.update_scalar(key, value, resumed=resumed)
            elif "value" not in value or not value.keys() <= {"value", "count"}:
                raise ValueError(f"log_dict[{key!r}] must be dict(value=..., count=...), got {dict(value)!r}.")
            else:
                self.update_scalar(key, value["value"], value.get("count", 1), resumed)

    def update_info(self, key: str, value: Any, resumed: bool = True) -> None:
        """Set an info.

        Args:
            key: Its name.
            value: Anything. The state of the run takes in numbers, strings, None, tensors, and dicts, lists
                and tuples of these.
            resumed: Whether it belongs to the state of the run. The same at every call.

        Raises:
            ValueError: ``resumed`` differs from earlier calls.
        """
        if self._resumed_keys.setdefault(key, resumed) != resumed:
            raise ValueError(_changed_mind(key, resumed))
        self._runtime_info[key] = value

    def update_info_dict(self, info_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Set several entries; see :meth:`update_info`."""
        for key, value in _mapping(info_dict, "info_dict").items():
            self.update_info(key, value, resumed)

    def pop_info(self, key: str, default: Any = None) -> Any:
        """Remove an info and return it, or ``default`` where there is none."""
        return self._runtime_info.pop(key, default)

    @property
    def log_scalars(self) -> dict[str, HistoryBuffer]:
        """The histories by key."""
        return self._log_scalars

    @property
    def runtime_info(self) -> dict[str, Any]:
        """The entries by key."""
        return self._runtime_info

    def get_scalar(self, key: str) -> HistoryBuffer:
        """Return the history of a scalar.

        Raises:
            KeyError: There is no scalar of that name.
        """
        if key not in self._log_scalars:
            raise KeyError(
                f"The message hub {self.instance_name!r} has no scalar {key!r}."
                f"{did_you_mean(key, self._log_scalars)}"
                f" The scalars are: {', '.join(self._log_scalars) or 'none'}."
            )
        return self._log_scalars[key]

    def get_info(self, key: str, default: Any = None) -> Any:
        """Return an info, or ``default`` where there is none."""
        return self._runtime_info.get(key, default)

    def flush(self) -> None:
        """Bring what waits in all histories to the host, with one transfer from each device.

        Reading several histories after this costs no further wait for the device.
        """
        read_together(self._log_scalars.values())

    def state_dict(self) -> dict[str, Any]:
        """Return what belongs to the state of the run, in plain containers. Reads what waits.

        Infos that are more than plain values are left out, with a line in the log at level ``DEBUG``. Tensors
        in entries are handed on as they are, not copied.
        """
        self.flush()
        kept = {key for key, resumed in self._resumed_keys.items() if resumed}
        infos: dict[str, Any] = {}
        for key in self._runtime_info:
            if key not in kept:
                continue
            try:
                infos[key] = to_plain(self._runtime_info[key], f"runtime_info[{key!r}]")
            except TypeError as error:
                text = f"The info {key!r} of the message hub is not saved: {error}"
                print_log(text, logger="current", level=logging.DEBUG)
        return {
            "log_scalars": {k: buffer.state_dict() for k, buffer in self._log_scalars.items() if k in kept},
            "runtime_info": infos,
            "resumed_keys": dict(self._resumed_keys),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned; what it does not name stays as it is.

        The entries of a dict from MMEngine are taken over, too, and its histories as ``read_checkpoint`` returns them;
        a history in any other form is left out, which the log says.

        Raises:
            TypeError: ``state_dict`` is no mapping.
        """
        state_dict = _mapping(state_dict, "state_dict")
        self._resumed_keys.update(state_dict.get("resumed_keys", {}))
        foreign = []
        for key, history in state_dict.get("log_scalars", {}).items():
            if not isinstance(history, Mapping):
                foreign.append(key)
                continue
            buffer = self._log_scalars.setdefault(key, HistoryBuffer(name=key))
            buffer.load_state_dict(history)
            self._resumed_keys.setdefault(key, True)
        for key, value in state_dict.get("runtime_info", {}).items():
            self._runtime_info[key] = from_plain(value)
            self._resumed_keys.setdefault(key, True)
        if foreign:
            text = f"These scalars were saved in a form that is not read; they begin anew: {', '.join(foreign)}."
            print_log(text, logger="current", level=logging.WARNING)


def _changed_mind(key: str, resumed: bool) -> str:
    return (
        f"{key!r} was written with resumed={not resumed} before and now with resumed={resumed}:"
        " say the same at every call."
    )


def _mapping(value: Any, argument: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{argument} must be a dict, got {value!r} ({type(value).__name__}).")
    return value
