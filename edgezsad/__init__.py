"""EdgeZSAD: zero-shot anomaly detection on edge devices, reproduced in the open.

Reading order: ``config`` (what a run depends on), ``data`` (manifests and images), ``model`` (backbone, EdgeGLR),
``training``, ``scoring`` (score files), ``metrics``, ``export`` (ONNX), ``devices`` (drift), ``reported`` and
``claims`` (the paper's numbers and their status), ``plots``, ``cli``.

Submodules are imported on demand, so that ``import edgezsad`` costs nothing and a page of tables never loads PyTorch.
"""

__version__ = "0.1.0"
