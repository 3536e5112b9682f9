"""The contract between a model and the engine: one ``forward`` with three modes."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..utils import describe, did_you_mean
from .base_module import BaseModule
from .data_preprocessor import build_data_preprocessor
from .explain import what_forward_got
from .parallel import route_of

if TYPE_CHECKING:
    from ..optim import OptimWrapper

__all__ = ["BaseModel"]


class BaseModel(BaseModule):
    """A model that the engine can train, validate and test.

    A subclass implements :meth:`forward`; the three steps below call it with a mode:

    ===========  ================  ===================================================================
    mode         called by         ``forward`` returns
    ===========  ================  ===================================================================
    ``loss``     ``train_step``    a dict of losses; what has ``loss`` in its name is summed and optimised,
                                   the rest is logged
    ``predict``  ``val_step``,     predictions, in the form that the metrics take
                 ``test_step``
    ``tensor``   your own code     the raw output: tensors without post-processing
    ===========  ================  ===================================================================

    Any step may be overridden, for another way of optimising for instance; the engine calls whatever is there.

    Args:
        data_preprocessor: A module that brings a batch from the data loader into the form that ``forward``
            takes, or its config. By default a :class:`BaseDataPreprocessor`, which moves it to the device.
        init_cfg: See :class:`BaseModule`.

    >>> import torch
    >>> class Regression(BaseModel):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear = torch.nn.Linear(2, 1)
    ...     def forward(self, x, y=None, mode="tensor"):
    ...         prediction = self.linear(x)
    ...         if mode == "loss":
    ...             return {"loss": torch.nn.functional.mse_loss(prediction, y)}
    ...         return prediction
    >>> model = Regression()
    >>> model.val_step((torch.zeros(4, 2), torch.zeros(4, 1))).shape
    torch.Size([4, 1])
    """

    modes: tuple[str, ...] = ("loss", "predict", "tensor")
    """The modes that ``forward`` knows. A class with one of its own adds it here."""

    is_routed: bool = False
    """Whether calls may go through a wrapper, so that processes average gradients; see :class:`~.parallel.Route`."""

    _mode_position: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        names = list(inspect.signature(cls.forward).parameters)[1:]
        cls._mode_position = names.index("mode") if "mode" in names else None

    def __init__(
        self,
        data_preprocessor: nn.Module | Mapping[str, Any] | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.data_preprocessor = build_data_preprocessor(data_preprocessor)

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the argument ``mode`` asks for.

        A batch that is a tuple or list arrives unpacked as ``*args``, a dict as ``**kwargs``; ``mode`` is one of
        :attr:`modes`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement forward(self, ..., mode).")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call ``forward``, unless the mode is misspelt.

        Raises:
            ValueError: ``mode`` is not in :attr:`modes`.
        """
        if "mode" in kwargs:
            if kwargs["mode"] not in self.modes:
                self._check_mode(kwargs["mode"])
        elif self._mode_position is not None and len(args) > self._mode_position:
            self._check_mode(args[self._mode_position])
        if self.is_routed:
            route = route_of(self)
            if route is not None:
                return route(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def _check_mode(self, mode: Any) -> None:
        if not isinstance(mode, str) or mode not in self.modes:
            raise ValueError(
                f"{type(self).__name__} was called with mode={mode!r}.{did_you_mean(str(mode), self.modes)} The modes"
                f" are {', '.join(map(repr, self.modes))}; a model with a mode of its own names it in the class"
                " attribute `modes`."
            )

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
        """Run one iteration of training: preprocess, forward, parse the losses, update.

        Args:
            data: A batch from the data loader.
            optim_wrapper: Updates the parameters.

        Returns:
            The scalars to log by name, among them ``loss``, the optimised sum; on the device, never read here.
        """
        with optim_wrapper.optim_context(self):
            data = self.data_preprocessor(data, True)
            losses = self._run_forward(data, mode="loss")
        loss, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    def val_step(self, data: Any) -> Any:
        """Return the predictions of one batch, as ``forward`` gives them in mode ``predict``."""
        data = self.data_preprocessor(data, False)
        return self._run_forward(data, mode="predict")

    def test_step(self, data: Any) -> Any:
        """Return the predictions of one batch; the same as :meth:`val_step` unless overridden."""
        data = self.data_preprocessor(data, False)
        return self._run_forward(data, mode="predict")

    def parse_losses(self, losses: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Sum the losses, and collect what is logged.

        Args:
            losses: What ``forward`` returned in mode ``loss``: a dict of scalar tensors, or of lists of scalar
                tensors, which are summed. Entries without ``loss`` in their name are logged only; of those, a
                tensor with more than one element is averaged.

        Returns:
            The sum of all entries with ``loss`` in their name, a scalar with gradient; and the scalars to log,
            ``loss`` (that sum) first, then the entries in order.

        Raises:
            TypeError: It is no dict, or an entry is neither a tensor nor a list of tensors.
            ValueError: It is empty, has no entry with ``loss`` in its name, or a loss is not a scalar.
        """
        if not isinstance(losses, Mapping):
            raise TypeError(
                f"{self._forward_name()} returned {describe(losses)} in mode 'loss', but a dict of losses is"
                " expected, such as {'loss': loss}." + (" Does every branch of it return?" if losses is None else "")
            )
        log_vars: OrderedDict[str, torch.Tensor] = OrderedDict()
        total: torch.Tensor | None = None
        for name, value in losses.items():
            if not isinstance(name, str):
                raise TypeError(
                    f"{self._forward_name()} returned the key {name!r} in mode 'loss', but the keys of its dict are"
                    " strings, such as 'loss' or 'loss_cls'."
                )
            is_loss = "loss" in name
            is_scalar = type(value) is torch.Tensor and value.dim() == 0
            scalar = value if is_scalar else self._as_scalar(name, value, is_loss)
            log_vars[name] = scalar
            if is_loss:
                total = scalar if total is None else total + scalar
        if total is None:
            got = f"only the keys {', '.join(map(repr, losses))}" if losses else "an empty dict"
            raise ValueError(
                f"{self._forward_name()} returned {got} in mode 'loss'; nothing can be optimised. Name what is to"
                " be optimised with 'loss' in its key, such as {'loss': loss} or {'loss_cls': a, 'loss_box': b}."
            )
        log_vars["loss"] = total
        log_vars.move_to_end("loss", last=False)
        return total, log_vars

    def _as_scalar(self, name: str, value: Any, is_loss: bool) -> torch.Tensor:
        if isinstance(value, (list, tuple)) and value:
            parts = [self._as_scalar(f"{name}[{i}]", v, is_loss) for i, v in enumerate(value)]
            return sum(parts[1:], parts[0])
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"{self._forward_name()} returned {describe(value)} under {name!r} in mode 'loss', but a scalar tensor"
                " or a list of them is expected. Leave it out or, to log a number, make a tensor of it."
            )
        if value.dim() == 0:
            return value
        if value.numel() == 1:
            return value.reshape(())
        if is_loss:
            raise ValueError(
                f"{self._forward_name()} returned a tensor of shape {tuple(value.shape)} under {name!r} in mode 'loss',"
                " but a loss is a scalar. Reduce it, with .mean() for instance."
            )
        return value.float().mean()

    def _run_forward(self, data: Any, mode: str) -> Any:
        """Unpack a batch into ``forward``.

        Raises:
            TypeError: It is neither a dict nor a tuple nor a list, or ``forward`` does not take it.
        """
        try:
            if isinstance(data, (list, tuple)):
                return self(*data, mode=mode)
            if isinstance(data, Mapping):
                return self(**data, mode=mode)
        except (TypeError, AttributeError) as error:
            error.add_note(what_forward_got(self.forward, self._forward_name(), data, mode))
            raise
        raise TypeError(
            f"{type(self.data_preprocessor).__name__} handed {describe(data)} to {type(self).__name__}, but a batch"
            " is a dict (unpacked as keywords of forward) or a tuple or list (unpacked in order). Let the data set"
            " or its collate function return one of these, or turn the data into one in a data preprocessor."
        )

    def _forward_name(self) -> str:
        return f"{type(self).__name__}.forward"
