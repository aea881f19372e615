"""EdgeZSAD: zero-shot anomaly detection on edge devices.

Reading order: ``config``, ``run``, ``data`` (manifests and images), ``source`` (Real-IAD-DR), ``model`` (backbone and
readouts), ``scoring`` (score files), ``metrics``, ``export`` (ONNX), ``training``, ``devices`` (drift), ``claims``,
``show`` (tables, charts, maps), ``predict``, ``evaluate``, ``cli``.

Submodules are imported on demand: ``import edgezsad`` loads nothing else.
"""

import os as _os

# ONNX Runtime sends usage data and writes a device id below the home folder unless this is set before its import.
_os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
