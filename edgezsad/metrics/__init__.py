"""Metrics: arrays and score files in, numbers and plain tables out.

`image_metrics` and `pixel_metrics` take scores, maps and masks as arrays and need only NumPy and OpenCV; `intervals`
and `significance` add uncertainty; `benchmark_tables` reads score files.
"""
