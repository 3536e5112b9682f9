"""Several optimizers in one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import torch
from torch import nn

from ..logging import MessageHub
from ..utils import did_you_mean
from .bad_numbers import NumberWatch
from .optim_wrapper import OptimWrapper, one_after_another

__all__ = ["OptimWrapperDict"]


class OptimWrapperDict(OptimWrapper):
    """The optimizer wrappers of a model that is trained by several optimizers, by name.

    A model that is trained so overrides ``train_step``, in which each wrapper gets its own loss:
    ``optim_wrapper["generator"].update_params(loss)``. Each counts its own losses for its accumulation groups. What has
    one meaning for all of them, such as saving, this does for all; what has not, such as :meth:`update_params`, is an
    error that names what to call.

    A loss computes gradients for all parameters that it depends on, those of other wrappers too, where they stay until
    the update there; a warning says so once. So freeze the others meanwhile:
    ``model.discriminator.requires_grad_(False)``.

    Args:
        **optim_wrappers: The wrappers.

    Raises:
        TypeError: One of them is no :class:`OptimWrapper`, or holds several itself.
        ValueError: There is none.

    >>> import torch
    >>> generator, discriminator = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    >>> wrappers = OptimWrapperDict(
    ...     generator=OptimWrapper(torch.optim.Adam(generator.parameters(), lr=0.1)),
    ...     discriminator=OptimWrapper(torch.optim.SGD(discriminator.parameters(), lr=0.2)),
    ... )
    >>> wrappers["generator"].update_params(generator(torch.ones(1)).sum())
    >>> wrappers.get_lr()
    {'generator.lr': [0.1], 'discriminator.lr': [0.2]}
    """

    def __init__(self, **optim_wrappers: OptimWrapper) -> None:  # of one wrapper's attributes this has none
        if not optim_wrappers:
            raise ValueError(
                "OptimWrapperDict needs at least one wrapper, such as OptimWrapperDict(generator=OptimWrapper(...),"
                " discriminator=OptimWrapper(...))."
            )
        for name, wrapper in optim_wrappers.items():
            if not isinstance(wrapper, OptimWrapper) or isinstance(wrapper, OptimWrapperDict):
                raise TypeError(
                    f"OptimWrapperDict: {name} must be an OptimWrapper of one optimizer, but it is"
                    f" {wrapper!r} ({type(wrapper).__name__})."
                )
            wrapper.log_as(name)
        self.optim_wrappers = optim_wrappers
        """The wrappers by name."""

    # As a dict.

    def keys(self) -> Iterator[str]:
        """Return the names."""
        return iter(self.optim_wrappers)

    def values(self) -> Iterator[OptimWrapper]:
        """Return the wrappers."""
        return iter(self.optim_wrappers.values())

    def items(self) -> Iterator[tuple[str, OptimWrapper]]:
        """Return names and wrappers."""
        return iter(self.optim_wrappers.items())

    def __getitem__(self, key: str) -> OptimWrapper:
        if key not in self.optim_wrappers:
            raise KeyError(
                f"There is no optimizer wrapper {key!r}.{did_you_mean(str(key), self.optim_wrappers)} There are:"
                f" {', '.join(self.optim_wrappers)}."
            )
        return self.optim_wrappers[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.optim_wrappers)

    def __len__(self) -> int:
        return len(self.optim_wrappers)

    def __contains__(self, key: object) -> bool:
        return key in self.optim_wrappers

    # What each wrapper does by itself.

    def update_params(
        self,
        loss: torch.Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
        num_items: int | torch.Tensor | None = None,
    ) -> None:
        """Raise a ``TypeError``: each wrapper updates the parameters by its own loss."""
        self._ask_one("update_params(loss)")

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """Raise a ``TypeError``: each wrapper counts its own losses."""
        self._ask_one("scale_loss(loss)")

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Raise a ``TypeError``: each wrapper counts its own losses."""
        self._ask_one("backward(loss)")

    def step(self, **kwargs: Any) -> None:
        """Raise a ``TypeError``: each wrapper makes its own steps."""
        self._ask_one("step()")

    def should_update(self) -> bool:
        """Raise a ``TypeError``: each wrapper counts its own losses."""
        self._ask_one("should_update()")

    def should_sync(self) -> bool:
        """Raise a ``TypeError``: each wrapper counts its own losses."""
        self._ask_one("should_sync()")

    def counted_before(self, iteration: int) -> int:
        """Raise a ``TypeError``: each wrapper counts its own losses."""
        self._ask_one("counted_before(iteration)")

    def log_as(self, name: str) -> None:
        """Raise a ``TypeError``: each wrapper has a name already."""
        self._ask_one("log_as(name)")

    @property
    def inner_count(self) -> int:
        """Raise a ``TypeError``: each wrapper counts its own losses."""
        self._ask_one("inner_count")

    @property
    def accumulative_counts(self) -> int:
        """Raise a ``TypeError``: each wrapper has its own."""
        self._ask_one("accumulative_counts")

    @property
    def defaults(self) -> dict[str, Any]:
        """Raise a ``TypeError``: each optimizer has its own."""
        self._ask_one("defaults")

    def _ask_one(self, what: str) -> NoReturn:
        first = next(iter(self.optim_wrappers))
        raise TypeError(
            f"This run has several optimizers ({', '.join(self.optim_wrappers)}), so that {what} must be said of one of"
            f" them: optim_wrapper[{first!r}].{what}, for instance. A model that is trained so overrides train_step."
        )

    def __getattr__(self, name: str) -> Any:
        if name == "optimizer":
            first = next(iter(self.optim_wrappers))
            raise AttributeError(
                f"OptimWrapperDict has several optimizers: write optim_wrapper[{first!r}].optimizer, for instance, for"
                f" one of {', '.join(self.optim_wrappers)}.",
                name=name,
                obj=self,
            )
        raise AttributeError(f"OptimWrapperDict has no attribute {name!r}.", name=name, obj=self)

    # What is done for all.

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return a context in which those of all wrappers are entered.

        Where they differ, in precision for instance, the last one counts: then enter that of the wrapper whose loss is
        computed, ``optim_wrapper["generator"].optim_context(model)``.

        Raises:
            ValueError: The processes are to exchange the gradients of one wrapper now, and not those of another.
        """
        if getattr(model, "no_sync", None) is not None and len({one.should_sync() for one in self.values()}) > 1:
            first = next(iter(self.optim_wrappers))
            raise ValueError(
                "optim_context of several wrappers: processes exchange the gradients of some of them now, and not those"
                " of others, which are inside a group of accumulated iterations. Enter the context of the wrapper whose"
                f" loss is computed: optim_wrapper[{first!r}].optim_context(model), for instance."
            )
        return one_after_another(*(wrapper.optim_context(model) for wrapper in self.values()))

    def zero_grad(self, **kwargs: Any) -> None:
        """Drop the gradients of all; ``kwargs`` go to each optimizer's ``zero_grad``."""
        for wrapper in self.values():
            wrapper.zero_grad(**kwargs)

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Say to all where the run is and how long it will be; see :meth:`OptimWrapper.initialize_count_status`."""
        for wrapper in self.values():
            wrapper.initialize_count_status(model, init_counts, max_counts)

    def enter_iteration(self, iteration: int) -> None:
        """Say to all which iteration begins, from 0."""
        for wrapper in self.values():
            wrapper.enter_iteration(iteration)

    def share_gathered(self) -> None:
        """Average the gradients that are gathering over the processes, for each wrapper."""
        for wrapper in self.values():
            wrapper.share_gathered()

    def keep_settings(self) -> None:
        """Take the settings of all optimizers as they are now for those that were configured."""
        for wrapper in self.values():
            wrapper.keep_settings()

    @property
    def message_hub(self) -> MessageHub:
        """Where norms of gradients are logged."""
        return next(self.values()).message_hub

    @message_hub.setter
    def message_hub(self, message_hub: MessageHub) -> None:
        for wrapper in self.values():
            wrapper.message_hub = message_hub

    @property
    def watch(self) -> NumberWatch | None:
        """What notes losses and norms of gradients; setting it sets that of all."""
        return next(self.values()).watch

    @watch.setter
    def watch(self, watch: NumberWatch | None) -> None:
        for wrapper in self.values():
            wrapper.watch = watch

    # What others ask.

    @property
    def parts(self) -> Mapping[str, OptimWrapper]:
        """The wrappers of one optimizer each, by name."""
        return self.optim_wrappers

    def has_begun(self, iteration: int) -> bool:
        """Whether an iteration, from 0, is the one that was entered last, and some wrapper has had a loss in it."""
        return any(wrapper.has_begun(iteration) for wrapper in self.values())

    @property
    def gathers(self) -> bool:
        """Whether an accumulation group of some wrapper has begun, and is not complete yet."""
        return any(wrapper.gathers for wrapper in self.values())

    @property
    def left_out(self) -> bool:
        """Whether a step of the newest iteration was left out, by any wrapper."""
        return any(wrapper.left_out for wrapper in self.values())

    @property
    def scales_loss(self) -> bool:
        """Whether a scaler of one of them leaves out steps whose gradients overflow."""
        return any(wrapper.scales_loss for wrapper in self.values())

    @property
    def knows_norm(self) -> bool:
        """Whether clipping computes the norm of all gradients."""
        return all(wrapper.knows_norm for wrapper in self.values())

    @property
    def param_groups(self) -> dict[str, list[dict[str, Any]]]:  # type: ignore[override]
        """The parameter groups of each wrapper, by name."""
        return {name: wrapper.param_groups for name, wrapper in self.items()}

    def get_lr(self) -> dict[str, list[float]]:
        """Return ``{'<name>.lr': [...], ...}``, a learning rate for each parameter group of each wrapper."""
        return {f"{name}.{key}": values for name, wrapper in self.items() for key, values in wrapper.get_lr().items()}

    def get_momentum(self) -> dict[str, list[float]]:
        """Return ``{'<name>.momentum': [...], ...}``; see :meth:`OptimWrapper.get_momentum`."""
        return {
            f"{name}.{key}": values for name, wrapper in self.items() for key, values in wrapper.get_momentum().items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each wrapper, by name."""
        return {name: wrapper.state_dict() for name, wrapper in self.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned.

        Raises:
            ValueError: It does not have the states of just these wrappers, or one of them does not fit.
        """
        unknown = [name for name in state_dict if name not in self.optim_wrappers]
        missing = [name for name in self.optim_wrappers if name not in state_dict]
        if unknown or missing:
            raise ValueError(
                f"This state is that of the optimizer wrappers {', '.join(map(str, state_dict)) or '(none)'}, but this"
                f" run has {', '.join(self.optim_wrappers)}. Name them as they were, or take only the weights of that"
                " run: load_from, with resume=False."
            )
        for name, wrapper in self.items():
            try:
                wrapper.load_state_dict(state_dict[name])
            except Exception as error:
                error.add_note(f"(raised while loading the state of optim_wrapper[{name!r}])")
                raise

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={wrapper!r}" for name, wrapper in self.items())
        return f"OptimWrapperDict({inner})"
