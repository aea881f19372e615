"""Ingest a board's result: write score files for valid targets and a latency record, report what is rejected.

A target with a fault is rejected as a whole, because a table over part of its images would be another number; its
earlier files stay. A board that computes badly is never rejected for it: that is drift, which is to be reported.
"""

import math
import re
import tarfile
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from edgezsad.config import format_validation_errors
from edgezsad.data.manifest import Manifest
from edgezsad.devices import BOARDS
from edgezsad.devices.drift import HOST, pair_sentence
from edgezsad.devices.kit import IMAGES, RECORD, SUMS, KitRecord, folder_manifest, image_bytes, target_manifest
from edgezsad.devices.latency import NETRUN, RATE, Latency, read_qnn_layers, read_qnn_times, read_tegrastats
from edgezsad.errors import CheckError, InputError, one_line, printable
from edgezsad.files import parse_json, progress, sha256_of_bytes, write_json
from edgezsad.model import THRESHOLD
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import OnnxScorer, cores, detector_hash, read_metadata
from edgezsad.scoring.score_file import RunRecord, ScoreFile, collect_scores, read_scores, write_scores
from edgezsad.scoring.score_run import score_seeds

SLOWEST_LAYERS = 10
SHOWN = 5  # faults of each target that the text names
AGAIN = "copy the result from the board again"
_Image = namedtuple("_Image", "key target sha256 id")


@dataclass
class Ingested:
    """Outcome of an ingest: written score files and latency record; faults of each rejected target and of "latency"."""

    board: str
    scores: dict[str, Path] = field(default_factory=dict)
    latency: Latency | None = None
    rejected: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    drift: dict[str, str] = field(default_factory=dict)  # one sentence for each target

    def as_text(self) -> str:
        """Describe the outcome, with the first faults of each target."""
        lines = [f"note: {note}" for note in self.notes]
        lines += [f"{target}: written, {path}\n  {self.drift[target]}" for target, path in self.scores.items()]
        if self.latency:
            lines.append(f"latency: written, {self.latency.sentence()}")
            lines += [f"  {name}: {ms:.3f} ms" for name, ms in self.latency.layers.items()]
        for name, faults in self.rejected.items():
            lines += [f"{name}: rejected: {fault}" for fault in faults[:SHOWN]]
            if len(faults) > SHOWN:
                lines.append(f"{name}: and {len(faults) - SHOWN:,} more")
        return "\n".join(printable(line) for text in lines for line in text.split("\n"))

    def require_all(self) -> None:
        """Raise a CheckError if anything was rejected."""
        if self.rejected:
            remedy = "run.sh computes what is missing, run.sh --restart everything"
            raise CheckError(f"{self.board}: rejected {', '.join(self.rejected)}; {remedy}")


def ingest(
    path: Path,
    run: Run | None,
    output: Path | None = None,
    timing: Path | None = None,
    checkpoint: Path | None = None,
    images: Path | None = None,
) -> Ingested:
    """Ingest a board's result into `output`, by default the run's folder for the board, or below it for `checkpoint`.

    `path` is the archive that `run.sh` packed, or a folder with its contents. `timing` is for the RB5: a CSV that
    qnn-profile-viewer made of the board's log on another machine. `checkpoint` and a folder of `images`, without a
    run, are those of the kit. Nothing is written of a damaged or foreign result.
    """
    with _unpacked(path) as folder:
        result = _Result(folder, path.name)
        kit = result.kit
        if (kit.profile or None) != (run.profile.profile if run else None) or (
            run and kit.seed not in run.profile.seeds
        ):
            mine = f"{run.profile.profile} with the seeds {', '.join(map(str, run.profile.seeds))}" if run else "none"
            raise InputError(
                f"{path.name}: of profile {kit.profile or 'none'}, seed {kit.seed}; this run is {mine}; give the "
                f"{'--config' if kit.profile else '--checkpoint and --images'} that the kit was written with"
            )
        graph = checkpoint or run.onnx(kit.seed, "fp32")
        if kit.detector_sha256 != detector_hash(read_metadata(graph)):
            raise InputError(f"{path.name}: of another model than {graph}; give its --checkpoint, or run a new kit")
        if kit.models.get(result.facts["model"]) != result.facts["model_sha256"]:
            raise InputError(f"{path.name}: the board ran a model that is not in its kit; {AGAIN}")
        if output is None:
            name = kit.board if kit.precision == "fp16" else f"{kit.board}-{kit.precision}"
            output = run.board(name) / (checkpoint.stem if checkpoint else "") if run else path.with_suffix("")
        done = Ingested(kit.board, notes=result.notes)
        threshold = float(read_metadata(graph).get(THRESHOLD, "nan"))
        for target in kit.targets:
            try:
                manifest = folder_manifest(images) if images else target_manifest(run, target, kit.images_per_target)
                scores = _score_target(result, manifest)
                if scores.record.status != "ok":
                    done.drift[target] = f"fails: {scores.record.reason}"
                elif (host := _host_scores(run, scores, manifest, checkpoint, done.notes)) is not None:
                    done.drift[target] = pair_sentence(host, scores, threshold)
                done.drift.setdefault(target, "no drift: the host has not scored these images; run notebook 05_scoring")
                done.scores[target] = write_scores(scores, output / f"seed{kit.seed}" / f"{target}.npz")
            except InputError as error:
                done.rejected[target] = str(error).splitlines()
        try:
            done.latency = _latency(result, timing, done.notes)
            write_json(output / "latency.json", done.latency.model_dump())
        except InputError as error:
            done.rejected["latency"] = [str(error)]
        return done


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Yield the result as a folder."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="edgezsad-result-") as folder:
        try:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(f"{path}: not a complete result of run.sh: {one_line(error)}; {AGAIN}") from None
        yield Path(folder)


class _Result:
    """The files of a result, checked against the hashes that the board packed."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        if next(folder.glob("**/run.sh"), None):
            raise InputError(
                f"{name}: this is the kit; give the archive NAME-result.tar that its run.sh packs on the board"
            )
        self.sums = {file: sha256 for sha256, _, file in (row[0].partition("  ") for row in self.rows(SUMS, 1))}
        try:
            self.kit = KitRecord.model_validate_json(self.read(RECORD))
        except ValidationError as error:
            raise InputError(f"{name}: {RECORD} is damaged ({format_validation_errors(error)}); {AGAIN}") from None
        self.board = BOARDS[self.kit.board]
        facts = self.rows("facts.tsv", 2)
        self.notes = [f"on the board: {value}" for key, value in facts if key == "warning"]
        self.notes += filter(None, [self.kit.note])
        self.facts = {key: value for key, value in facts if value != "unknown"}
        for key in ("kit_sha256", "device", "tool", "tool_version", "model", "model_sha256"):
            if key not in self.facts:
                raise InputError(f"{name}: facts.tsv has no {key}; {AGAIN}")
        if (self.facts["kit_sha256"], self.kit.images_sha256) != (self.sums[RECORD], self.sums.get(IMAGES)):
            raise InputError(f"{name}: the board ran another kit than that of {RECORD}; {AGAIN}")
        self.images = [_Image(row[0], row[1], row[3], row[4]) for row in self.rows(IMAGES, 5)]
        self.commands = dict(self.rows("commands.tsv", 2))
        if (folder / "sentinels.tsv").is_file():
            same = dict(self.rows("sentinels.tsv", 2))
            text = "{images} images by trtexec and by one process differ by at most {largest_difference}"
            self.notes.append(text.format_map(same) + f" (largest value {same['largest_value']})")

    def read(self, file: str) -> bytes:
        path = self.folder / file
        if not path.is_file():
            raise InputError(f"{self.name}: {file}: missing; {AGAIN}")
        data = path.read_bytes()
        if file != SUMS and sha256_of_bytes(data) != self.sums.get(file):
            raise InputError(f"{self.name}: {file}: damaged, its hash is not that in {SUMS}; {AGAIN}")
        return data

    def rows(self, file: str, cells: int) -> list[list[str]]:
        """Read a table; the last cell takes all remaining tabs."""
        *lines, end = self.read(file).decode("utf-8", errors="replace").split("\n")
        rows = [line.split("\t", cells - 1) for line in lines]
        if end or any(len(row) != cells for row in rows):
            raise InputError(f"{self.name}: {file}: damaged or cut off; {AGAIN}")
        return rows

    def record(self) -> dict[str, Any]:
        """Return what the records of scores and of the latency share."""
        facts, kit = self.facts, self.kit
        versions = {"edgezsad": kit.edgezsad, self.board.runtime.split("-")[0]: facts["tool_version"]}
        return {
            "profile": kit.profile,
            "seed": kit.seed,
            "runtime": self.board.runtime.replace(self.board.precision, kit.precision),
            # A DLC of unknown origin may compute in any precision.
            "precision": "unverified" if kit.note else kit.precision,
            "device": ", ".join(facts[key] for key in ("device", "soc", "system", "gpu") if facts.get(key)),
            "model_sha256": facts["model_sha256"],
            "detector_sha256": kit.detector_sha256,
            "versions": versions | {key: facts[key] for key in ("l4t", "cuda", "program", "library") if facts.get(key)},
        }


def _score_target(result: _Result, manifest: Manifest) -> ScoreFile:
    """Return the scores of a target, none if outputs are not finite; an InputError lists its faults, one per line."""
    kit, target = result.kit, manifest.name
    images = [image for image in result.images if image.target == target]
    if manifest.sha256 != kit.targets[target] or [i.id for i in images] != [entry.id for entry in manifest.entries]:
        raise InputError(f"{target}: the images have changed since the kit was written; write a new kit and run it")
    if sha256_of_bytes(image_bytes(manifest, manifest.entries[0], kit.size)) != images[0].sha256:
        raise InputError(f"{images[0].id}: the host now prepares this image differently; write a new kit and run it")
    hashes = {row[0]: row[1:] for row in result.rows("outputs.tsv", 3)}
    outputs, faults = [], []
    for image in progress(images, f"read {target}"):
        try:
            outputs.append(_read_output(result, image, hashes.get(image.key)))
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    values = np.stack(outputs)
    conditions = ", ".join(f"{key} {result.facts.get(key)}" for key in ("power_mode", "clocks", "tool"))
    record = RunRecord(
        **result.record(),
        target=target,
        manifest_sha256=manifest.sha256,
        command="; ".join(result.commands[step] for step in ("build", "runner", "run") if step in result.commands),
        timing_method=f"images were not timed one by one, see latency.json; {conditions}",
    )
    if bad := int((~np.isfinite(values)).any(axis=1).sum()):
        reason = f"NaN or infinity in {bad} of {len(values)} images: {kit.precision.upper()} overflow on the board"
        record = record.model_copy(update={"status": "not finite", "reason": f"{reason}; running again gives the same"})
        return collect_scores([], [], np.zeros((0, 1, 1)), [], record)
    maps, times = values[:, 1:].reshape(-1, *kit.map_shape), np.full(len(images), np.nan)
    if len(maps) > 1 and (maps == maps[:1]).all():
        raise InputError("every image has the same map: the images did not reach the model")
    return collect_scores(manifest.entries, values[:, 0], maps, times, record)


def _read_output(result: _Result, image: _Image, hashes: list[str] | None) -> np.ndarray:
    """Read the score of an image and the h * w values of its map, float32."""
    file = f"outputs/{image.target}/{image.key}.{result.board.suffix}"
    what, path = f"{image.id}: {file}", result.folder / file
    if hashes is None or not path.is_file():
        raise InputError(f"{what}: missing")
    data = path.read_bytes()
    if hashes != [image.sha256, sha256_of_bytes(data)]:
        raise InputError(f"{what}: not what the board wrote for this image; changed or cut off")
    if result.board.suffix == "json":
        tensors = {str(item.get("name")): item.get("values") for item in read_trtexec_json(data, what)}
        try:
            with np.errstate(over="ignore"):
                parts = [np.array(tensors[name], dtype=np.float32).ravel() for name in ("score", "map")]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(f"{what}: expected the tensors score and map, with their values") from None
        values = np.concatenate(parts)
    else:
        # score.raw and map.raw of qnn-net-run in one file.
        values = np.frombuffer(data[: len(data) // 4 * 4], dtype="<f4")
    expected = 1 + math.prod(result.kit.map_shape)
    if values.size != expected:
        raise InputError(f"{what}: expected {expected} numbers for score and map, got {len(data)} bytes")
    return values


def read_trtexec_json(data: bytes, what: str) -> list[dict[str, Any]]:
    """Read a file of trtexec, a JSON list of objects in which C++ streams write nan and inf; `what` is its name."""
    try:
        text = re.sub(r"([\[,:]\s*)-?nan\b", r"\1NaN", data.decode("utf-8"))
        return [dict(item) for item in parse_json(re.sub(r"([\[,:]\s*)-?inf\b", r"\1Infinity", text))]
    except (ValueError, TypeError):
        raise InputError(f"{what}: damaged, cut off, or not a file of trtexec") from None


def _host_scores(
    run: Run | None, scores: ScoreFile, manifest: Manifest, checkpoint: Path | None, notes: list[str]
) -> ScoreFile | None:
    """Return the host's scores of the same images: those of the run, or of a checkpoint, computed now; None if none."""
    record, ids = scores.record, scores.image_id
    try:
        if checkpoint is None:
            host = read_scores(run.scores(HOST, record.seed, record.target)).take(ids)
            if host.record.detector_sha256 != record.detector_sha256:
                raise InputError("scored with another model there; run notebooks 04_export and 05_scoring")
            return host
        scorer = OnnxScorer(checkpoint, cores())
        mine = record.model_copy(update={"runtime": scorer.runtime, "command": "", "precision": scorer.precision})
        return score_seeds([scorer], manifest, [mine])[0]
    except InputError as error:
        notes.append(f"{record.target}: not compared with the host ({one_line(error)})")
        return None


def _latency(result: _Result, timing: Path | None, notes: list[str]) -> Latency:
    """Return the timing run as a latency record."""
    what = f"{result.name}: time/time.tsv"
    facts = {key: value for key, value in result.rows("time/time.tsv", 2) if value != "unknown"}
    try:
        count, warmup = int(facts["iterations"]), facts["warmup"]
        runs = count + int(warmup.split()[0])
    except (KeyError, ValueError):
        raise InputError(f"{what}: damaged; {AGAIN}") from None
    conditions = {key: facts[key] for key in ("power_mode", "clocks", "after", "date") if key in facts}
    layers: dict[str, float] = {}
    rate = single = None
    if result.board.name == "jetson":
        what, profile, runs = f"{result.name}: time/times.json", "time/profile.json", count
        # Only computeMs is comparable between versions: latencyMs has another meaning in 10.x than in 11.x.
        times = [item.get("computeMs") for item in read_trtexec_json(result.read("time/times.json"), what)]
        method = "computeMs of trtexec: GPU time from the first kernel to the last, without copies to and from the GPU"
        rate = facts.get("throughput")
        # Missing without JetPack's Python or its tools; an interrupted run leaves half a row.
        with suppress(InputError, ValueError):
            single = float(np.median([float(row[1]) for row in result.rows("singles.tsv", 2)]))
        with suppress(InputError):
            conditions |= read_tegrastats(result.read("time/tegrastats.txt"))
    else:
        path, profile = timing or result.folder / "time/profile.csv", "time/layers.csv"
        if not path.is_file():
            viewer = "qnn-profile-viewer --input_log time/profile.log --output FILE.csv"
            raise InputError(f"{path}: missing; make it with {viewer} and give --timing FILE.csv")
        what = path.name
        series = read_qnn_times(path.read_bytes() if timing else result.read("time/profile.csv"), what)
        rate = series.get(RATE, [None])[-1]
        name, times = next(iter(series.items()))
        method = f'"{name}" of the {result.facts["model"]} by {result.facts["tool"]}'
        if NETRUN in series:
            single = float(np.median(series[NETRUN][-count:]))
            method += f" (NetRun: median {single:.3f} ms)"
    if len(times) < runs:
        raise InputError(f"{what}: expected {runs} runs, got {len(times)}; cut off, or of another run")
    # Earlier runs may come first in a profile of QNN; TensorRT 11.1 runs one iteration more.
    times = times[-count:]
    try:
        if profile.endswith(".json"):
            items = read_trtexec_json(result.read(profile), profile)
            layers = {str(item.get("name")): item["averageMs"] for item in items if "averageMs" in item}
        else:
            layers = read_qnn_layers(result.read(profile), profile)
    except InputError:
        # trtexec does not escape the names of layers; the times do not depend on them.
        notes.append(f"{profile} cannot be read: no times of layers")
    try:
        return Latency(
            **result.record(),
            board=result.kit.board,
            milliseconds=times,
            layers=dict(sorted(layers.items(), key=lambda layer: -layer[1])[:SLOWEST_LAYERS]),
            throughput=rate,
            single_ms=single,
            method=f"{method}; {len(times)} iterations after {warmup} of warm-up, batch 1",
            conditions=conditions,
            command=result.commands.get("time", ""),
        )
    except ValidationError as error:
        raise InputError(f"{what}: {one_line(format_validation_errors(error))}; {AGAIN}") from None
