"""One place to give scalars and images to, and any number of backends that keep them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..dist import master_only
from ..logging import print_log
from ..registry import VISBACKENDS, VISUALIZERS, build
from ..utils import ManagerMixin, did_you_mean
from .vis_backend import BaseVisBackend

if TYPE_CHECKING:
    import os

    import numpy as np

__all__ = ["Visualizer"]


@VISUALIZERS.register_module()
class Visualizer(ManagerMixin):
    """Hands on what it is given to its backends. Of several processes only the main one does.

    Args:
        name: Name of the instance, for :meth:`get_instance`.
        vis_backends: A backend or its config, or a list of these. A config may hold ``name``, by which
            :meth:`get_backend` finds it; that is the name of its class unless given.
        save_dir: Backends without a ``save_dir`` of their own keep their files in ``<save_dir>/vis_data``.
            None: such backends are left out, with a warning.

    Raises:
        ValueError: Two backends have one name.
        TypeError: Something in ``vis_backends`` is neither a backend nor a config.

    >>> import tempfile
    >>> visualizer = Visualizer("doc", vis_backends=dict(type="LocalVisBackend"), save_dir=tempfile.mkdtemp())
    >>> visualizer.add_scalar("loss", 0.5, step=10)
    >>> visualizer.get_backend("LocalVisBackend").scalars_path.read_text()
    '{"loss": 0.5, "step": 10}\\n'
    """

    def __init__(
        self,
        name: str = "visualizer",
        *,
        vis_backends: BaseVisBackend | Mapping[str, Any] | Sequence[BaseVisBackend | Mapping[str, Any]] | None = None,
        save_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(name)
        self._save_dir = None if save_dir is None else Path(save_dir).absolute()
        self._vis_backends: dict[str, BaseVisBackend] = {}
        if isinstance(vis_backends, (Mapping, BaseVisBackend)):
            vis_backends = [vis_backends]
        for given in vis_backends or ():
            self._add_backend(given)

    @classmethod
    def get_instance(cls, name: str, **kwargs: Any) -> Self:
        """Return the visualizer called ``name``; make it from ``kwargs`` where there is none yet.

        If ``kwargs`` names another ``save_dir`` than that of the visualizer, a new one takes its place: a
        second run never writes into the files of the first.
        """
        save_dir = kwargs.get("save_dir")
        if save_dir is not None and cls.check_instance_created(name):
            existing: Self = cls._instance_dict[name]
            if existing._save_dir != Path(save_dir).absolute():
                return cls.new_instance(name, **kwargs)
        return super().get_instance(name, **kwargs)

    @property
    def backends(self) -> list[BaseVisBackend]:
        """The backends."""
        return list(self._vis_backends.values())

    def get_backend(self, name: str) -> BaseVisBackend:
        """Return a backend by its name.

        Raises:
            KeyError: There is none of that name.
        """
        if name not in self._vis_backends:
            raise KeyError(
                f"The visualizer {self.instance_name!r} has no backend {name!r}."
                f"{did_you_mean(name, self._vis_backends)}"
                f" The backends are: {', '.join(self._vis_backends) or 'none'}."
            )
        return self._vis_backends[name]

    @master_only
    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Keep the configuration of the run."""
        for backend in self._vis_backends.values():
            backend.add_config(config, **kwargs)

    @master_only
    def add_image(self, name: str, image: np.ndarray[Any, Any], step: int = 0) -> None:
        """Keep an image.

        Args:
            name: What it is called.
            image: uint8 of shape (H, W, 3) in the order red, green, blue, or of shape (H, W).
            step: The iteration that it belongs to.
        """
        for backend in self._vis_backends.values():
            backend.add_image(name, image, step)

    @master_only
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Keep a scalar.

        Args:
            name: What it is called.
            value: A number, or a tensor or array with one element; a tensor is read.
            step: The iteration that it belongs to.
            **kwargs: Handed on to the backends.
        """
        for backend in self._vis_backends.values():
            backend.add_scalar(name, value, step, **kwargs)

    @master_only
    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Keep several scalars of one step.

        Args:
            scalar_dict: Values by their names.
            step: The iteration that they belong to.
            file_path: A further file for them, for backends that write files.
            **kwargs: Handed on to the backends.
        """
        for backend in self._vis_backends.values():
            backend.add_scalars(scalar_dict, step, file_path, **kwargs)

    @master_only
    def rewind(self, iteration: int, validated: bool = True) -> None:
        """Drop what belongs to later iterations: a resumed run goes on from the end of ``iteration``.

        Args:
            iteration: How many iterations are done.
            validated: Whether the results of a validation after them stay; otherwise it is made once more.
        """
        for backend in self._vis_backends.values():
            backend.rewind(iteration, validated)

    @master_only
    def set_aside(self) -> None:
        """Make room for a run that begins anew where an earlier one has left its scalars."""
        for backend in self._vis_backends.values():
            backend.set_aside()

    @master_only
    def close(self) -> None:
        """Let the backends write what is not written yet and close their files."""
        for backend in self._vis_backends.values():
            backend.close()

    def _add_backend(self, given: BaseVisBackend | Mapping[str, Any]) -> None:
        name = None
        if isinstance(given, Mapping):
            config = dict(given)
            name = config.pop("name", None)
            if self._save_dir is None and "save_dir" not in config:
                print_log(
                    f"{config.get('type')} keeps nothing, because it has no save_dir: give one to it or to"
                    f" the visualizer {self.instance_name!r}.",
                    logger="current",
                    level=logging.WARNING,
                )
                return
            if self._save_dir is not None:
                config.setdefault("save_dir", str(self._save_dir / "vis_data"))
            given = build(config, VISBACKENDS)
        if not isinstance(given, BaseVisBackend):
            raise TypeError(
                f"vis_backends must hold backends or their configs, got {given!r} ({type(given).__name__})."
            )
        name = name or type(given).__name__
        if name in self._vis_backends:
            raise ValueError(
                f"There are two backends called {name!r}: give one of them another name in its config,"
                f" as in dict(type={type(given).__name__!r}, name={name + '2'!r})."
            )
        self._vis_backends[name] = given
