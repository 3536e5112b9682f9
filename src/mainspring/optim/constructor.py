"""From a config to an optimizer around a model's parameters."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..logging import print_log
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, build
from ..utils import check_type, did_you_mean, options_from
from .fused import with_fused_step
from .muon import MuonWithAdamW, hidden_matrices, split_groups
from .optim_wrapper import OptimWrapper
from .optim_wrapper_dict import OptimWrapperDict
from .param_groups import ParamwiseCfg, Part, merged, parts_of, report_unused_keys, settings_for, table_of
from .several import build_several, check_several, describes_several

__all__ = ["DefaultOptimWrapperConstructor", "build_optim_wrapper"]

_MULTS = ("lr_mult", "decay_mult")


def build_optim_wrapper(model: nn.Module, cfg: OptimWrapper | Optimizer | Mapping[str, Any]) -> OptimWrapper:
    """Return the optimizer wrapper of a model.

    Args:
        model: Its parameters are optimised.
        cfg: A wrapper, which is returned as it is; an optimizer, which is wrapped; or a dict with the key
            ``optimizer`` (a config dict or an object) and optionally ``type`` (default ``OptimWrapper``), the
            wrapper's other arguments, ``constructor`` and ``paramwise_cfg``; or a dict of several of these by the
            names of submodules, ``dict(generator=dict(optimizer=...), discriminator=dict(optimizer=...))``, which gives
            an :class:`~mainspring.optim.OptimWrapperDict`.

    Raises:
        TypeError: ``cfg`` is none of these.
        ValueError: The model has no trainable parameter, or the optimizer holds none of its parameters.
    """
    if isinstance(cfg, Mapping) and describes_several(cfg):
        return build_several(model, cfg, build_optim_wrapper)
    wrapper = _build(model, cfg)
    if isinstance(wrapper, OptimWrapper):
        for part in wrapper.parts.values():
            _check_parameters(model, part)
    if isinstance(wrapper, OptimWrapperDict):
        check_several(model, wrapper)
    return wrapper


def _build(model: nn.Module, cfg: OptimWrapper | Optimizer | Mapping[str, Any]) -> OptimWrapper:
    if isinstance(cfg, Optimizer):
        return OptimWrapper(cfg)
    if not isinstance(cfg, Mapping):
        if not callable(getattr(cfg, "update_params", None)):
            raise TypeError(
                "optim_wrapper must be an OptimWrapper, an optimizer, or a dict such as"
                f" dict(optimizer=dict(type='SGD', lr=0.1)), but it is {cfg!r} ({type(cfg).__name__})."
            )
        return cfg
    options = dict(cfg)
    constructor = options.pop("constructor", "DefaultOptimWrapperConstructor")
    paramwise_cfg = options.pop("paramwise_cfg", None)
    if not isinstance(constructor, Mapping):
        constructor = {"type": constructor}
    built: OptimWrapper = build(
        {**constructor, "optim_wrapper_cfg": options, "paramwise_cfg": paramwise_cfg},
        OPTIM_WRAPPER_CONSTRUCTORS,
    )(model)
    return built


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor:
    """Builds one optimizer over all parameters of a model, and its wrapper.

    One of torch's is built with ``fused=True`` where torch has that, unless the config says how its step is made; see
    :func:`~mainspring.optim.fused.with_fused_step`.

    A subclass may override :meth:`add_params`, or :meth:`__call__` as a whole.

    Args:
        optim_wrapper_cfg: The wrapper's config, with the key ``optimizer``.
        paramwise_cfg: Factors and options for some parameters; see :class:`~mainspring.optim.ParamwiseCfg`.

    Raises:
        TypeError: ``optim_wrapper_cfg`` is no dict.
        ValueError: It has no ``optimizer``, or ``paramwise_cfg`` has unknown keys, or factors for what the optimizer's
            config does not give.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    >>> constructor = DefaultOptimWrapperConstructor(
    ...     dict(optimizer=dict(type="AdamW", lr=0.1, weight_decay=0.01)), paramwise_cfg=dict(norm_decay_mult=0.0)
    ... )
    >>> groups = []
    >>> constructor.add_params(groups, model)
    >>> [group.get("weight_decay", "that of the optimizer") for group in groups]
    ['that of the optimizer', 'that of the optimizer', 0.0, 0.0]
    """

    cfg_type: type[ParamwiseCfg] = ParamwiseCfg
    """What the keys of ``paramwise_cfg`` are."""

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        if not isinstance(optim_wrapper_cfg, Mapping):
            raise TypeError(
                f"optim_wrapper must be a dict, but it is {optim_wrapper_cfg!r} ({type(optim_wrapper_cfg).__name__})."
            )
        if "optimizer" not in optim_wrapper_cfg:
            cure = "dict(optimizer=dict(type='SGD', lr=0.1))"
            if optim_wrapper_cfg and all(isinstance(one, Mapping) for one in optim_wrapper_cfg.values()):
                first = next(iter(optim_wrapper_cfg))  # somebody means several optimizers
                cure = f"dict({first}={cure}, ...) for that of {first}"
            raise ValueError(
                f"optim_wrapper.optimizer is missing: name one, such as {cure}. The keys given are:"
                f" {', '.join(optim_wrapper_cfg) or 'none'}."
            )
        check_type(paramwise_cfg, Mapping | None, "optim_wrapper.paramwise_cfg")
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.paramwise_cfg = dict(paramwise_cfg or {})
        """The factors as they were given."""
        optimizer = optim_wrapper_cfg["optimizer"]
        self.optimizer_cfg: dict[str, Any] = dict(optimizer) if isinstance(optimizer, Mapping) else {}
        self.base_lr: float | None = self.optimizer_cfg.get("lr")
        self.base_wd: float | None = self.optimizer_cfg.get("weight_decay")
        self._custom_keys: Mapping[str, Any] = {}
        self._matrices: dict[int, nn.Parameter] | None = None  # of MuonWithAdamW, what Muon gets, by the ids
        if self.paramwise_cfg and not self.optimizer_cfg:
            raise ValueError(
                "optim_wrapper.paramwise_cfg needs the optimizer as a config dict, but it is an object, whose groups"
                " are made already."
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and the wrapper."""
        options = dict(self.optim_wrapper_cfg)
        optimizer = options.pop("optimizer")
        if isinstance(optimizer, Mapping):
            if not any(p.requires_grad for p in model.parameters()):
                raise ValueError(_nothing_to_train(model))
            if "params" in optimizer:
                raise ValueError(
                    "optim_wrapper.optimizer.params: a config's optimizer gets all parameters of the model. To choose"
                    " some, make the optimizer yourself, and pass it as optim_wrapper; or freeze the others."
                )
            _check_numbers(optimizer, "optim_wrapper.optimizer")
            optimizer = self._find_matrices(optimizer, model)
            params: list[Any] = list(model.parameters())
            if self.paramwise_cfg or self._matrices is not None:
                groups: list[dict[str, Any]] = []
                if self.paramwise_cfg:
                    self.add_params(groups, model)
                else:
                    groups.append({"params": params})
                params = merged(groups if self._matrices is None else split_groups(groups, self._matrices.values()))
            optimizer = build({**with_fused_step(optimizer, model), "params": params}, OPTIMIZERS)
            self._check_options(optimizer)
            if self.paramwise_cfg or self._matrices is not None:
                print_log(self._told(optimizer, model), "current")
        options.setdefault("type", OptimWrapper)
        built: OptimWrapper = build({**options, "optimizer": optimizer}, OPTIM_WRAPPERS)
        return built

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Append a group for each parameter of a module, with its own settings.

        Groups with the same settings are joined afterwards.

        Args:
            params: The groups so far.
            module: The model, or a part of it.
            prefix: The name of the part.
            is_dcn_module: Whether the part belongs to a deformable convolution.
        """
        cfg = options_from(self.cfg_type, self.paramwise_cfg, "optim_wrapper.paramwise_cfg")
        self._check_bases(cfg)
        self._custom_keys = cfg.custom_keys
        known = {id(parameter) for group in params for parameter in group["params"]}
        names, repeated = [], []
        for part in parts_of(module, prefix, bool(is_dcn_module)):
            names.append(part.name)
            if id(part.parameter) in known:
                repeated.append(part.name)
                continue
            known.add(id(part.parameter))
            own = self._settings_for(part, cfg) if part.parameter.requires_grad else {}
            params.append({"params": [part.parameter], **own})
        report_unused_keys(cfg, names)
        if repeated and not cfg.bypass_duplicate:
            print_log(
                f"The parameters {', '.join(repeated)} stand at other places of the model too, and follow the settings"
                " of the first. bypass_duplicate=True in paramwise_cfg says that this is meant.",
                "current",
                logging.WARNING,
            )

    def _check_options(self, optimizer: Optimizer) -> None:
        """Say which options of custom keys the optimizer does not have; it may be that another part reads them."""
        for key, options in self._custom_keys.items():
            for name in options:
                if name in _MULTS or name in optimizer.defaults:
                    continue
                near = did_you_mean(name, [*_MULTS, *optimizer.defaults])
                text = (
                    f"optim_wrapper.paramwise_cfg.custom_keys[{key!r}].{name} is neither a factor"
                    f" ({' or '.join(_MULTS)}) nor an option of {type(optimizer).__name__}, which does not look at it."
                    f"{near}"
                )
                if self.paramwise_cfg.get("strict"):
                    raise ValueError(text)
                print_log(text, "current", logging.WARNING)

    def _told(self, optimizer: Optimizer, model: nn.Module) -> str:
        """Return what the log says of the groups."""
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        table = table_of(optimizer.param_groups, names, optimizer.defaults)
        return f"Parameter groups of {type(optimizer).__name__}:\n{table}"

    def _settings_for(self, part: Part, cfg: ParamwiseCfg) -> dict[str, Any]:
        """Return the options of a parameter that are not those of the optimizer."""
        return settings_for(part, cfg, *self._bases(part))

    def _bases(self, part: Part) -> tuple[float | None, float | None]:
        """Return the learning rate and the weight decay that factors of a parameter multiply."""
        if self._matrices is None or id(part.parameter) in self._matrices:
            return self.base_lr, self.base_wd
        return self._of_muon("adamw_lr"), self._of_muon("adamw_weight_decay")

    def _of_muon(self, name: str) -> float:
        """Return an option of ``MuonWithAdamW``, given or by default."""
        value: float = self.optimizer_cfg.get(name, inspect.signature(MuonWithAdamW).parameters[name].default)
        return value

    def _find_matrices(self, optimizer: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
        """Return the optimizer's config without what chooses parameters by their names, which is done here."""
        options = dict(optimizer)
        kind = options.get("type")
        kind = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
        if isinstance(kind, type) and issubclass(kind, MuonWithAdamW):
            keys = {name: options.pop(name, ()) for name in ("adamw_keys", "muon_keys")}
            self._matrices = {id(matrix): matrix for matrix in hidden_matrices(model, **keys)}
            self.base_lr, self.base_wd = self._of_muon("lr"), self._of_muon("weight_decay")
        return options

    def _check_bases(self, cfg: ParamwiseCfg) -> None:
        """Refuse factors of what the optimizer's config does not give: nothing would come of them."""
        factors = {name: value for name, value in vars(cfg).items() if name.endswith("_mult") and value is not None}
        for key, options in cfg.custom_keys.items():
            path = f"optim_wrapper.paramwise_cfg.custom_keys[{key!r}]"
            check_type(options, Mapping, path)
            _check_numbers(options, path)
            factors.update((f"custom_keys[{key!r}].{name}", options[name]) for name in _MULTS if name in options)
        for name, factor in factors.items():
            base, setting = (self.base_wd, "weight_decay") if "decay_mult" in name else (self.base_lr, "lr")
            if not isinstance(factor, int | float) or isinstance(factor, bool):
                raise TypeError(f"optim_wrapper.paramwise_cfg.{name} must be a number, but it is {factor!r}.")
            if not 0 <= factor < math.inf:
                raise ValueError(
                    f"optim_wrapper.paramwise_cfg.{name} must be a factor of at least 0, but it is {factor}."
                )
            if base is None:
                raise ValueError(
                    f"optim_wrapper.paramwise_cfg.{name} is a factor of {setting}, which optim_wrapper.optimizer does"
                    f" not give. Write it there, such as {setting}=0.01."
                )


def _check_numbers(options: Mapping[str, Any], path: str) -> None:
    """Refuse texts that are meant as numbers, such as 1e-4 in YAML."""
    for name, value in options.items():
        if isinstance(value, str) and (name == "lr" or _reads_as_number(value)):
            check_type(value, float, f"{path}.{name}")


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_parameters(model: nn.Module, wrapper: OptimWrapper) -> None:
    held = [p for group in wrapper.param_groups for p in group["params"]]
    if not any(p.requires_grad for p in held):
        raise ValueError(_nothing_to_train(model))
    of_model = {id(p) for p in model.parameters()}
    if of_model and not any(id(p) in of_model for p in held):
        raise ValueError(
            f"The optimizer holds none of the parameters of {type(model).__name__}, so that training would not change"
            " it. Make the optimizer after the model has its final layers, from model.parameters()."
        )


def _nothing_to_train(model: nn.Module) -> str:
    count = sum(1 for _ in model.parameters())
    if count == 0:
        return f"{type(model).__name__} has no parameter at all, so there is nothing to train."
    return (
        f"None of the {count} parameters of {type(model).__name__} is trainable: each has requires_grad=False."
        " Unfreeze some, with parameter.requires_grad_(True)."
    )
