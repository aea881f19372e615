"""Tables of the book's pages: readable column names, fixed digits, missing values in words."""

import pandas as pd
from pandas.io.formats.style import Styler
from pydantic import BaseModel

LABELS = {
    "host_auroc": "host AUROC",
    "device_auroc": "device AUROC",
    "points": "drift (points)",
    "spearman": "Spearman",
    "kendall": "Kendall",
    "largest": "largest score change",
    "words": "below the bound?",
    "test_low": "90% low",
    "test_high": "90% high",
    "low": "95% low",
    "high": "95% high",
    "delong_low": "DeLong low",
    "delong_high": "DeLong high",
    "p_value": "no change: p",
    "test_p": "beyond the bound: p",
    "largest_sd": "in standard deviations of the host's",
    "newly_defective": "newly called defective",
    "newly_normal": "newly called normal",
    "validation_auroc_score": "AUROC, score",
    "validation_auroc_global_score": "AUROC, global head",
    "validation_auroc_correction": "AUROC, correction",
    "megabytes": "MB",
    "parameters": "parameters (M)",
    "weights": "weights (thousands)",
    "kept_fp32": "stays in FP32",
}
"""Column names that are more than their words; see `label`."""

_METRICS = {"auroc": "AUROC", "ap": "AP", "f1max": "F1-max", "aupro": "AUPRO", "aupro200": "AUPRO-200"}


def label(name: str) -> str:
    """Return the words of a column name: "pixel_aupro200" becomes "pixel AUPRO-200"."""
    return LABELS.get(name) or " ".join(_METRICS.get(word, word) for word in str(name).split("_"))


def table(frame: pd.DataFrame, digits: int = 1, missing: str = "undefined", caption: str = "") -> Styler:
    """Format a table for a page; HTML in its cells is shown as text.

    Args:
        frame: the rows, without the index.
        digits: after the decimal point.
        missing: text for missing values.
        caption: one sentence.
    """
    styler = frame.rename(columns=label).style.hide(axis="index")
    styler = styler.format(precision=digits, na_rep=missing, escape="html")
    return styler.set_caption(caption) if caption else styler


def counts(values: dict[str, int]) -> pd.DataFrame:
    """Return counts by name as a table of one row."""
    return pd.DataFrame([values])


def settings(*parts: BaseModel) -> pd.DataFrame:
    """Return parts of the configuration as rows of name and value."""
    return pd.DataFrame([{"setting": name, "value": str(value)} for part in parts for name, value in part])
