"""Claims of the paper, of published numbers and of this package: `claims.yaml`, evaluated against a run's results."""
