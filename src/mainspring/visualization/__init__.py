"""What is kept of a run to look at: scalars, images, curves."""

from .curves import plot_curves
from .scalars_file import read_scalars
from .vis_backend import BaseVisBackend, LocalVisBackend, TensorboardVisBackend
from .visualizer import Visualizer

__all__ = [
    "BaseVisBackend",
    "LocalVisBackend",
    "TensorboardVisBackend",
    "Visualizer",
    "plot_curves",
    "read_scalars",
]
