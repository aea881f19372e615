"""Reference implementations of the metrics, written for clarity, as oracles of the tests."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve


def aupro_by_steps(maps: np.ndarray, masks: np.ndarray, weight: np.ndarray, limit: float) -> float:
    """AUPRO as most zero-shot repositories compute it: 200 thresholds, rates below the limit stretched to [0, 1]."""
    low, high = float(maps.min()), float(maps.max())
    called = [maps > np.float64(low + (high - low) / 200 * step) for step in range(200)]
    rates = np.array([each[~masks].mean() for each in called])
    overlaps = np.array([weight[each].sum() for each in called]) / weight.sum()
    rates, overlaps = (values[::-1][rates[::-1] < limit] for values in (rates, overlaps))
    if not len(rates) or rates[0] == rates[-1]:
        return math.nan
    return float(np.trapezoid(overlaps, (rates - rates[0]) / (rates[-1] - rates[0])))


def sort_all_pixels(
    maps: np.ndarray, masks: np.ndarray, pixels: int | None = None, limit: float = 0.3
) -> SimpleNamespace:
    """Pixel metrics from a sort of all pixels, by scikit-learn; slow, and the whole set in memory."""
    if pixels is not None:
        maps = np.stack([cv2.resize(each, (pixels, pixels), interpolation=cv2.INTER_LINEAR) for each in maps])
        masks = np.stack([cv2.resize(each, (pixels, pixels), interpolation=cv2.INTER_NEAREST_EXACT) for each in masks])
    masks = np.asarray(masks).astype(bool)
    weight = np.zeros(masks.shape)
    for mask, out in zip(masks, weight, strict=True):
        # 8-connected regions.
        region = ndimage.label(mask, np.ones((3, 3)))[0]
        out[mask] = 1 / np.bincount(region.ravel())[region[mask]]
    label, score = masks.ravel(), np.unique(maps.ravel(), return_inverse=True)[1]
    precision, recall, _ = precision_recall_curve(label, score)
    # With these weights the true-positive rate is the mean overlap of the regions.
    weights = np.where(label, weight.ravel(), 1)
    fpr, pro, _ = roc_curve(label, score, sample_weight=weights, drop_intermediate=False)
    # The curve up to the limit, and the point at the limit on the straight line to the first one that reaches it.
    end = int(np.argmax(fpr >= limit))
    at_limit = pro[end - 1] + (pro[end] - pro[end - 1]) * (limit - fpr[end - 1]) / (fpr[end] - fpr[end - 1])
    return SimpleNamespace(
        auroc=roc_auc_score(label, score),
        ap=average_precision_score(label, score),
        f1max=(2 * precision * recall / np.maximum(precision + recall, 1e-12)).max(),
        aupro=np.trapezoid(np.append(pro[:end], at_limit), np.append(fpr[:end], limit)) / limit,
        aupro200=aupro_by_steps(np.asarray(maps), masks, weight, limit),
    )


@pytest.fixture(scope="session")
def exact() -> Callable[..., SimpleNamespace]:
    return sort_all_pixels
