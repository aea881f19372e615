"""Pixel metrics of anomaly maps: AUROC, average precision, F1-max and AUPRO, in one pass, NumPy in, numbers out.

To use them::

    evaluator = PixelEvaluator(pixels=512)
    for anomaly_map, mask in ...:
        evaluator.update(anomaly_map, mask)
    print(evaluator.result())

Memory does not grow with the number of images. Up to `ranks.BUFFERED` normal and as many defective pixels the numbers
are exact; beyond, they differ from exact ones by less than 1e-5 (AUROC) and 1e-4 (the others), whatever the scores'
distribution. `exact_pixel_metrics` sorts everything and serves as the reference.

AUPRO follows MVTec's definition: 8-connected regions of equal weight, the curve of mean region overlap over
false-positive rate interpolated at the limit (0.3), the area divided by the limit. Many zero-shot repositories report
another quantity under the same name; that one is `edgezsad.metrics.aupro_steps`.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat, zip_longest

import numpy as np

from edgezsad.errors import InputError
from edgezsad.metrics import curves
from edgezsad.metrics.ranks import Ranked, RankSummary, align, bits_of, keys_of, rank_exactly, scores_of
from edgezsad.metrics.regions import REGION_MASS, Regions, as_bytes, enlarge, find_regions, reduce_mask

FPR_LIMIT = 0.3

# Images go to the lanes in turn, so that numbers do not depend on how many cores there are or which is faster.
LANES = 2
_WAITING = 4
# Precision and F1 compare normal pixels with defective ones: a place of so few of them may always stay whole.
_FLOOR = 4e-6


@dataclass(frozen=True)
class PixelMetrics:
    """All in [0, 1]; NaN when there is no defective or no normal pixel.

    Attributes:
        auroc: area under the ROC curve, ties counted half.
        average_precision: not interpolated.
        f1_max: the largest F1 over all thresholds.
        threshold: at or above it a pixel is called defective where F1 is largest.
        aupro: by MVTec's definition, up to the evaluator's `fpr_limit`.
        images, regions: how many there were.
    """

    auroc: float
    average_precision: float
    f1_max: float
    threshold: float
    aupro: float
    images: int
    regions: int


class PixelEvaluator:
    """Pixel metrics of a stream of maps and masks.

    Args:
        pixels: maps are enlarged bilinearly and masks reduced by nearest neighbour to this height and width; None: maps
            and masks have the same size and stay as they are.
        fpr_limit: the false-positive rate up to which AUPRO integrates, in (0, 1].
    """

    def __init__(self, pixels: int | None = None, fpr_limit: float = FPR_LIMIT):
        self.pixels = pixels
        self.fpr_limit = fpr_limit
        self.images = 0
        self._bits = 0
        self._lanes: list[_Lane] = []
        self._workers: list[ThreadPoolExecutor] = []
        self._pending: list[list[Future]] = []
        if not 0 < fpr_limit <= 1:
            raise InputError(f"metrics: fpr_limit {fpr_limit} is not in (0, 1]; MVTec's is 0.3")

    def update(self, anomaly_map: np.ndarray, mask: np.ndarray | None = None, name: str = "") -> None:
        """Add one image. It is counted in the background: an error may be raised by a later call.

        Args:
            anomaly_map: (h, w) any real numbers, higher is more anomalous.
            mask: (H, W), anything but zero is defective; None: all pixels are normal.
            name: of the image, for errors; its number in the stream if empty.

        Raises:
            InputError: the map is not finite, its size is not the mask's although `pixels` is None, or its numbers are
                of another kind than those before.
        """
        name = name or f"image {self.images}"
        if anomaly_map.ndim != 2:
            raise InputError(f"metrics: {name}: a map of shape {anomaly_map.shape}; give height x width")
        bits = bits_of(anomaly_map.dtype)
        if not self._lanes:
            self._bits = bits
            self._lanes = [_Lane(bits) for _ in range(LANES)]
            self._workers = [ThreadPoolExecutor(1, thread_name_prefix="pixel-metrics") for _ in range(LANES)]
            self._pending = [[] for _ in range(LANES)]
        if bits != self._bits:
            raise InputError(f"metrics: {name}: maps of {self._bits}-bit and of {bits}-bit numbers; make them the same")
        lane = self.images % LANES
        self.images += 1
        # The caller may fill the same arrays again.
        kept = anomaly_map.copy()
        marked = None if mask is None else mask.copy()
        self._pending[lane].append(self._workers[lane].submit(self._count, self._lanes[lane], kept, marked, name))
        while len(self._pending[lane]) > _WAITING:
            self._finish(self._pending[lane].pop(0))

    def result(self) -> PixelMetrics:
        """The metrics of all images so far; more may be added afterwards."""
        for pending in self._pending:
            while pending:
                self._finish(pending.pop(0))
        if not self._lanes:
            return PixelMetrics(*[float("nan")] * 5, 0, 0)
        ranked = [worker.submit(lane.ranked) for worker, lane in zip(self._workers, self._lanes, strict=True)]
        normal, defective = (sum(part[1:], part[0]) for part in zip(*(each.result() for each in ranked), strict=True))
        regions = sum(lane.regions for lane in self._lanes)
        return _from_ranked(normal, defective, self.fpr_limit, self.images, regions, self._bits)

    def close(self) -> None:
        """End the background threads; called by itself when the evaluator is left or forgotten."""
        for worker in self._workers:
            worker.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> "PixelEvaluator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _finish(self, future: Future) -> None:
        try:
            future.result()
        except BaseException:
            self.close()
            raise

    def _count(self, lane: "_Lane", anomaly_map: np.ndarray, mask: np.ndarray | None, name: str) -> None:
        large, marked = _prepared(anomaly_map, mask, self.pixels, name, lane.large)
        lane.large = large
        lane.keys = keys_of(large, lane.keys)
        if lane.keys is None:
            raise _not_finite(name)
        lane.add(lane.keys.reshape(large.shape), None if marked is None else find_regions(marked))


class _Lane:
    """What one background thread has counted."""

    def __init__(self, bits: int):
        self.normal, self.defective = RankSummary(bits), RankSummary(bits, shared=True)
        self.defective_pixels = 0
        self.regions = 0
        # Kept from image to image: asking the system for a megabyte each time costs as much as filling it.
        self.large: np.ndarray | None = None
        self.keys: np.ndarray | None = None

    def add(self, keys: np.ndarray, found: Regions | None) -> None:
        if found is None:
            self.normal.add(keys.ravel(), floor=self.floor)
            return
        self.regions += len(found.area)
        self.defective_pixels += int(found.area.sum())
        # Only the rows of the defects are looked at pixel by pixel.
        skip = np.zeros((len(found.label), keys.shape[1]), dtype=np.uint8)
        skip[:, found.columns] = found.label > 0
        self.normal.add(keys[: found.rows.start].ravel(), floor=self.floor)
        self.normal.add(keys[found.rows].ravel(), skip=skip.ravel(), floor=self.floor)
        self.normal.add(keys[found.rows.stop :].ravel(), floor=self.floor)
        inside = found.label > 0
        share = np.maximum(np.rint(REGION_MASS / found.area), 1).astype(np.int64)
        self.defective.add(keys[found.rows, found.columns][inside], share=share[found.label[inside] - 1])

    @property
    def floor(self) -> int:
        """Normal pixels that may stay in one place wherever they rank."""
        return int(_FLOOR * self.defective_pixels)

    def ranked(self) -> tuple[Ranked, Ranked]:
        return self.normal.ranked(), self.defective.ranked()


def pixel_metrics(
    maps: Iterable[np.ndarray],
    masks: Iterable[np.ndarray | None],
    pixels: int | None = None,
    fpr_limit: float = FPR_LIMIT,
    names: Iterable[str] = repeat(""),
) -> PixelMetrics:
    """Pixel metrics of maps and masks, which may be arrays (N, H, W) or anything that yields one image at a time.

    Args:
        maps: one (h, w) for each image.
        masks: one (H, W) for each image, or None where all pixels are normal.
        pixels: as for `PixelEvaluator`.
        fpr_limit: as for `PixelEvaluator`.
        names: of the images, for errors.

    Raises:
        InputError: as `PixelEvaluator.update`, or there are more of the one than of the other.
    """
    missing = object()
    names = iter(names)
    with PixelEvaluator(pixels, fpr_limit) as evaluator:
        for anomaly_map, mask in zip_longest(maps, masks, fillvalue=missing):
            if anomaly_map is missing or mask is missing:
                raise InputError("metrics: not as many masks as maps; give one mask (or None) for each map")
            evaluator.update(anomaly_map, mask, next(names, ""))
        return evaluator.result()


def exact_pixel_metrics(
    maps: Iterable[np.ndarray],
    masks: Iterable[np.ndarray | None],
    pixels: int | None = None,
    fpr_limit: float = FPR_LIMIT,
) -> PixelMetrics:
    """The same by sorting all pixels at once: slow, and as much memory as the maps take; the reference for tests."""
    keys, shares, regions = [], [], 0
    bits = 32
    for index, (anomaly_map, mask) in enumerate(zip(maps, masks, strict=True)):
        bits = bits_of(anomaly_map.dtype)
        large, marked = _prepared(anomaly_map, mask, pixels, f"image {index}")
        key = keys_of(large)
        if key is None:
            raise _not_finite(f"image {index}")
        share = np.zeros(large.shape)
        if found := None if marked is None else find_regions(marked):
            regions += len(found.area)
            share[found.rows, found.columns] = np.concatenate([[0.0], 1 / found.area])[found.label]
        keys.append(key)
        shares.append(share.ravel())
    if not keys:
        return PixelMetrics(*[float("nan")] * 5, 0, 0)
    key, share = np.concatenate(keys), np.concatenate(shares)
    normal, defective = rank_exactly(key[share == 0]), rank_exactly(key[share > 0], share[share > 0])
    return _from_ranked(normal, defective, fpr_limit, len(keys), regions, bits)


def _prepared(
    anomaly_map: np.ndarray, mask: np.ndarray | None, pixels: int | None, name: str, out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """A map and its mask (zeros and ones) at the size at which pixels are counted; `out` is written over."""
    if pixels is not None:
        anomaly_map = enlarge(anomaly_map, pixels, out)
        return anomaly_map, None if mask is None else reduce_mask(mask, pixels)
    if mask is not None and mask.shape != anomaly_map.shape:
        raise InputError(
            f"metrics: {name}: map {anomaly_map.shape} and mask {mask.shape} differ in size; give `pixels`, or enlarge "
            "the map first"
        )
    return anomaly_map, None if mask is None else as_bytes(mask)


def _not_finite(name: str) -> InputError:
    return InputError(f"metrics: {name}: a value of its map is not finite; look at that image")


def _from_ranked(
    normal: Ranked, defective: Ranked, fpr_limit: float, images: int, regions: int, bits: int
) -> PixelMetrics:
    if not (len(normal.key) and len(defective.key)):
        return PixelMetrics(*[float("nan")] * 5, images, regions)
    both = align(normal, defective)
    f1, place = curves.f1_max(both.first, both.second)
    return PixelMetrics(
        auroc=float(curves.auroc(both.first, both.second)),
        average_precision=float(curves.average_precision(both.first, both.second)),
        f1_max=float(f1),
        threshold=float(scores_of(both.key[place : place + 1], bits)[0]),
        aupro=float(curves.aupro(both.first, both.second_share, fpr_limit)),
        images=images,
        regions=regions,
    )
