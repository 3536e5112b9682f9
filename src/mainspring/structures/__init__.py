"""Containers that carry one sample's tensors and what is known about them."""

from .base_data_element import BaseDataElement
from .errors import MissingFieldError
from .instance_data import InstanceData
from .label_data import LabelData
from .pixel_data import PixelData

__all__ = ["BaseDataElement", "InstanceData", "LabelData", "MissingFieldError", "PixelData"]
