"""A training engine for PyTorch."""
