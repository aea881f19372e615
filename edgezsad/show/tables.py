"""How a page shows a table: plain HTML with fixed digits, missing values in words, no index column."""

import pandas as pd
from pandas.io.formats.style import Styler
from pydantic import BaseModel

LABELS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1-max",
    "pixel_aupro": "pixel AUPRO",
    "pixel_aupro200": "pixel AUPRO-200",
    "without_mask": "without mask",
    "false_alarms": "false alarms",
    "best_threshold": "best threshold",
    "host_auroc": "host AUROC",
    "device_auroc": "device AUROC",
    "points": "drift (points)",
    "spearman": "Spearman",
    "kendall": "Kendall",
    "largest": "largest score change",
    "largest_spreads": "in spreads of the host's",
    "newly_defective": "newly called defective",
    "newly_normal": "newly called normal",
    "map_correlation": "map correlation",
    "score_difference": "score difference",
    "map_difference": "map difference",
    "validation_auroc_score": "AUROC, score",
    "validation_auroc_ranking": "AUROC, global head",
    "validation_auroc_correction": "AUROC, correction",
    "megabytes": "MB",
    "parameters": "parameters (M)",
    "weights": "weights (thousands)",
    "score_error": "score error",
    "map_error": "map error",
    "left_out": "layers in FP32",
}


def table(frame: pd.DataFrame, digits: int = 1, missing: str = "undefined", caption: str = "") -> Styler:
    """A table for a page.

    Args:
        frame: what to show; known column names are written out.
        digits: after the point, for numbers that are not whole.
        missing: the word for a missing value, which is never left blank.
        caption: one sentence saying what the numbers are.
    """
    styler = frame.rename(columns=LABELS).style.hide(axis="index").format(precision=digits, na_rep=missing)
    return styler.set_caption(caption) if caption else styler


def counts(values: dict[str, int]) -> pd.DataFrame:
    """Counts by name as a table of one row, so that a long list of operators stays short on the page."""
    return pd.DataFrame([values])


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows for a results file; JSON has no NaN, so what is undefined or absent becomes null."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def settings(*parts: BaseModel) -> pd.DataFrame:
    """Parts of the configuration, or a record, as rows of name and value."""
    return pd.DataFrame([{"setting": name, "value": str(value)} for part in parts for name, value in part])
