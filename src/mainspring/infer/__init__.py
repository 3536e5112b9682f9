"""What a trained model is for: predictions, from a checkpoint alone, and the model in forms that run without us."""

from .base_inferencer import BaseInferencer
from .export import export_model
from .load_model import load_model

__all__ = ["BaseInferencer", "export_model", "load_model"]
