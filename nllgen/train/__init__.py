"""The loop, its state, precision and random streams."""
