"""Drift of a runtime of the host, or of a board, against PyTorch over all targets and seeds of a run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from edgezsad.config import Runtime
from edgezsad.data.manifest import read_run_manifest
from edgezsad.devices.boards import Board
from edgezsad.devices.changes import MEAN, Change, Pair, change_table, image_changes, pixel_changes
from edgezsad.devices.drift import drift_table, not_run
from edgezsad.errors import InputError
from edgezsad.progress import progress
from edgezsad.reported import DRIFT_POINTS
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import THRESHOLD, read_metadata
from edgezsad.scoring.score_file import read_scores
from edgezsad.show.tables import records

HOST: Runtime = "pytorch"


@dataclass(frozen=True)
class RuntimeDrift:
    """Drift of one runtime.

    Attributes:
        runtime: its name.
        table: one row for each target and seed; empty when it did not run.
        pairs: the (host, device) score files behind the table.
        reason: why it did not run; empty when it did.
        changes: of each target's metrics, by seed and of the mean over seeds.
        missing: targets that a board's folder has no scores of.
    """

    runtime: str
    table: pd.DataFrame
    pairs: list[Pair]
    reason: str
    changes: list[Change] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def largest_points(self) -> float | None:
        """Largest absolute change of image AUROC over targets and seeds, in points; None when not run."""
        return self._worst("points", lambda points: points.abs().max())

    @property
    def largest_mean_points(self) -> float | None:
        """Largest absolute change over targets of the mean over seeds, in points: the change of the reported number.

        Tables report the mean over seeds, so this is what a reader of the table would see move. None when not run.
        """
        return self._worst("points", lambda points: points.groupby(self.table["target"]).mean().abs().max())

    @property
    def smallest_rank_agreement(self) -> float | None:
        """Smallest Spearman correlation over targets and seeds; None when not run."""
        return self._worst("spearman", lambda values: values.min())

    @property
    def suspicious(self) -> list[str]:
        """Targets and seeds with the host's scores to the last bit at another precision: nothing was computed there."""
        if self.table.empty:
            return []
        rows = self.table[self.table["suspicious"]]
        return [f"{target} seed {seed}" for target, seed in zip(rows["target"], rows["seed"], strict=True)]

    @property
    def means(self) -> list[Change]:
        """Change of image AUROC of each target, mean over seeds, with its test."""
        return [each for each in self.changes if (each.seed, each.metric) == (MEAN, "image_auroc")]

    @property
    def bound(self) -> float | None:
        """What the drift of every target's mean is below, at 5%: the farthest end of the tests' intervals, in points.

        Below the paper's bound it says that every target passes the test; None when not run.
        """
        ends = [max(abs(each.test.low), abs(each.test.high)) for each in self.means if each.test is not None]
        return max(ends) if ends and all(map(math.isfinite, ends)) else None

    def verdicts(self) -> dict[str, int]:
        """How many targets the test calls equivalent, not equivalent, undecided."""
        found = [each.test.verdict for each in self.means if each.test is not None]
        return {verdict: found.count(verdict) for verdict in ("equivalent", "not equivalent", "undecided")}

    def _worst(self, column: str, pick: Callable[[pd.Series], float]) -> float | None:
        """A column's worst value; None when nothing ran or it is undefined everywhere."""
        if self.table.empty:
            return None
        value = float(pick(self.table[column]))
        return value if math.isfinite(value) else None

    def summary(self) -> str:
        """One sentence for the page."""
        if self.reason:
            return f"not run: {self.reason}"
        if self.suspicious:
            return (
                f"suspicious: a drift of exactly zero on {', '.join(self.suspicious)}; scores equal to the last bit at "
                "another precision are the host's own, look for a silent fallback"
            )
        if self.largest_points is None or self.largest_mean_points is None or self.smallest_rank_agreement is None:
            return "AUROC or rank agreement undefined: no target has normal and defective images"
        counts = self.verdicts()
        return (
            f"largest drift of a target's mean over seeds {self.largest_mean_points:.3f} points, of a single seed "
            f"{self.largest_points:.3f}; below {DRIFT_POINTS} by the test of equivalence: {counts['equivalent']} of "
            f"{len(self.means)} targets, undecided {counts['undecided']}, not below {counts['not equivalent']}; "
            f"smallest Spearman {self.smallest_rank_agreement:.5f}"
        )

    def result(self) -> dict[str, object]:
        """For the results file."""
        return {
            "runtime": self.runtime,
            "status": "not run" if self.reason else "suspicious" if self.suspicious else "ok",
            "reason": self.reason,
            "missing": self.missing,
            "largest_drift_points": self.largest_points,
            "largest_drift_points_of_the_mean": self.largest_mean_points,
            "drift_points_below": self.bound,
            "verdicts": self.verdicts(),
            "images_needed": max((each.test.needed or 0 for each in self.means if each.test is not None), default=0),
            "smallest_spearman": self.smallest_rank_agreement,
            "rows": records(self.table),
            "changes": records(change_table(self.changes)),
        }


def runtime_drift(run: Run, runtime: Runtime, pixels: bool = False) -> RuntimeDrift:
    """Compare a runtime's score files with the host's.

    Args:
        run: with score files of both.
        runtime: other than the host's.
        pixels: pixel metrics too, which takes the masks and some time.

    Raises:
        InputError: a score file is missing.
        CheckError: scores are the host's to the last bit, a silent fallback.
    """
    if runtime not in run.profile.evaluation.runtimes:
        return RuntimeDrift(runtime, pd.DataFrame(), [], f"{runtime} is not in evaluation.runtimes of the profile")
    seeds = (run.profile.evaluation.emulator.seed,) if runtime == "qnn-htp-fp16" else run.profile.seeds
    pairs = [
        (read_scores(run.scores(HOST, seed, item.name)), read_scores(run.scores(runtime, seed, item.name)))
        for item in run.profile.data.targets
        for seed in seeds
    ]
    if reason := not_run([device.record for _, device in pairs]):
        return RuntimeDrift(runtime, pd.DataFrame(), [], reason)
    table = drift_table(pairs, thresholds(run))
    return RuntimeDrift(runtime, table, pairs, "", changes_of(run, pairs, pixels))


def board_drift(run: Run, board: Board, folder: Path | str = "") -> RuntimeDrift:
    """Compare what a board gave back with the host's score files.

    Args:
        run: with the host's score files.
        board: whose result it is.
        folder: of an ingested result: `seed{S}/{TARGET}.npz`; the run's own when empty. A board need not score every
            seed: the mean is over those that it did, on both sides.

    Raises:
        InputError: a file is damaged, of another runtime than the board's, or belongs to another model or other images.
    """
    folder = Path(folder) if str(folder) else run.board(board.name)
    pairs: list[Pair] = []
    reasons = set()
    for item in run.profile.data.targets:
        for seed in run.profile.seeds:
            path = folder / f"seed{seed}" / f"{item.name}.npz"
            device = read_scores(path) if path.is_file() else None
            if device is None or device.record.status != "ok":
                reasons |= {device.record.reason} if device else set()
                continue
            if device.record.runtime != board.runtime:
                raise InputError(
                    f"{path}: scores by {device.record.runtime}, not by {board.runtime} of the {board.title}; "
                    "give the other folder"
                )
            pairs.append((read_scores(run.scores(HOST, seed, item.name)), device))
    scored = {device.record.target for _, device in pairs}
    missing = [item.name for item in run.profile.data.targets if item.name not in scored]
    if not pairs:
        reason = "; ".join(sorted(reasons)) or f"no result of the board in {folder}; needs {board.reported.needs}"
        return RuntimeDrift(board.runtime, pd.DataFrame(), [], reason, missing=missing)
    table = drift_table(pairs, thresholds(run), strict=False)
    return RuntimeDrift(board.runtime, table, pairs, "", changes_of(run, pairs, pixels=True), missing)


def changes_of(run: Run, pairs: Sequence[Pair], pixels: bool) -> list[Change]:
    """Changes of every target's metrics, by seed and of the mean over seeds.

    Raises:
        InputError: as `image_changes` and `pixel_changes`.
    """
    found = []
    for item in progress(run.profile.data.targets, "intervals of the drift", unit="target"):
        own = [pair for pair in pairs if pair[1].record.target == item.name]
        if own:
            found += image_changes(own)
            found += pixel_changes(own, read_run_manifest(run, item), run.profile.evaluation.pixels) if pixels else []
    return found


def thresholds(run: Run) -> dict[int, float]:
    """The scores at or above which an image is called defective, by seed, as the exported graphs say; or none."""
    found = {}
    for seed in run.profile.seeds:
        path = run.onnx(seed, "fp32")
        value = read_metadata(path).get(THRESHOLD) if path.is_file() else None
        if value is not None:
            found[seed] = float(value)
    return found
