"""Where images and labels lie in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..utils import did_you_mean, rebuilt_mapping, rebuilt_sequence

__all__ = ["Slot"]


@dataclass(frozen=True)
class Slot:
    """Where one thing lies in a batch: at a position of a tuple or list, under a key of a dict.

    >>> labels = Slot(1, "labels")
    >>> labels.read(("images", [3, 4]), "MixUp")
    [3, 4]
    >>> labels.written({"inputs": "images", "labels": [3, 4]}, [5, 6])
    {'inputs': 'images', 'labels': [5, 6]}
    """

    position: int
    key: str

    def read(self, data: Any, reader: str) -> Any:
        """Return what lies there.

        Args:
            data: A batch.
            reader: Who asks; begins the messages.

        Raises:
            KeyError: A dict lacks the key.
            ValueError: A tuple or list is too short.
            TypeError: The batch is none of these.
        """
        if isinstance(data, Mapping):
            if self.key not in data:
                raise KeyError(
                    f"{reader} looks for {self.key!r} in a batch that is a dict, but it has the keys"
                    f" {', '.join(map(repr, data)) or '(none)'}.{did_you_mean(self.key, map(str, data))}"
                )
            return data[self.key]
        if isinstance(data, (tuple, list)):
            if self.position >= len(data):
                raise ValueError(
                    f"{reader} looks for {self.key!r} at position {self.position} of a batch that is a"
                    f" {type(data).__name__}, but it has {len(data)} elements."
                )
            return data[self.position]
        raise TypeError(
            f"{reader} takes a batch that is a tuple, a list or a dict, but got {type(data).__name__}. Let"
            " the data set or its collate function return one of these."
        )

    def written(self, data: Any, value: Any) -> Any:
        """Return a copy of the batch, one level deep, with ``value`` in this place."""
        if isinstance(data, Mapping):
            return rebuilt_mapping(data, {**data, self.key: value})
        items = list(data)
        items[self.position] = value
        return rebuilt_sequence(data, items)
