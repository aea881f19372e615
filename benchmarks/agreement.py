"""Whether independent implementations find the same numbers on maps of real photographs.

Score files of a run are read as the book's tables read them: maps enlarged to 512 x 512, masks reduced to it.
"""

from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from competitors import COMPETITORS, METRICS, version_of
from made import PIXELS

from edgezsad.config import load_profile
from edgezsad.data.manifest import read_manifest
from edgezsad.errors import InputError
from edgezsad.metrics.category_metrics import has_pixel_labels, pixel_labels
from edgezsad.progress import progress
from edgezsad.scoring.score_file import read_scores

# The first is what the others are compared with.
COMPARED = ("one_sort", "one_pass", "scikit_learn", "torchmetrics", "adeval", "mvtec", "steps", "loop")


def agreement(maps: list[Path], data: Path | None) -> dict[str, Any]:
    """Compare all that are installed on some score files.

    Args:
        maps: score files RUN/scores/RUNTIME/SEED/TARGET.npz; the run's profile and manifests lie beside them.
        data: replaces the data's folder in the run's profile.

    Returns:
        "sets", one row for each score file; "rows", one for each of them and implementation, with its numbers and their
        distance from the exact reference (for AUPRO-200, from this package's).
    """
    sets, rows = [], []
    for path in progress(maps, "agreement", unit="score file"):
        target, seed, images = _images(path, data)
        name = f"{target}, seed {seed}"
        defective = [mask for _, mask in images if mask is not None]
        share = float(sum(mask.sum() for mask in defective) / (len(images) * PIXELS**2))
        sets.append({"set": name, "images": len(images), "defective": len(defective), "defective_pixels": share})
        right: dict[str, float] = {}
        for key in COMPARED:
            competitor = COMPETITORS[key]
            if not all(find_spec(module.partition(".")[0]) for module in competitor.modules):
                continue
            values = competitor.run(images)
            # The reference has four, `steps` the fifth.
            right = values | right
            rows.append(
                {
                    "set": name,
                    "title": competitor.title,
                    "version": version_of(competitor),
                    "values": values,
                    "differences": {
                        metric: abs(values[metric] - right[metric]) for metric in METRICS if metric in values
                    },
                }
            )
    return {"date": date.today().isoformat(), "pixels": PIXELS, "sets": sets, "rows": rows}


def _images(path: Path, data: Path | None) -> tuple[str, int, list[tuple[np.ndarray, np.ndarray | None]]]:
    """Target, seed, and maps with masks of a score file."""
    scores = read_scores(path)
    try:
        run = path.resolve().parents[3]
    except IndexError:
        raise InputError(f"{path}: not in a run's folder; give RUN/scores/RUNTIME/SEED/TARGET.npz") from None
    profile = load_profile(run / "config.yaml", data)
    target = scores.record.target
    roots = {item.name: profile.data.folder(item) for item in profile.data.targets}
    if target not in roots:
        raise InputError(f"{path}: {target} is no target of {run / 'config.yaml'}; give a score file of that run")
    manifest = read_manifest(run / "manifests" / f"{target}.csv", roots[target], target)
    maps = scores.map[has_pixel_labels(scores, manifest)]
    return target, scores.record.seed, list(zip(maps, pixel_labels(scores, manifest, PIXELS), strict=True))
