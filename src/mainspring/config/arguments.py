"""Configurations and command lines."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from .lazy import raw_items
from .literals import literal

__all__ = ["DictAction", "add_options"]


class DictAction(argparse.Action):
    """Reads ``key=value`` pairs of a command line into a dict, for :meth:`Config.merge_from_dict`.

    A value is a number, True, False, None, a text, or a list or tuple of these in brackets; nothing in it is run.
    In quotes it is a text, whatever it looks like.

    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    >>> parser.parse_args(["--cfg-options", "train_cfg.max_epochs=3", "betas=(0.9,0.99)", "name='3'"]).cfg_options
    {'train_cfg.max_epochs': 3, 'betas': (0.9, 0.99), 'name': '3'}
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the pairs to those that were given before."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in [values] if isinstance(values, str) else values or []:
            key, equals, text = str(pair).partition("=")
            if not equals or not key.strip():
                raise argparse.ArgumentError(
                    self,
                    f"{pair!r} is no pair of key and value: write it as model.depth=50, without spaces at the '='.",
                )
            try:
                options[key.strip()] = literal(text)
            except ValueError as error:
                raise argparse.ArgumentError(self, f"{pair!r}: {error}.") from error
        setattr(namespace, self.dest, options)


def add_options(parser: argparse.ArgumentParser, values: Mapping[Any, Any], prefix: str = "") -> None:
    """Add an option for each value of a configuration: ``--optim_wrapper.optimizer.lr``.

    What is not given on the command line is not in the namespace, so that ``vars(arguments)`` are the changes.
    """
    for key, value in raw_items(values):
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            add_options(parser, value, f"{name}.")
            continue
        shown = repr(value).replace("%", "%%")
        told: dict[str, Any] = {"default": argparse.SUPPRESS, "metavar": "VALUE", "help": f"instead of {shown}"}
        if isinstance(value, bool):
            parser.add_argument(f"--{name}", nargs="?", const=True, type=_truth, **told)
        elif isinstance(value, (int, float, str)):
            parser.add_argument(f"--{name}", type=type(value), **told)
        elif isinstance(value, (list, tuple)):
            parser.add_argument(f"--{name}", nargs="*", type=literal, **told)
        else:
            parser.add_argument(f"--{name}", type=literal, **told)


def _truth(text: str) -> bool:
    value = literal(text)
    if not isinstance(value, bool):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return value
