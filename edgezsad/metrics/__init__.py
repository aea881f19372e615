"""Metrics: NumPy in, numbers out. Image level in `image`, pixel level in `pixel`, their tables in `table`."""
