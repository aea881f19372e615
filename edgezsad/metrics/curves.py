"""The formulas, once: for images, for pixels, and for resamples of either.

All take what normal and defective scores hold at distinct scores in ascending order, (K,) each: counts or weights, so
that tied scores are one place. They are compiled, since a benchmark asks for them a hundred thousand times.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def auroc(normal, defective):
    """Area under the ROC curve in [0, 1], ties counted half; NaN if either has nothing.

    Source: Hanley and McNeil, Radiology 1982 (the area is the Mann-Whitney statistic).
    """
    below, won = 0.0, 0.0
    for place in range(len(normal)):
        won += defective[place] * (below + normal[place] / 2)
        below += normal[place]
    pairs = below * defective.sum()
    return won / pairs if pairs > 0 else np.nan


@njit(cache=True, nogil=True)
def average_precision(normal, defective):
    """Average precision in [0, 1]: precision at each score, weighted by the recall it adds.

    NaN if either has nothing. Source: the step-wise sum of scikit-learn's `average_precision_score`.
    """
    false, found, total = 0.0, 0.0, 0.0
    for place in range(len(normal) - 1, -1, -1):
        false += normal[place]
        found += defective[place]
        if defective[place] > 0:
            total += defective[place] * found / (found + false)
    return total / found if found > 0 and false > 0 else np.nan


@njit(cache=True, nogil=True)
def f1_max(normal, defective):
    """The largest F1 in [0, 1] over all thresholds and its place: that score and those above are called defective.

    NaN and -1 if either has nothing.
    """
    all_defective = defective.sum()
    if all_defective == 0 or normal.sum() == 0:
        return np.nan, -1
    false, found, best, where = 0.0, 0.0, -1.0, -1
    for place in range(len(normal) - 1, -1, -1):
        false += normal[place]
        found += defective[place]
        f1 = 2 * found / (found + false + all_defective)
        if f1 > best:
            best, where = f1, place
    return best, where


@njit(cache=True, nogil=True)
def aupro(normal, overlap, fpr_limit):
    """Area under mean region overlap over false-positive rate up to `fpr_limit`, divided by it; in [0, 1].

    MVTec AD's definition (Bergmann et al., IJCV 2021): every region weighs the same, the curve is interpolated linearly
    at the limit. `overlap` holds defective pixels, each weighing one over its region's area. NaN if either has nothing.
    """
    normals, regions = normal.sum(), overlap.sum()
    if normals == 0 or regions == 0:
        return np.nan
    fpr, pro, area = 0.0, 0.0, 0.0
    for place in range(len(normal) - 1, -1, -1):
        step, rise = normal[place] / normals, overlap[place] / regions
        if fpr + step >= fpr_limit:
            part = fpr_limit - fpr
            area += part * (pro + rise * part / step / 2) if step > 0 else 0.0
            break
        area += step * (pro + rise / 2)
        fpr += step
        pro += rise
    return area / fpr_limit
