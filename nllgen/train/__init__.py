"""The training loop, its state, precision and random streams."""
