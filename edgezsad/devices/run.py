"""The drift pages: one runtime against PyTorch on the host over all targets and seeds, and the board's empty row."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from edgezsad.config import Runtime
from edgezsad.devices.drift import drift_table, not_run
from edgezsad.reported import DRIFT_POINTS, ReportedLatency
from edgezsad.run import Run
from edgezsad.scoring.scorefile import ScoreFile, read_scores
from edgezsad.show import records

HOST: Runtime = "pytorch"


@dataclass(frozen=True)
class RuntimeDrift:
    """Drift of one runtime.

    Attributes:
        runtime: its name.
        table: one row for each target and seed; empty when it did not run.
        pairs: the (host, device) score files behind the table.
        reason: why it did not run; empty when it did.
    """

    runtime: Runtime
    table: pd.DataFrame
    pairs: list[tuple[ScoreFile, ScoreFile]]
    reason: str

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
        if self.largest_points is None or self.largest_mean_points is None or self.smallest_rank_agreement is None:
            return "AUROC or rank agreement undefined: no target has normal and defective images"
        beyond = int((self.table["points"].abs() >= DRIFT_POINTS).sum())
        return (
            f"largest drift of a target's mean over seeds {self.largest_mean_points:.3f} points, of a single seed "
            f"{self.largest_points:.3f}; {beyond} of {len(self.table)} rows reach the paper's bound for boards, "
            f"{DRIFT_POINTS}; smallest Spearman {self.smallest_rank_agreement:.5f}"
        )

    def result(self) -> dict[str, object]:
        """For the results file."""
        return {
            "runtime": self.runtime,
            "status": "not run" if self.reason else "ok",
            "reason": self.reason,
            "largest_drift_points": self.largest_points,
            "largest_drift_points_of_the_mean": self.largest_mean_points,
            "smallest_spearman": self.smallest_rank_agreement,
            "rows": records(self.table),
        }


def runtime_drift(run: Run, runtime: Runtime) -> RuntimeDrift:
    """Compare a runtime's score files with the host's.

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
    return RuntimeDrift(runtime, drift_table(pairs), pairs, "")


def latency_table(run: Run, runtimes: list[Runtime], board: ReportedLatency) -> pd.DataFrame:
    """Median milliseconds an image of each runtime on this host, and the board's reported value with ours not run."""
    rows = []
    for runtime in runtimes:
        if runtime not in run.profile.evaluation.runtimes:
            continue
        # PyTorch times only the first seed, the emulator runs only one.
        seed = run.profile.evaluation.emulator.seed if runtime == "qnn-htp-fp16" else run.profile.seeds[0]
        files = [read_scores(run.scores(runtime, seed, item.name)) for item in run.profile.data.targets]
        reason = not_run([scores.record for scores in files])
        times = pd.Series(np.concatenate([scores.milliseconds for scores in files]))
        record = files[0].record
        rows.append(
            {
                "where": f"host, {runtime}",
                "model": run.profile.model.backbone,
                "median ms": None if reason else float(times.median()),
                "p95 ms": None if reason else float(times.quantile(0.95)),
                "status": f"not run: {reason}" if reason else "measured here",
                "how": ""
                if reason
                else f"{record.device}; {record.timing_method}; other steps of the run shared the processor",
            }
        )
    rows.append(
        {
            "where": board.device,
            "model": run.profile.paper_graph.backbone,
            "median ms": None,
            "p95 ms": None,
            "status": f"not run: needs {board.needs}",
            "how": f"the paper reports {board.milliseconds} ms by {board.runtime}",
        }
    )
    return pd.DataFrame(rows)


def board_rows(run: Run, board: ReportedLatency) -> pd.DataFrame:
    """The paper's drift claim on a board: one row a benchmark, all of them not run here."""
    return pd.DataFrame(
        [
            {
                "benchmark": item.stands_for or item.name,
                "paper: drift (points)": f"below {DRIFT_POINTS}",
                "ours": "not run",
                "needs": board.needs,
            }
            for item in run.profile.data.targets
        ]
    )
