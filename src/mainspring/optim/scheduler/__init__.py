"""optim/scheduler."""
