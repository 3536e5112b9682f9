"""Transforms one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..registry import TRANSFORMS

__all__ = ["Compose"]


class Compose:
    """Calls transforms one after the other, each with what the one before returned.

    Args:
        transforms: Functions and other callables, or config dicts of those in ``TRANSFORMS``. None is an empty list.

    Raises:
        TypeError: ``transforms`` is no list, or something in it can neither be called nor built.

    >>> double_then_add = Compose([lambda x: 2 * x, lambda x: x + 1])
    >>> double_then_add(3)
    7
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any] | Callable[[Any], Any]] | None) -> None:
        if transforms is None:
            transforms = []
        if isinstance(transforms, (str, Mapping)) or not isinstance(transforms, Sequence):
            raise TypeError(
                "A pipeline is a list of transforms, such as [dict(type='Resize', scale=224)], but it is"
                f" {transforms!r} ({type(transforms).__name__})."
            )
        self.transforms = [_transform(given, step) for step, given in enumerate(transforms, 1)]
        self.stopped_at = 0
        """The step, counted from 1, that was the last to return None; 0 where none has."""

    def __call__(self, data: Any) -> Any:
        """Return what the last transform returns, or None as soon as one of them returns None."""
        step = 0
        try:
            for step, transform in enumerate(self.transforms, 1):
                data = transform(data)
                if data is None:
                    self.stopped_at = step
                    return None
        except Exception as error:
            error.add_note(f"Raised by {self.describe(step)}.")
            raise
        return data

    def describe(self, step: int) -> str:
        """Return in words which step it is, counted from 1.

        >>> Compose([len]).describe(1)
        'step 1 of the pipeline, <built-in function len>'
        """
        return f"step {step} of the pipeline, {self.transforms[step - 1]!r}"

    def __repr__(self) -> str:
        lines = [f"    {line}" for transform in self.transforms for line in repr(transform).splitlines()]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def _transform(given: Any, step: int) -> Callable[[Any], Any]:
    built = given
    if isinstance(given, Mapping):
        try:
            built = TRANSFORMS.build(given)
        except Exception as error:
            error.add_note(f"Raised while building step {step} of the pipeline.")
            raise
    if isinstance(built, type) and any("__call__" in vars(kind) for kind in built.__mro__):
        raise TypeError(
            f"Step {step} of the pipeline is the class {built.__name__} itself: write {built.__name__}(...), or"
            f" dict(type={built.__name__}, ...)."
        )
    if not callable(built):
        raise TypeError(
            f"Step {step} of the pipeline must be a function, another callable or a config dict of one, but it is"
            f" {built!r} ({type(built).__name__})."
        )
    return built  # type: ignore[no-any-return]
