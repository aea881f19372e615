"""Do the results belong to the images that they are said to be of?

Hashes settle what happened after the board wrote a result. For all before that, the host's own maps of the same images
tell: lower precision changes a map a little, another image's map is a different one. A result is called misplaced only
if another image explains it far better than its own does, so that a board that merely computes badly is never refused
for it: that is drift, and drift is to be reported.
"""

import numpy as np

from edgezsad.config import Runtime
from edgezsad.data.images import load
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.score_file import read_scores

HOSTS: tuple[Runtime, ...] = ("onnx-fp32", "pytorch")
SAMPLE = 8
FAR_BETTER = 4.0
"""Another image's map must be so many times closer."""
_BLOCK = 256


def host_maps(run: Run, seed: int, manifest: Manifest, detector_sha256: str) -> tuple[np.ndarray, np.ndarray]:
    """The host's maps of a target: of all images from its score file, or else of a few that are computed here.

    Returns:
        Row numbers in the manifest, and as many maps (n, h, w).

    Raises:
        InputError: there is no score file, and an image to compute one from is missing.
    """
    ids = np.array([entry.id for entry in manifest.entries])
    for runtime in HOSTS:
        try:
            scores = read_scores(run.scores(runtime, seed, manifest.name))
            if scores.record.status == "ok" and scores.record.detector_sha256 == detector_sha256:
                return np.arange(len(ids)), scores.take(ids).map
        except InputError:
            # Missing, damaged, or of other images: the next one.
            continue
    rows = np.unique(np.linspace(0, len(ids) - 1, min(SAMPLE, len(ids))).round().astype(int))
    scorer = OnnxScorer(run.onnx(seed, "fp32"))
    maps = [scorer.score(load(manifest.path(manifest.entries[row]), scorer.size))[1] for row in rows]
    return rows, np.stack(maps)


def misplaced(rows: np.ndarray, host: np.ndarray, device: np.ndarray) -> list[tuple[int, int]]:
    """Images whose host map is far closer to another image's result than to their own.

    Args:
        rows: (n,) which results the host's maps are of.
        host: (n, h, w) maps.
        device: (N, h, w) maps of all results.

    Returns:
        (row, the row whose result it is), for each such image.
    """
    flat = device.reshape(len(device), -1).astype(np.float64)
    found = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        ours = host[start : start + _BLOCK].reshape(len(block), -1).astype(np.float64)
        square = (ours**2).sum(axis=1)[:, None] + (flat**2).sum(axis=1)[None] - 2 * ours @ flat.T
        distance = np.sqrt(np.maximum(square, 0))
        own = distance[np.arange(len(block)), block]
        best = distance.argmin(axis=1)
        far = distance.min(axis=1) * FAR_BETTER < own
        found += [(int(row), int(other)) for row, other in zip(block[far], best[far], strict=True)]
    return found


def same_for_all(device: np.ndarray) -> bool:
    """All maps are the same although the images are not: the images did not reach the model."""
    return len(device) > 1 and bool((device == device[:1]).all())
