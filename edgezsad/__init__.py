"""EdgeZSAD: zero-shot anomaly detection on edge devices.

The public names below and all submodules are imported on demand: ``import edgezsad`` loads nothing else.
"""

import importlib as _importlib
import os as _os

# ONNX Runtime sends usage data and writes a device id below the home folder unless this is set before its import.
_os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "1.0.0"

_PUBLIC = {
    "InputError": "errors",
    "load_profile": "config",
    "open_run": "run",
    "Manifest": "data.manifest",
    "read_manifest": "data.manifest",
    "ScoreFile": "scoring.score_file",
    "read_scores": "scoring.score_file",
    "pixel_metrics": "metrics.pixel_metrics",
    "Prediction": "predict",
    "Detector": "predict",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(_importlib.import_module(f"edgezsad.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'edgezsad' has no attribute {name!r}")
