"""Calling what was found in a registry, with errors that teach."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..utils import did_you_mean
from .errors import describe_source
from .trail import being_built, path_of

__all__ = ["check_arguments", "construct"]


def construct(
    target: Callable[..., Any],
    args: Mapping[str, Any],
    source: str,
    added: Collection[str] = (),
    cfg: Mapping[str, Any] | None = None,
) -> Any:
    """Return ``target(**args)``.

    Args:
        target: A class or function.
        args: Its keyword arguments.
        source: The registry it is built from, in words for the messages.
        added: Names of the arguments that the caller added to those of the config.
        cfg: The config, by which its place in the whole configuration is found.

    Raises:
        TypeError: An argument is unknown or missing; it is named before the call.
        Exception: Whatever ``target`` raises, with a note that names the place in the configuration, ``target``, its
            file and signature, and ``source``.
    """
    cfg = args if cfg is None else cfg
    check_arguments(target, args, source, added, cfg)
    factory = _shared_factory(target)
    try:
        with being_built(cfg, args):
            return factory(**args)
    except Exception as error:
        place, name = path_of(cfg), _name(target)
        error.add_note(
            f"Raised while building {name}{' at ' * bool(place)}{place} from {source}, defined in"
            f" {describe_source(target)}.{_signature_of(target, name)}"
        )
        raise


def _shared_factory(target: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``target.get_instance`` for a class whose instances everyone reaches by their names."""
    shared = inspect.isclass(target) and all(
        callable(getattr(target, method, None)) for method in ("get_instance", "get_current_instance")
    )
    factory: Callable[..., Any] = target.get_instance if shared else target  # type: ignore[attr-defined]
    return factory


def check_arguments(
    target: Callable[..., Any],
    args: Mapping[str, Any],
    source: str,
    added: Collection[str] = (),
    cfg: Mapping[str, Any] | None = None,
) -> None:
    """Raise a ``TypeError`` unless ``target`` takes these arguments; they are those of :func:`construct`."""
    try:
        # A wrapper may add or drop arguments, so it is its own signature that counts.
        signature = inspect.signature(target, follow_wrapped=False)
    except (TypeError, ValueError):  # written in C, with no signature
        return
    try:
        signature.bind(**args)
    except TypeError as error:
        place = path_of(cfg)
        problem = _explain(target, signature, args, source, added, str(error))
        raise TypeError(f"{place}{': ' * bool(place)}{problem}") from error


def _explain(
    target: Callable[..., Any],
    signature: inspect.Signature,
    args: Mapping[str, Any],
    source: str,
    added: Collection[str],
    reason: str,
) -> str:
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = {name: p for name, p in signature.parameters.items() if p.kind in by_name}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    free = [name for name in parameters if name not in args]
    problems = []
    for name in args:
        if name not in parameters and not takes_any:
            origin = " (which the code that builds it adds; it is not in the config)" if name in added else ""
            problems.append(f"has no argument {name!r}{origin}.{did_you_mean(str(name), free)}")
    missing = [name for name in free if parameters[name].default is inspect.Parameter.empty]
    if missing:
        problems.append(
            f"needs {', '.join(map(repr, missing))}, which {'is' if len(missing) == 1 else 'are'} not given."
        )
    if not problems:
        problems.append(f"cannot be called like this: {reason}.")
    name = _name(target)
    return (
        f"{' '.join(f'{name} {problem}' for problem in problems)} Its signature: {name}{_show(signature)}."
        f" Built from {source}, defined in {describe_source(target)}."
    )


def _signature_of(target: Callable[..., Any], name: str) -> str:
    try:
        return f" Its signature: {name}{_show(inspect.signature(target, follow_wrapped=False))}."
    except (TypeError, ValueError):  # written in C, with no signature
        return ""


def _show(signature: inspect.Signature) -> str:
    # Names and defaults only: annotations make the line longer than it is clear.
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__qualname__", None) or repr(target)
