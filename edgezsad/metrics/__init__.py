"""Metrics from arrays (`image_metrics`, `pixel_metrics`) and from score files, with intervals and paired tests."""
