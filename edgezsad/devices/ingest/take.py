"""Taking a result in: what is good becomes score files and a latency record; what is not is refused by name.

A target with a fault is refused as a whole, since a table over part of its images would be another number; the others
and the latency are taken. What was there before stays as it was wherever the new result is refused.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.devices.ingest.archive import opened
from edgezsad.devices.ingest.order import host_maps, misplaced, same_for_all
from edgezsad.devices.ingest.outputs import Outputs, read_outputs
from edgezsad.devices.ingest.result import Listed, Result, read_result
from edgezsad.devices.ingest.timing import device_name, read_latency, tool_versions
from edgezsad.devices.kit.pictures import picture_data
from edgezsad.devices.latency import Latency, write_latency
from edgezsad.errors import CheckError, InputError
from edgezsad.files import sha256_of_bytes, write_text
from edgezsad.run import Run
from edgezsad.scoring.score_file import RunRecord, ScoreFile, write_scores
from edgezsad.scoring.score_run import subset

SHOWN = 5
LATENCY = "latency"
PROBED = 3
"""Images of each target that are prepared again, to see that the kit's are the host's."""


@dataclass
class Taken:
    """What became of a result.

    Attributes:
        board: its name.
        scores: the score files that were written, by target.
        latency: the record that was written, if it was.
        refused: faults by target, and under "latency" those of the timing run.
        notes: what fails nothing.
    """

    board: str
    scores: dict[str, Path] = field(default_factory=dict)
    latency: Latency | None = None
    refused: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_text(self) -> str:
        """For people; of many faults of one target the first few."""
        lines = [f"note: {note}" for note in self.notes]
        lines += [f"{target}: taken, {path}" for target, path in self.scores.items()]
        if self.latency:
            lines.append(f"latency: taken, {self.latency.sentence()}")
        for name, faults in self.refused.items():
            lines += [f"{name}: refused: {fault}" for fault in faults[:SHOWN]]
            if len(faults) > SHOWN:
                lines.append(
                    f"{name}: and {len(faults) - SHOWN} more, all in {name}.refused.txt beside the score files"
                )
        return "\n".join(lines)

    def require_all(self) -> None:
        """Raise if anything was refused.

        Raises:
            CheckError: it was.
        """
        if self.refused:
            raise CheckError(
                f"{self.board}: refused {', '.join(self.refused)}; run the kit again for them: run.sh makes what is "
                "missing, run.sh --restart makes everything"
            )


def ingest(path: Path, run: Run, output: Path | None = None, timing: Path | None = None) -> Taken:
    """Take a board's result in.

    Args:
        path: the archive that `run.sh` packed, or a folder that it was unpacked into.
        run: the run that the kit was written from.
        output: the folder to write to; the run's own place for the board when None.
        timing: see `timing.read_latency`.

    Raises:
        InputError: the result as a whole can not be used; nothing is written.
    """
    with opened(path) as folder:
        result = read_result(folder, path.name, run)
        place = output or run.board(result.board.name)
        outputs = read_outputs(result, run.onnx(result.kit.seed, "fp32"))
        taken = Taken(result.board.name, notes=list(result.notes))
        for target in result.kit.targets:
            listed = [image for image in result.images if image.target == target.name]
            file = place / f"seed{result.kit.seed}" / f"{target.name}.npz"
            try:
                manifest = _manifest(run, result, target.name, target.manifest_sha256)
                faults = outputs.faults.get(target.name) or _check_target(run, result, manifest, listed, outputs)
            except InputError as error:
                faults = [str(error)]
            told = file.with_suffix(".refused.txt")
            if faults:
                taken.refused[target.name] = faults
                write_text(told, "".join(f"{fault}\n" for fault in faults))
                continue
            taken.scores[target.name] = write_scores(_scores(result, manifest, listed, outputs), file)
            told.unlink(missing_ok=True)
        try:
            taken.latency = read_latency(result, timing)
            write_latency(taken.latency, place / "latency.json")
        except InputError as error:
            taken.refused[LATENCY] = [str(error)]
        return taken


def _manifest(run: Run, result: Result, name: str, sha256: str) -> Manifest:
    """The target's images as the host has them, which must be the kit's."""
    item = next((item for item in run.profile.data.targets if item.name == name), None)
    if item is None:
        raise InputError(f"{name}: no target of {run.profile.title}")
    manifest = read_run_manifest(run, item).select("test")
    if result.kit.images_per_target is not None:
        manifest = subset(manifest, result.kit.images_per_target)
    if manifest.sha256 != sha256:
        raise InputError(
            f"{name}: of another manifest ({sha256[:12]}, the run's is {manifest.sha256[:12]}): other images, labels "
            "or masks; write a new kit and run it"
        )
    return manifest


def _check_target(run: Run, result: Result, manifest: Manifest, listed: list[Listed], outputs: Outputs) -> list[str]:
    """What is wrong with a target whose results are all there."""
    if [image.id for image in listed] != [entry.id for entry in manifest.entries]:
        return ["the kit lists other images than the manifest, or in another order"]
    for row in np.unique(np.linspace(0, len(listed) - 1, min(PROBED, len(listed))).round().astype(int)):
        data = picture_data(manifest, manifest.entries[row], result.kit.size)
        if sha256_of_bytes(data) != listed[row].sha256:
            return [f"{listed[row].id}: what the board was given is not this image as the host prepares it now"]
    device = np.stack([outputs.map[image.key] for image in listed])
    if same_for_all(device):
        return ["every image has the same result: the images did not reach the model"]
    rows, host = host_maps(run, result.kit.seed, manifest, result.kit.detector_sha256)
    return [
        f"{listed[row].id}: its result is at {listed[other].id}; the results are re-ordered"
        for row, other in misplaced(rows, host, device)
    ]


def _scores(result: Result, manifest: Manifest, listed: list[Listed], outputs: Outputs) -> ScoreFile:
    facts, board = result.facts, result.board
    steps = [result.commands[step] for step in ("build", "run") if step in result.commands]
    conditions = ", ".join(
        f"{name} {facts[key]}"
        for name, key in (
            ("power mode", "power_mode"),
            ("clocks", "clocks"),
            ("L4T", "l4t"),
            ("SoC", "soc"),
            ("by", "tool"),
            ("version", "tool_version"),
        )
        if facts.get(key)
    )
    record = RunRecord(
        profile=result.kit.profile,
        target=manifest.name,
        seed=result.kit.seed,
        runtime=board.runtime,
        precision=board.precision,
        device=device_name(result),
        model_sha256=facts["model_sha256"],
        detector_sha256=result.kit.detector_sha256,
        manifest_sha256=manifest.sha256,
        command="; ".join(steps),
        versions=tool_versions(result),
        timing_method=(
            f"images were not timed one by one: latency.json has a timing run, {result.commands.get('time', 'none')}; "
            f"{conditions}"
        ),
    )
    count = len(listed)
    return ScoreFile(
        image_id=np.array([entry.id for entry in manifest.entries]),
        category=np.array([entry.category for entry in manifest.entries]),
        label=np.array([entry.label for entry in manifest.entries], dtype=np.int8),
        score=np.array([outputs.score[image.key] for image in listed], dtype=np.float32),
        map=np.stack([outputs.map[image.key] for image in listed]),
        milliseconds=np.full(count, np.nan, dtype=np.float32),
        record=record,
    )
