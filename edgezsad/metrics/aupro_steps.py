"""The other quantity that papers call AUPRO or PRO: 200 thresholds, no interpolation at the limit.

Most zero-shot repositories compute it (`cal_pro_score` and its copies): 200 evenly spaced thresholds between the
smallest and the largest value of all maps; points of the curve with a false-positive rate below 0.3 are kept, their
rates are stretched to [0, 1], and the area is taken by the trapezoid rule. It depends on the extreme values of the maps
and on where the last point falls, and it can lie far from the definition of MVTec (`edgezsad.metrics.pixel_metrics`).
It is here under its own name so that a number published that way can be compared with one computed that way.
"""

from collections.abc import Iterable

import numpy as np

from edgezsad.errors import InputError
from edgezsad.metrics.regions import as_bytes, find_regions

STEPS = 200


class AuproSteps:
    """AUPRO by evenly spaced thresholds of a stream of maps whose extremes are known.

    Args:
        low, high: smallest and largest value over all maps.
        steps: number of thresholds.
        fpr_limit: only points of the curve below this false-positive rate count.
    """

    def __init__(self, low: float, high: float, steps: int = STEPS, fpr_limit: float = 0.3):
        self.fpr_limit = fpr_limit
        self.thresholds = low + (high - low) / steps * np.arange(steps)
        self._normal, self._overlap = np.zeros(steps + 1), np.zeros(steps + 1)
        self._regions = 0

    def update(self, anomaly_map: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Add one image.

        Args:
            anomaly_map: (H, W) any real numbers between `low` and `high`.
            mask: (H, W), anything but zero is defective; None: all pixels are normal.

        Raises:
            InputError: the two differ in size.
        """
        if mask is not None and mask.shape != anomaly_map.shape:
            raise InputError(f"metrics: map {anomaly_map.shape} and mask {mask.shape} differ in size; enlarge the map")
        # How many thresholds each value lies above.
        passed = np.searchsorted(self.thresholds, anomaly_map.ravel(), side="left").reshape(anomaly_map.shape)
        counts = np.bincount(passed.ravel(), minlength=len(self._normal))
        if found := None if mask is None else find_regions(as_bytes(mask)):
            inside = found.label > 0
            passed = passed[found.rows, found.columns][inside]
            weight = 1 / found.area[found.label[inside] - 1]
            self._overlap += np.bincount(passed, weight, len(self._normal))
            counts = counts - np.bincount(passed, minlength=len(self._normal))
            self._regions += len(found.area)
        self._normal += counts

    def result(self) -> float:
        """The area, in [0, 1]; NaN without normal or defective pixels, or with less than two points to connect."""
        if not self._regions or not self._normal.sum():
            return float("nan")
        # From the highest threshold down: what lies above it.
        fpr = np.cumsum(self._normal[:0:-1]) / self._normal.sum()
        pro = np.cumsum(self._overlap[:0:-1]) / self._regions
        kept = fpr < self.fpr_limit
        fpr, pro = fpr[kept], pro[kept]
        if len(fpr) < 2 or fpr[0] == fpr[-1]:
            return float("nan")
        return float(np.trapezoid(pro, (fpr - fpr[0]) / (fpr[-1] - fpr[0])))


def aupro_steps(
    maps: np.ndarray, masks: Iterable[np.ndarray | None], steps: int = STEPS, fpr_limit: float = 0.3
) -> float:
    """AUPRO by evenly spaced thresholds over a set of maps.

    Args:
        maps: (N, H, W) finite numbers.
        masks: N of (H, W), or None for an image without defects.
        steps: number of thresholds.
        fpr_limit: only points of the curve below this false-positive rate count.
    """
    evaluator = AuproSteps(float(maps.min()), float(maps.max()), steps, fpr_limit)
    for anomaly_map, mask in zip(maps, masks, strict=True):
        evaluator.update(anomaly_map, mask)
    return evaluator.result()
