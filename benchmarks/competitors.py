"""Implementations that metrics.py compares, each with the code that its user would write, and their generated images.

Images are (map, mask or None) of an iterable that can be read twice. Each implementation enlarges the maps with the
same call, and only the packages of the chosen one are imported.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import cv2
import numpy as np

from edgezsad.files import versions
from edgezsad.metrics.pixel_metrics import enlarge

MVTEC_AD = 1725
PIXELS = 512
LOW = 64
POOL = 40
DEFECTIVE = 1258 / 1725
METRICS = ("auroc", "average_precision", "f1_max", "aupro", "aupro_steps")
Image = tuple[np.ndarray, np.ndarray | None]
FPR_LIMIT = 0.3
STEPS = 200


@dataclass(frozen=True)
class Competitor:
    """An implementation of pixel metrics.

    Attributes:
        modules: imported before the measurement.
        says: how it is used, and how its metrics differ from their names.
        ours: it belongs to this package and must not fail.
    """

    title: str
    run: Callable[[Iterable[Image]], dict[str, float]]
    package: str
    modules: tuple[str, ...]
    says: str = ""
    ours: bool = False

    @property
    def installed(self) -> bool:
        return all(find_spec(module.partition(".")[0]) for module in self.modules)


def version_of(competitor: Competitor) -> str:
    """Return the installed version, or "absent"."""
    found = versions() if competitor.package == "edgezsad" else versions(competitor.package)
    return found[competitor.package]


def one_pass(images: Iterable[Image]) -> dict[str, float]:
    """Compute the metrics with this package."""
    from edgezsad.metrics.pixel_metrics import pixel_metrics

    found = pixel_metrics(*zip(*images, strict=True), PIXELS)
    return {"auroc": found.auroc, "average_precision": found.ap, "f1_max": found.f1max, "aupro": found.aupro}


def steps(images: Iterable[Image]) -> dict[str, float]:
    """Compute AUPRO-200 with this package."""
    from edgezsad.metrics.pixel_metrics import pixel_metrics

    return {"aupro_steps": pixel_metrics(*zip(*images, strict=True), PIXELS).aupro200}


def one_sort(images: Iterable[Image]) -> dict[str, float]:
    """Compute all four exactly from one sort of the normal pixels, independently of the package.

    Each metric is a sum over defective pixels of a function of the numbers of normal pixels above and equal.
    """
    normal, defective, weight = [], [], []
    for anomaly_map, mask in images:
        large = enlarge(anomaly_map, PIXELS)
        if mask is None:
            normal.append(large.ravel())
            continue
        label = cv2.connectedComponents(mask, connectivity=8)[1]
        normal.append(large[label == 0])
        defective.append(large[label > 0])
        weight.append(1 / np.bincount(label.ravel())[label[label > 0]])
    # Joined piece by piece: the whole test set has 1.8 GB.
    sorted_normal = np.empty(sum(len(part) for part in normal), dtype=np.float32)
    end = 0
    for number, part in enumerate(normal):
        sorted_normal[end : end + len(part)] = part
        end += len(part)
        normal[number] = None
    sorted_normal.sort()
    order = np.argsort(-(scores := np.concatenate(defective)), kind="stable")
    scores, weight = scores[order], np.concatenate(weight)[order]
    # From the highest score down; tied defective pixels count once.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    found, equal = last + 1.0, np.diff(last, prepend=-1)
    above = len(sorted_normal) - np.searchsorted(sorted_normal, scores[last], side="right").astype(float)
    down_to = len(sorted_normal) - np.searchsorted(sorted_normal, scores[last], side="left").astype(float)
    precision, recall = found / (found + down_to), found / len(scores)
    low, high = above / len(sorted_normal), down_to / len(sorted_normal)
    # Area that a pixel adds: all rates above its ties, half of those within them.
    tied = np.maximum(high - low, 1e-300)
    area = np.where(high <= FPR_LIMIT, FPR_LIMIT - (low + high) / 2, np.maximum(FPR_LIMIT - low, 0) ** 2 / (2 * tied))
    weights = np.add.reduceat(weight, np.append(0, last[:-1] + 1))
    return {
        "auroc": float(equal @ (1 - (low + high) / 2)) / len(scores),
        "average_precision": float(equal @ precision) / len(scores),
        "f1_max": float((2 * precision * recall / (precision + recall)).max()),
        "aupro": float(weights @ area) / weight.sum() / FPR_LIMIT,
    }


def scikit_learn(images: Iterable[Image]) -> dict[str, float]:
    """Compute three metrics with scikit-learn, which sorts for each."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    maps, masks = _stacked(images)
    label, score = masks.ravel(), maps.ravel()
    precision, recall, _ = precision_recall_curve(label, score)
    return {
        "auroc": float(roc_auc_score(label, score)),
        "average_precision": float(average_precision_score(label, score)),
        "f1_max": float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()),
    }


def adeval(images: Iterable[Image]) -> dict[str, float]:
    """Compute the metrics with ADEval's accumulator, which needs the range of the scores."""
    # NumPy 2.4 removed it; this release of ADEval uses it.
    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid
    from adeval import EvalAccumulator

    accumulator = EvalAccumulator(*_ends(images))
    for anomaly_map, mask in images:
        accumulator.add_anomap(anomaly_map, _filled(mask))
    # Its summary also needs image scores.
    return {
        "auroc": accumulator._auroc(accumulator._pixel_acc),
        "average_precision": accumulator._aupr(accumulator._pixel_acc),
        "aupro": accumulator._aupro(),
    }


def loop(images: Iterable[Image]) -> dict[str, float]:
    """Compute AUPRO as most zero-shot repositories do: regions are searched again for each threshold."""
    from skimage.measure import label, regionprops

    maps, masks = _stacked(images)
    low, high = float(maps.min()), float(maps.max())
    fpr, pro = [], []
    for threshold in np.arange(low, high, (high - low) / STEPS)[:STEPS]:
        called = maps > threshold
        overlaps = []
        for each, mask in zip(called, masks, strict=True):
            for region in regionprops(label(mask)):
                overlaps.append(each[tuple(region.coords.T)].mean())
        normal = masks == 0
        fpr.append((called & normal).sum() / normal.sum())
        pro.append(np.mean(overlaps))
    fpr, pro = np.array(fpr)[::-1], np.array(pro)[::-1]
    kept = fpr < FPR_LIMIT
    stretched = (fpr[kept] - fpr[kept][0]) / (fpr[kept][-1] - fpr[kept][0])
    return {"aupro_steps": float(np.trapezoid(pro[kept], stretched))}


def _filled(mask: np.ndarray | None) -> np.ndarray:
    return np.zeros((PIXELS, PIXELS), dtype=np.uint8) if mask is None else mask


def _ends(images: Iterable[Image]) -> tuple[float, float]:
    ends = np.array([(a.min(), a.max()) for a, _ in images])
    return float(ends[:, 0].min()), float(ends[:, 1].max())


def _stacked(images: Iterable[Image]) -> tuple[np.ndarray, np.ndarray]:
    large, masks = zip(*((enlarge(a, PIXELS), _filled(m)) for a, m in images), strict=True)
    return np.stack(large), np.stack(masks)


class Made:
    """A reproducible test set with the sizes and shares of MVTec-AD's.

    Each image takes its map from a small pool, with its own gain and offset: scores hardly repeat, and the data costs
    neither time nor memory that would count as an implementation's.
    """

    def __init__(self, count: int):
        self.count = count
        self.pool = [_image(np.random.default_rng((7, number)), number) for number in range(POOL)]
        changes = np.random.default_rng(11).normal((1, 0), (0.03, 0.1), size=(count, 2))
        self.changes = changes.astype(np.float32)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for number in range(self.count):
            anomaly_map, mask = self.pool[number % POOL]
            gain, offset = self.changes[number]
            yield anomaly_map * gain + offset, mask


def _image(random: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a map (64, 64) float32 and its mask (512, 512) uint8, 0 or 1; None for a normal image."""
    ground = cv2.GaussianBlur(random.normal(size=(LOW, LOW)), (0, 0), 3)
    anomaly_map = -4 + 1.2 * ground / ground.std() + 0.15 * random.normal(size=(LOW, LOW))
    # Defective images are spaced evenly.
    if int((number + 1) * DEFECTIVE) == int(number * DEFECTIVE):
        return anomaly_map.astype(np.float32), None
    mask = np.zeros((PIXELS, PIXELS), dtype=np.uint8)
    for _ in range(random.integers(1, 4)):
        defect = _defect(random)
        mask |= defect
        # A detector responds to defects with different strength, and without sharp edges.
        seen = cv2.GaussianBlur(cv2.resize(defect.astype(float), (LOW, LOW), interpolation=cv2.INTER_AREA), (0, 0), 2)
        anomaly_map += random.uniform(1.5, 9) * seen
    return anomaly_map.astype(np.float32), mask


def _defect(random: np.random.Generator) -> np.ndarray:
    """Return the mask of a circle with a varying radius."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    waves = sum(random.normal(0, 0.12) * np.cos(k * angle + random.uniform(0, 2 * np.pi)) for k in (1, 2, 3, 4))
    # Most are small, a few cover a tenth of the image.
    radius = np.exp(random.normal(np.log(30), 0.6)) * np.clip(1 + waves, 0.3, 2)
    centre = random.uniform(60, PIXELS - 60, size=2)
    outline = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mask = np.zeros((PIXELS, PIXELS), dtype=np.uint8)
    return cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)


_PIXEL = ("edgezsad.metrics.pixel_metrics",)
COMPETITORS = {
    "one_pass": Competitor("EdgeZSAD", one_pass, "edgezsad", _PIXEL, "one pass over bins", ours=True),
    "steps": Competitor("EdgeZSAD, AUPRO-200", steps, "edgezsad", _PIXEL, "the loop's quantity", ours=True),
    "one_sort": Competitor("one sort", one_sort, "numpy", ("numpy",), "exact, written for this benchmark", ours=True),
    "scikit_learn": Competitor("scikit-learn", scikit_learn, "scikit-learn", ("sklearn.metrics",), "no AUPRO"),
    "adeval": Competitor(
        "ADEval",
        adeval,
        "adeval",
        ("cv2", "adeval"),
        "streamed, 1,000 bins, range given; no F1-max; its AP is the trapezoid under the curve",
    ),
    "loop": Competitor(
        "200-step loop", loop, "scikit-image", ("skimage.measure",), "AUPRO-200 only: another quantity than AUPRO"
    ),
}
