"""What has been ingested from boards into a run, and what has not."""

from collections import Counter

from edgezsad.devices.boards import BOARDS, Board
from edgezsad.devices.latency import read_latency
from edgezsad.errors import InputError
from edgezsad.run import Run
from edgezsad.scoring.score_file import read_scores


def status(run: Run) -> list[str]:
    """Lines for people, board by board: score files by seed, latency beside the paper's, and what a board needs."""
    return [line for board in BOARDS.values() for line in _board(run, board)]


def _board(run: Run, board: Board) -> list[str]:
    place = run.board(board.name)
    lines = [f"{board.name}: {board.title}, {board.reported.runtime}"]
    missing: Counter[str] = Counter()
    for seed in run.profile.seeds:
        for item in run.profile.data.targets:
            file = place / f"seed{seed}" / f"{item.name}.npz"
            refused = file.with_suffix(".refused.txt")
            if refused.exists():
                lines.append(f"  seed {seed}, {item.name}: the last result was refused, see {refused}")
            if not file.with_suffix(".json").exists():
                missing[f"seed {seed}"] += 1
                continue
            try:
                scores = read_scores(file)
                what = f"{len(scores):,} images, {_versions(scores.record.versions)}, {scores.record.device}"
            except InputError as error:
                what = f"damaged: {error}"
            lines.append(f"  seed {seed}, {item.name}: {what}")
    if missing:
        counts = ", ".join(f"{count} target(s) of {seed}" for seed, count in missing.items())
        lines.append(f"  not run: {counts}; needs {board.reported.needs}")
    try:
        latency = read_latency(place / "latency.json")
    except InputError as error:
        present = (place / "latency.json").exists()
        lines.append(f"  latency: {error}" if present else "  latency: not run")
        return lines
    lines.append(
        f"  latency: {latency.sentence()}, profile {latency.profile}, "
        f"seed {latency.seed} (the paper: {board.reported.milliseconds} ms)"
    )
    return lines


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items() if name != "edgezsad")
