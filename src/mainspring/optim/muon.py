"""Muon for the weight matrices of a network's hidden layers, and AdamW for all else, as one optimizer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from ..logging import print_log
from ..registry import OPTIMIZERS
from ..utils import check_type
from . import bare
from .param_groups import Part, parts_of, unused_keys

__all__ = ["MuonWithAdamW", "hidden_matrices", "split_groups"]

Groups = list[dict[str, Any]]


@OPTIMIZERS.register_module()
class MuonWithAdamW(Optimizer):
    """Muon for the weight matrices of the hidden layers, AdamW for all other parameters.

    Muon (Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon) makes the update of a matrix nearly orthogonal; it is meant for matrices
    of hidden layers, and not for embeddings, the output layer, biases and norms. Those get AdamW (Loshchilov and
    Hutter, "Decoupled weight decay regularization", ICLR 2019). Both are torch's own, with the same bits; but there is
    one list of groups, with one learning rate each, and one state. In a config, one line is enough:
    ``optimizer=dict(type='MuonWithAdamW', lr=0.02, adamw_lr=3e-4)``. With ``paramwise_cfg``, a factor multiplies the
    learning rate or weight decay that a parameter would have anyway, be it Muon's or AdamW's.

    Which parameters Muon gets, :func:`hidden_matrices` says.

    Args:
        params: The model; or groups, each with ``use_muon``, True or False. A list of bare parameters does not tell
            what they are for.
        lr: Learning rate of Muon.
        weight_decay: Weight decay of Muon, decoupled.
        momentum: Of Muon.
        nesterov: Of Muon: Nesterov's momentum.
        ns_coefficients: Of Muon: the three coefficients of the Newton-Schulz iteration.
        eps: Of Muon.
        ns_steps: Of Muon: how many Newton-Schulz iterations.
        adjust_lr_fn: Of Muon: ``'original'``, which is the default, multiplies the learning rate of a matrix by the
            square root of its rows over its columns, where it has more rows; ``'match_rms_adamw'`` makes updates as
            large as those of AdamW (Liu et al., "Muon is scalable for LLM training", 2025), so that both can have the
            same learning rate and weight decay.
        adamw_lr: Learning rate of AdamW.
        adamw_betas: Of AdamW.
        adamw_eps: Of AdamW.
        adamw_weight_decay: Weight decay of AdamW, decoupled.
        adamw_keys: Parts of names: AdamW gets these parameters too.
        muon_keys: Parts of names: Muon gets these parameters, which must have two dimensions, in any case.
        foreach: Of AdamW, as in torch.
        fused: Of AdamW, as in torch; a config that gives neither gets the fused step where torch has it.

    Raises:
        ValueError: Parameters come without ``use_muon``; or a group gives Muon what is no matrix, or has an option of
            the other optimizer; or an option is out of range; or a key is in the name of no parameter.

    >>> model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 9))
    >>> optimizer = MuonWithAdamW(model, lr=0.02, adamw_lr=3e-4)
    >>> [(group["use_muon"], group["lr"], len(group["params"])) for group in optimizer.param_groups]
    [(True, 0.02, 1), (False, 0.0003, 6)]
    """

    def __init__(
        self,
        params: nn.Module | Iterable[dict[str, Any]],
        lr: float = 0.02,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        adamw_lr: float = 3e-4,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float = 0.01,
        adamw_keys: Sequence[str] = (),
        muon_keys: Sequence[str] = (),
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        # Each checks its options, and steps the groups that are its own; the parameter only has to be there.
        self._muon = Muon(
            [torch.empty(0, 0)], lr, weight_decay, momentum, nesterov, ns_coefficients, eps, ns_steps, adjust_lr_fn
        )
        self._adamw = AdamW(
            [torch.empty(0)],
            adamw_lr,
            adamw_betas,
            adamw_eps,
            adamw_weight_decay,
            foreach=foreach,
            fused=fused,
        )
        if isinstance(params, nn.Module):
            matrices = hidden_matrices(params, adamw_keys, muon_keys)
            params = split_groups([{"params": list(params.parameters())}], matrices)
        elif adamw_keys or muon_keys:
            raise ValueError(
                "MuonWithAdamW: adamw_keys and muon_keys choose by names, which groups do not have. Pass the model as"
                " params, or say use_muon in each group."
            )
        super().__init__(params, {**self._adamw.defaults, **self._muon.defaults})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which must say with ``use_muon`` whose it is.

        Raises:
            TypeError: It is no dict.
            ValueError: See the class.
        """
        check_type(param_group, dict, "MuonWithAdamW: a group")
        use_muon = param_group.get("use_muon")
        if not isinstance(use_muon, bool):
            raise ValueError(
                "MuonWithAdamW needs to know which parameters are weight matrices of hidden layers. Pass the model as"
                " params, MuonWithAdamW(model, ...), or groups such as dict(params=[...], use_muon=True). Bare"
                " parameters, and groups without use_muon, do not tell."
            )
        part: Optimizer = self._muon if use_muon else self._adamw
        foreign = [name for name in self.defaults if name not in part.defaults]
        for name in foreign:
            if name in param_group:
                raise ValueError(
                    f"MuonWithAdamW: a group gives {name!r}, which is no option of {type(part).__name__}, though"
                    f" use_muon={use_muon} makes it one of its groups. Its options are: {', '.join(part.defaults)}."
                )
        for name, default in part.defaults.items():
            param_group.setdefault(name, default)
        super().add_param_group(param_group)
        for name in foreign:
            del param_group[name]
        for parameter in param_group["params"]:
            if use_muon and parameter.ndim != 2:
                self.param_groups.pop()
                raise ValueError(
                    f"MuonWithAdamW: use_muon=True is for matrices, but a parameter has the shape"
                    f" {tuple(parameter.shape)}. Put it into a group with use_muon=False."
                )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters, and return what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part, use_muon in ((self._muon, True), (self._adamw, False)):
            # Whoever loads a state, or adds a group, exchanges these.
            part.state = self.state
            part.param_groups = [group for group in self.param_groups if group["use_muon"] is use_muon]
            if part.param_groups:
                bare.unmarked(type(part).step)(part)
        return loss

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_muon": self._muon, "_adamw": self._adamw}


def hidden_matrices(
    model: nn.Module, adamw_keys: Sequence[str] = (), muon_keys: Sequence[str] = ()
) -> list[nn.Parameter]:
    """Return the weight matrices of a model's hidden layers.

    Those are the parameters with two dimensions whose own name has ``weight`` in it, as in ``weight`` and
    ``in_proj_weight``; without those of ``nn.Embedding`` and ``nn.EmbeddingBag``, and without the weight of the last
    ``nn.Linear`` of the model, which is taken for the output layer. What is shared with one of these counts as it.
    Weights of convolutions have more dimensions, and are not among them.

    Args:
        model: The model.
        adamw_keys: Parts of names of parameters that are none, whatever they look like.
        muon_keys: Parts of names of parameters that are some, whatever they look like.

    Raises:
        TypeError: The keys are no lists.
        ValueError: A key is in the name of no parameter, or a parameter that ``muon_keys`` name has no two dimensions.
    """
    parts = list(parts_of(model))
    for name, keys in (("adamw_keys", adamw_keys), ("muon_keys", muon_keys)):
        if isinstance(keys, str) or not isinstance(keys, Sequence):
            raise TypeError(f"MuonWithAdamW: {name} must be a list of parts of names, but it is {keys!r}.")
        for text in unused_keys(keys, [part.name for part in parts]):
            raise ValueError(f"MuonWithAdamW: {name}: {text}")
    wanted = {id(part.parameter) for part in parts if _has(part, muon_keys)}
    for part in parts:
        if id(part.parameter) in wanted and part.parameter.ndim != 2:
            raise ValueError(
                f"MuonWithAdamW: muon_keys name {part.name!r}, but Muon is for matrices, and it has the shape"
                f" {tuple(part.parameter.shape)}."
            )
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    refused = {id(module.weight) for module in linear[-1:]}
    refused.update(
        id(part.parameter)
        for part in parts
        if isinstance(part.module, nn.Embedding | nn.EmbeddingBag) or _has(part, adamw_keys)
    )
    hidden = {
        id(part.parameter): part.parameter
        for part in parts
        if id(part.parameter) in wanted
        or (part.parameter.ndim == 2 and "weight" in part.short_name and id(part.parameter) not in refused)
    }
    if not hidden:
        print_log(
            f"MuonWithAdamW finds no weight matrix of a hidden layer in {type(model).__name__}, so that AdamW gets all"
            " of its parameters. muon_keys=[...] names some.",
            "current",
            logging.WARNING,
        )
    return list(hidden.values())


def split_groups(groups: Iterable[Mapping[str, Any]], matrices: Iterable[nn.Parameter]) -> Groups:
    """Return parameter groups that say ``use_muon``, those of Muon first.

    Args:
        groups: Groups; one that says ``use_muon`` is left as it is.
        matrices: What Muon gets of the others, as from :func:`hidden_matrices`.
    """
    ids = {id(parameter) for parameter in matrices}
    split: Groups = []
    for group in groups:
        if "use_muon" in group:
            split.append(dict(group))
            continue
        for use_muon in (True, False):
            members = [parameter for parameter in group["params"] if (id(parameter) in ids) is use_muon]
            if members:
                split.append({**group, "params": members, "use_muon": use_muon})
    return sorted(split, key=lambda group: not group["use_muon"])


def _has(part: Part, keys: Sequence[str]) -> bool:
    return any(key in part.name for key in keys)
