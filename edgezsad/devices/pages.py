"""The tables of the drift pages: the paper's claim on a board beside ours, changes with their intervals, latency."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from edgezsad.config import Runtime
from edgezsad.devices.boards import Board
from edgezsad.devices.changes import MEAN, Change
from edgezsad.devices.drift import not_run
from edgezsad.devices.latency import Latency, read_latency
from edgezsad.devices.run import RuntimeDrift
from edgezsad.reported import DRIFT_POINTS
from edgezsad.run import Run
from edgezsad.scoring.score_file import read_scores
from edgezsad.show.tables import LABELS


def board_rows(run: Run, board: Board, measured: RuntimeDrift) -> pd.DataFrame:
    """The paper's drift claim on a board: one row a benchmark, with ours, or not run and what it needs."""
    found = {each.target: each for each in measured.means}
    rows = []
    for item in run.profile.data.targets:
        change = found.get(item.name)
        row = {"benchmark": item.stands_for or item.name, "paper: drift (points)": f"below {DRIFT_POINTS}"}
        if change is None or change.test is None:
            rows.append(row | {"ours": "not run", "seeds": "-", "verdict": "not run", "needs": board.reported.needs})
            continue
        suspicious = [name for name in measured.suspicious if name.startswith(f"{item.name} seed ")]
        verdict = f"suspicious: exactly zero ({', '.join(suspicious)})" if suspicious else change.test.sentence()
        seeds = [str(device.record.seed) for _, device in measured.pairs if device.record.target == item.name]
        ours = {"ours": f"{change.points:+z.3f}", "seeds": ", ".join(seeds), "verdict": verdict}
        rows.append(row | ours | {"needs": "a larger set" if change.test.needed and not suspicious else "-"})
    return pd.DataFrame(rows)


def equivalence_table(changes: Sequence[Change]) -> pd.DataFrame:
    """Drift of image AUROC of each target, mean over seeds: both intervals, the test's, and its verdict in words."""
    return pd.DataFrame(
        [
            {
                "target": each.target,
                "images": each.images,
                "host_auroc": each.host,
                "points": each.points,
                # What a reader looks for first; the rest says why.
                f"below {DRIFT_POINTS}?": each.test.sentence(),
                "90%, test": _ends(each.test.low, each.test.high),
                "95%, bootstrap": _ends(each.low, each.high),
                "95%, DeLong": _ends(each.delong_low, each.delong_high),
                "no change: p": each.p_value,
                "beyond the bound: p": each.test.p_value,
            }
            for each in changes
            if each.test is not None and each.seed == MEAN
        ]
    )


def metric_table(changes: Sequence[Change]) -> pd.DataFrame:
    """Change of each metric of each target, mean over seeds, in points with the bootstrap's 95% interval."""
    rows: dict[str, dict[str, object]] = {}
    for each in changes:
        if each.seed == MEAN:
            row = rows.setdefault(each.target, {"target": each.target})
            row[LABELS[each.metric]] = f"{each.points:+z.3f} ({_ends(each.low, each.high)})"
    return pd.DataFrame(rows.values())


def latency_of(run: Run, board: Board, folder: Path | str = "") -> Latency | None:
    """What the board took for an image; None when there is no record.

    Args:
        run: whose folder is asked when none is given.
        board: whose result it is.
        folder: of an ingested result, with `latency.json`; the run's own when empty.

    Raises:
        InputError: the record is damaged.
    """
    path = (Path(folder) if str(folder) else run.board(board.name)) / "latency.json"
    return read_latency(path) if path.is_file() else None


def latency_result(latency: Latency | None) -> dict[str, object]:
    """A board's latency for the results file."""
    if latency is None or latency.status != "ok":
        reason = latency.reason if latency else "no latency record"
        return {"status": "not run", "reason": reason, "median_ms": None, "p95_ms": None}
    facts = latency.model_dump(include={"profile", "runtime", "method", "versions", "conditions", "command"})
    executions = len(latency.milliseconds) * latency.averaged
    times = {"median_ms": latency.median_ms, "p95_ms": latency.p95_ms, "iterations": executions}
    if latency.averaged > 1:
        times["mean_ms"] = latency.milliseconds[0]
    return {"status": "ok", "reason": ""} | times | facts


def latency_table(run: Run, runtimes: list[Runtime], board: Board, latency: Latency | None) -> pd.DataFrame:
    """Milliseconds an image of each runtime on this host and on the board, beside the value that the paper reports."""
    rows = []
    for runtime in runtimes:
        if runtime in run.profile.evaluation.runtimes:
            rows.append(_host_row(run, runtime))
    rows.append(_board_row(run, board, latency))
    paper = f"{board.reported.milliseconds} ms, {board.reported.runtime}, {run.profile.paper_graph.backbone}"
    rows[-1]["the paper reports"] = paper
    columns = ["where", "model", "median ms", "p95 ms", "status", "the paper reports", "how", "versions"]
    return pd.DataFrame(rows, columns=columns).fillna({"the paper reports": "-"})


def _host_row(run: Run, runtime: Runtime) -> dict[str, object]:
    # PyTorch times only the first seed, the emulator runs only one.
    seed = run.profile.evaluation.emulator.seed if runtime == "qnn-htp-fp16" else run.profile.seeds[0]
    files = [read_scores(run.scores(runtime, seed, item.name)) for item in run.profile.data.targets]
    row = {"where": f"host, {runtime}", "model": run.profile.model.backbone}
    if reason := not_run([scores.record for scores in files]):
        return row | {"status": f"not run: {reason}", "how": "-", "versions": "-"}
    times = pd.Series(np.concatenate([scores.milliseconds for scores in files]))
    record = files[0].record
    return row | {
        "median ms": float(times.median()),
        "p95 ms": float(times.quantile(0.95)),
        "status": "measured here",
        "how": f"{record.device}; {record.timing_method}; other steps of the run shared the processor",
        "versions": _listed(record.versions),
    }


def _board_row(run: Run, board: Board, latency: Latency | None) -> dict[str, object]:
    row = {"where": board.title, "model": run.profile.model.backbone}
    if latency is None or latency.status != "ok":
        reason = latency.reason if latency else f"needs {board.reported.needs}"
        return row | {"status": f"not run: {reason}", "how": "-", "versions": "-"}
    each = {"median ms": latency.median_ms, "p95 ms": latency.p95_ms} if latency.averaged == 1 else {}
    return (
        row
        | each
        | {
            "status": f"measured on the board, {len(latency.milliseconds) * latency.averaged:,} times"
            + ("" if latency.averaged == 1 else f": {latency.sentence()}"),
            "how": f"{latency.device}; {latency.method}; {_listed(latency.conditions)}",
            "versions": _listed(latency.versions),
        }
    )


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "-"


def _ends(low: float, high: float) -> str:
    return f"{low:+z.3f} to {high:+z.3f}" if np.isfinite([low, high]).all() else "undefined"
