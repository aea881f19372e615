"""What a threshold decides: how many defective images are found and missed, how many normal ones called defective.

AUROC asks only for the order of scores; an inspection line needs a threshold, and ours comes from held-out images of
the source.
"""

from collections.abc import Iterable

import pandas as pd

from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.run import Run
from edgezsad.scoring.scorefile import ScoreFile, read_scores

COLUMNS = ("defective", "found", "missed", "normal", "false alarms")


def threshold_of(run: Run, seed: int) -> float:
    """A seed's threshold (logit): at or above it an image is called defective.

    Raises:
        InputError: the seed has not been trained, or its record has no threshold.
    """
    path = run.seed_folder(seed) / "metrics.json"
    remedy = "run notebook 03_training for this seed"
    record = read_json(path, remedy)
    try:
        return float(record["threshold"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: no threshold in it; {remedy}") from None


def decisions(files: Iterable[ScoreFile], threshold: float) -> pd.DataFrame:
    """Counts of images at a threshold: one row a score file, named by its target, and their sum."""
    rows = []
    for scores in files:
        called, defective = scores.score >= threshold, scores.label == 1
        counts = (defective.sum(), (defective & called).sum(), (defective & ~called).sum())
        counts += ((~defective).sum(), (~defective & called).sum())
        rows.append({"target": scores.record.target} | dict(zip(COLUMNS, map(int, counts), strict=True)))
    table = pd.DataFrame(rows, columns=["target", *COLUMNS])
    return pd.concat([table, pd.DataFrame([{"target": "together", **table[list(COLUMNS)].sum()}])], ignore_index=True)


def decision_table(run: Run, seed: int) -> pd.DataFrame:
    """Decisions of one seed on every target of a run, by PyTorch's scores.

    Raises:
        InputError: a score file or the seed's record is missing.
    """
    files = [read_scores(run.scores("pytorch", seed, item.name)) for item in run.profile.data.targets]
    return decisions(files, threshold_of(run, seed))
