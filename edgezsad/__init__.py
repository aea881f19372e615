"""EdgeZSAD: zero-shot anomaly detection on edge devices, reproduced in the open.

Reading order: ``config`` (what a run depends on), ``data`` (manifests and images), ``model`` (backbone, EdgeGLR),
``training``, ``scoring`` (score files), ``metrics``, ``export`` (ONNX), ``devices`` (drift), ``reported`` and
``claims`` (the paper's numbers and their status), ``plots``, ``cli``.

Submodules are imported on demand, so that ``import edgezsad`` costs nothing and a page of tables never loads PyTorch.
"""

import os as _os

# PyTorch's threads and memory on the CPU, read once when it is loaded: a script that imports torch before this package
# has neither. Who sets these variables is obeyed. Neither changes a result. What they are worth: benchmarks/forward.py.
# A thread that waits for another gives its core away instead of turning in a loop: beside other work, and steps of the
# graph run side by side, a forward pass otherwise takes up to four times as long.
_os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Large tensors on large pages: a pass at 512 px otherwise takes a quarter of a million page faults.
_os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"
