"""Containers that carry one sample's tensors and what is known about them."""

from .base_data_element import BaseDataElement
from .errors import MissingFieldError

__all__ = ["BaseDataElement", "MissingFieldError"]
