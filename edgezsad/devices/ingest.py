"""Ingest a board's result: write score files for valid targets and a latency record, report what is rejected.

A target with a fault is rejected as a whole, because a table over part of its images would be another number; other
targets and the latency are still written. A rejected part leaves earlier files as they were. A board that computes
badly is never rejected for it: that is drift, which is to be reported.
"""

import math
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

from edgezsad.config import Runtime
from edgezsad.data.manifest import Manifest
from edgezsad.devices import BOARDS
from edgezsad.devices.kit import IMAGES, RECORD, SUMS, KitRecord, image_bytes, map_shape, target_manifest
from edgezsad.devices.latency import (
    NETRUN,
    Latency,
    board_latency,
    read_qnn_times,
    read_trtexec_json,
    read_trtexec_layers,
    read_trtexec_times,
)
from edgezsad.errors import CheckError, InputError
from edgezsad.files import progress, sha256_of_bytes, sha256_of_file, write_json, write_text
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import read_metadata
from edgezsad.scoring.score_file import RunRecord, ScoreFile, read_scores, write_scores

LARGEST_FILE = 64 << 20
LARGEST_RESULT = 4 << 30
MOST_FILES = 500_000
HOSTS: tuple[Runtime, ...] = ("onnx-fp32", "pytorch")
FAR_CLOSER = 4.0
"""Outputs count as exchanged only if another image's map is so many times closer to the host's map."""
SHOWN = 5
AGAIN = "copy the result from the board again"
_Image = namedtuple("_Image", "key target sha256 id")


@dataclass
class Ingested:
    """Outcome of an ingest: written score files by target and latency record; faults by target and of "latency"."""

    board: str
    scores: dict[str, Path] = field(default_factory=dict)
    latency: Latency | None = None
    rejected: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_text(self) -> str:
        """Describe the outcome, with the first faults of each target."""
        lines = [f"note: {note}" for note in self.notes]
        lines += [f"{target}: written, {path}" for target, path in self.scores.items()]
        if self.latency:
            lines.append(f"latency: written, {self.latency.sentence()}")
        for name, faults in self.rejected.items():
            lines += [f"{name}: rejected: {fault}" for fault in faults[:SHOWN]]
            if len(faults) > SHOWN:
                lines.append(f"{name}: and {len(faults) - SHOWN} more, see {name}.rejected.txt next to the score files")
        return "\n".join(lines)

    def require_all(self) -> None:
        """Raise a CheckError if anything was rejected."""
        if self.rejected:
            names = ", ".join(self.rejected)
            raise CheckError(
                f"{self.board}: rejected {names}; run.sh computes what is missing, run.sh --restart everything"
            )


def ingest(path: Path, run: Run, output: Path | None = None, timing: Path | None = None) -> Ingested:
    """Ingest a board's result.

    Args:
        path: the archive that `run.sh` packed, or a folder that it was unpacked into.
        run: the run that the kit was written from.
        output: the folder to write to; the run's own folder for the board when None.
        timing: for the RB5: a CSV that qnn-profile-viewer made of the board's log on another machine.

    Raises:
        InputError: the result as a whole is damaged or of another kit, model or run; nothing is written.
    """
    with _unpacked(path) as folder:
        result = _Result(folder, path.name)
        _check_model(result, run)
        kit = result.kit
        output = output or run.board(kit.board)
        done = Ingested(kit.board, notes=[f"on the board: {text}" for text in result.warnings])
        for target in kit.targets:
            file = output / f"seed{kit.seed}" / f"{target}.npz"
            report = file.with_suffix(".rejected.txt")
            try:
                scores, faults = _score_target(result, run, target)
            except InputError as error:
                scores, faults = None, [str(error)]
            if scores is None:
                done.rejected[target] = faults
                write_text(report, "".join(f"{fault}\n" for fault in faults))
            else:
                done.scores[target] = write_scores(scores, file)
                report.unlink(missing_ok=True)
        try:
            done.latency = _latency(result, timing)
            write_json(output / "latency.json", done.latency.model_dump())
        except InputError as error:
            done.rejected["latency"] = [str(error)]
        return done


def device_status(run: Run) -> list[str]:
    """Describe what was ingested from each board, what is missing, and what the board needs."""
    lines = []
    for board in BOARDS.values():
        lines.append(f"{board.name}: {board.title}, {board.reported['runtime']}")
        folder = run.board(board.name)
        for seed, item in ((seed, item) for seed in run.profile.seeds for item in run.profile.data.targets):
            file = folder / f"seed{seed}" / f"{item.name}.npz"
            text = f"not run: needs {board.reported['needs']}"
            if file.with_suffix(".json").exists():
                try:
                    scores = read_scores(file)
                    versions = ", ".join(f"{name} {text}" for name, text in scores.record.versions.items())
                    text = f"{len(scores):,} images, {versions}, {scores.record.device}"
                except InputError as error:
                    text = f"damaged: {error}"
            lines.append(f"  seed {seed}, {item.name}: {text}")
            if (report := file.with_suffix(".rejected.txt")).exists():
                lines.append(f"  seed {seed}, {item.name}: the last result was rejected, see {report}")
        try:
            latency = board_latency(run, board)
            text = f"{latency.sentence()}, profile {latency.profile}, seed {latency.seed}" if latency else "not run"
        except InputError as error:
            text = str(error)
        lines.append(f"  latency: {text} (the paper: {board.reported['milliseconds']} ms)")
    return lines


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The result as a folder, for as long as the block lasts."""
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise InputError(f"{path}: missing; give the archive that run.sh packed on the board")
    with tempfile.TemporaryDirectory(prefix="edgezsad-result-") as folder:
        try:
            # "r:" takes no compressed archive, which could grow without limit.
            with tarfile.open(path, "r:") as archive:
                members, total = [], 0
                for member in archive:
                    members.append(member)
                    total += member.size
                    if not (member.isfile() or member.isdir()) or member.issparse():
                        raise tarfile.TarError(f"{member.name!a} is not a file or folder")
                    if member.size > LARGEST_FILE or total > LARGEST_RESULT or len(members) > MOST_FILES:
                        raise tarfile.TarError(f"{member.name!a}: too large or too many files")
                archive.extractall(folder, members, filter="data")
                with open(path, "rb") as stream:
                    # A complete archive ends with zeros; one that is cut off or has a damaged header does not.
                    stream.seek(archive.offset)
                    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                        raise tarfile.TarError("cut off or damaged")
        except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, FileExistsError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"{path}: not a complete result of run.sh ({reason}); {AGAIN}") from None
        yield Path(folder)


class _Result:
    """The files of a result, checked against the hashes that the board packed."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self.sums = {SUMS: ""}
        sums = (row[0].partition("  ") for row in self.rows(SUMS, 1))
        self.sums |= {file: sha256 for sha256, _, file in sums}
        try:
            self.kit = KitRecord.model_validate_json(self.read(RECORD))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "file"
            raise InputError(f"{name}: {RECORD} is damaged ({where}: {first['msg']}); {AGAIN}") from None
        self.board = BOARDS[self.kit.board]
        facts = self.rows("facts.tsv", 2)
        self.warnings = [value for key, value in facts if key == "warning"]
        self.facts = dict(facts)
        for key in ("kit_sha256", "device", "tool", "tool_version", "model", "model_sha256"):
            if key not in self.facts:
                raise InputError(f"{name}: facts.tsv has no {key}; {AGAIN}")
        if (self.facts["kit_sha256"], self.kit.images_sha256) != (self.sums[RECORD], self.sums.get(IMAGES)):
            raise InputError(f"{name}: the board ran another kit than that of {RECORD}; {AGAIN}")
        self.images = [_Image(row[0], row[1], row[3], row[4]) for row in self.rows(IMAGES, 5)]
        self.commands = dict(self.rows("commands.tsv", 2))

    def what(self, file: str) -> str:
        return f"{self.name}: {file}"

    def read(self, file: str) -> bytes:
        path = self.folder / file
        if not path.is_file():
            raise InputError(f"{self.what(file)}: missing; {AGAIN}")
        data = path.read_bytes()
        if file != SUMS and sha256_of_bytes(data) != self.sums.get(file):
            raise InputError(f"{self.what(file)}: damaged, its hash is not that in {SUMS}; {AGAIN}")
        return data

    def rows(self, file: str, cells: int) -> list[list[str]]:
        """The rows of a table; the last cell takes all remaining tabs."""
        try:
            lines = self.read(file).decode("utf-8").split("\n")
        except UnicodeDecodeError:
            raise InputError(f"{self.what(file)}: damaged, not text; {AGAIN}") from None
        rows = [line.split("\t", cells - 1) for line in lines[:-1]]
        if lines[-1] or any(len(row) != cells for row in rows):
            raise InputError(f"{self.what(file)}: damaged or cut off; {AGAIN}")
        return rows

    def record(self) -> dict[str, Any]:
        """What the records of scores and of the latency share."""
        facts, kit = self.facts, self.kit
        tool = {"trtexec": "tensorrt", "qnn-net-run": "qnn"}.get(facts["tool"], facts["tool"])
        versions = {"edgezsad": kit.edgezsad, tool: facts["tool_version"]}
        return {
            "profile": kit.profile,
            "seed": kit.seed,
            "runtime": self.board.runtime,
            "precision": self.board.precision,
            "device": ", ".join(facts[key] for key in ("device", "soc", "system", "gpu") if facts.get(key)),
            "model_sha256": facts["model_sha256"],
            "detector_sha256": kit.detector_sha256,
            "versions": versions | {key: facts[key] for key in ("l4t", "cuda") if facts.get(key)},
        }


def _check_model(result: _Result, run: Run) -> None:
    """Raise unless the kit, and the model that the board ran, are those of the run."""
    name, kit, profile = result.name, result.kit, run.profile
    if kit.profile != profile.profile or kit.seed not in profile.seeds:
        raise InputError(
            f"{name}: of profile {kit.profile}, seed {kit.seed}; this run is {profile.profile} with the seeds "
            f"{', '.join(map(str, profile.seeds))}; give the --config that the kit was written with"
        )
    fp32 = run.onnx(kit.seed, "fp32")
    ours = read_metadata(fp32).get("model_sha256", "")
    if kit.detector_sha256 != ours or kit.size != profile.model.size or kit.map_shape != map_shape(fp32):
        raise InputError(
            f"{name}: of another model (detector {kit.detector_sha256[:12]}, the run's seed {kit.seed} has "
            f"{ours[:12]}); write a new kit and run it"
        )
    if kit.models.get(result.facts["model"]) != result.facts["model_sha256"]:
        raise InputError(f"{name}: the board ran a model that is not in its kit; {AGAIN}")
    for file, sha256 in kit.models.items():
        precision = Path(file).stem.removeprefix("model-")
        if precision in ("fp32", "fp16") and sha256_of_file(run.onnx(kit.seed, precision)) != sha256:
            raise InputError(f"{name}: {run.onnx(kit.seed, precision)} is not the file in the kit; write a new kit")


def _score_target(result: _Result, run: Run, target: str) -> tuple[ScoreFile | None, list[str]]:
    """The score file of a target, or its faults."""
    kit = result.kit
    manifest = target_manifest(run, target, kit.images_per_target)
    images = [image for image in result.images if image.target == target]
    if manifest.sha256 != kit.targets[target] or [i.id for i in images] != [entry.id for entry in manifest.entries]:
        raise InputError(f"{target}: the manifest has changed since the kit was written; write a new kit and run it")
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
        return None, faults
    maps = np.stack([anomaly_map for _, anomaly_map in outputs])
    if faults := _exchanged(run, kit, manifest, maps):
        return None, faults
    commands = result.commands
    conditions = [f"{key} {result.facts[key]}" for key in ("power_mode", "clocks", "tool") if result.facts.get(key)]
    record = RunRecord(
        **result.record(),
        target=target,
        manifest_sha256=manifest.sha256,
        command="; ".join(commands[step] for step in ("build", "run") if step in commands),
        timing_method=f"images were not timed one by one, see latency.json; {', '.join(conditions)}",
    )
    scores = ScoreFile(
        image_id=np.array([entry.id for entry in manifest.entries]),
        category=np.array([entry.category for entry in manifest.entries]),
        label=np.array([entry.label for entry in manifest.entries], dtype=np.int8),
        score=np.array([score for score, _ in outputs], dtype=np.float32),
        map=maps,
        milliseconds=np.full(len(images), np.nan, dtype=np.float32),
        record=record,
    )
    return scores, []


def _read_output(result: _Result, image: _Image, hashes: list[str] | None) -> tuple[float, np.ndarray]:
    file = f"outputs/{image.target}/{image.key}.{result.board.suffix}"
    what = f"{image.id}: {file}"
    path = result.folder / file
    if hashes is None or not path.is_file():
        raise InputError(f"{what}: missing")
    data = path.read_bytes()
    if hashes[0] != image.sha256:
        raise InputError(f"{what}: computed from another image than the kit's")
    if hashes[1] != sha256_of_bytes(data):
        raise InputError(f"{what}: not what the board wrote for this image; changed or cut off")
    read = read_trtexec_output if result.board.suffix == "json" else read_raw_output
    return read(data, result.kit.map_shape, what)


def read_trtexec_output(data: bytes, shape: tuple[int, int], what: str) -> tuple[float, np.ndarray]:
    """Read score and (h, w) map of one image (`--exportOutput`, six significant digits).

    Raises:
        InputError: damaged, other tensors or shapes, or not finite; `what` is the file's name.
    """
    tensors = {}
    for item in read_trtexec_json(data, what):
        name = str(item.get("name"))
        try:
            axes = [int(axis) for axis in item["dimensions"].split("x")]
            tensors[name] = np.array(item["values"], dtype=np.float64).reshape(axes)
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError):
            raise InputError(f"{what}: {name!a:.40} has other values than its dimensions say") from None
    found = {name: values.shape for name, values in tensors.items()}
    if set(found) != {"score", "map"} or math.prod(found["score"]) != 1 or found["map"][-2:] != shape:
        raise InputError(f"{what}: expected score (1) and map (1, 1, {shape[0]}, {shape[1]}), got {found!a:.120}")
    return _split(np.concatenate([tensors["score"].ravel(), tensors["map"].ravel()]), shape, what)


def read_raw_output(data: bytes, shape: tuple[int, int], what: str) -> tuple[float, np.ndarray]:
    """Read score and (h, w) map of one image, float32: `score.raw` and `map.raw` of qnn-net-run in one file.

    Raises:
        InputError: another length, or not finite; `what` is the file's name.
    """
    expected = 4 * (1 + shape[0] * shape[1])
    if len(data) != expected:
        half = " (native types? leave --use_native_output_files out)" if 2 * len(data) == expected else ""
        raise InputError(f"{what}: expected {expected} bytes, got {len(data)}{half}")
    return _split(np.frombuffer(data, dtype="<f4"), shape, what)


def _split(values: np.ndarray, shape: tuple[int, int], what: str) -> tuple[float, np.ndarray]:
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if values.size != 1 + math.prod(shape) or not np.isfinite(values).all():
        raise InputError(f"{what}: score or map is not finite, or has another size")
    return float(values[0]), values[1:].reshape(shape)


def _exchanged(run: Run, kit: KitRecord, manifest: Manifest, maps: np.ndarray) -> list[str]:
    """Images whose host map is far closer to another image's output than to their own.

    Lower precision changes a map a little; another image's map is a different one.
    """
    if len(maps) > 1 and (maps == maps[:1]).all():
        return ["every image has the same map: the images did not reach the model"]
    ids = np.array([entry.id for entry in manifest.entries])
    for runtime in HOSTS:
        try:
            scores = read_scores(run.scores(runtime, kit.seed, manifest.name)).take(ids)
        except InputError:
            # Missing, damaged, or of other images.
            continue
        if scores.record.detector_sha256 != kit.detector_sha256:
            continue
        host = scores.map.reshape(len(ids), -1).astype(np.float64)
        device = maps.reshape(len(ids), -1).astype(np.float64)
        square = (host**2).sum(axis=1)[:, None] + (device**2).sum(axis=1) - 2 * host @ device.T
        distance = np.sqrt(np.maximum(square, 0))
        return [
            f"{ids[row]}: its output is filed under {ids[distance[row].argmin()]}; the outputs are re-ordered"
            for row in np.flatnonzero(distance.min(axis=1) * FAR_CLOSER < distance.diagonal())
        ]
    return []


def _latency(result: _Result, timing: Path | None) -> Latency:
    """The timing run as a latency record."""
    what = result.what("time/time.tsv")
    facts = dict(result.rows("time/time.tsv", 2))
    try:
        count, warmup = int(facts["iterations"]), facts["warmup"]
        runs = count + int(warmup.split()[0])
        conditions = {key: facts[key] or "unknown" for key in ("power_mode", "clocks", "before", "after", "date")}
    except (KeyError, ValueError, IndexError):
        raise InputError(f"{what}: damaged; {AGAIN}") from None
    if result.board.name == "jetson":
        file = "time/times.json"
        times = read_trtexec_times(result.read(file), result.what(file))
        if len(times) < count:
            raise InputError(f"{result.what(file)}: expected {count} iterations, got {len(times)}; {AGAIN}")
        method = "computeMs of trtexec: GPU time from the first kernel to the last, without copies to and from the GPU"
    else:
        times, method = _qnn_times(result, timing, count, runs)
    layers: dict[str, float] = {}
    # trtexec does not escape the names of layers; the times do not depend on them.
    with suppress(InputError):
        layers = read_trtexec_layers(result.read("time/profile.json"), "time/profile.json")
    try:
        return Latency(
            **result.record(),
            board=result.kit.board,
            milliseconds=times,
            layers=layers,
            method=f"{method}; {len(times)} iterations after {warmup} of warm-up, batch 1",
            conditions=conditions,
            command=result.commands.get("time", ""),
        )
    except ValidationError as error:
        raise InputError(f"{what}: {error.errors()[0]['msg']}; {AGAIN}") from None


def _qnn_times(result: _Result, timing: Path | None, count: int, runs: int) -> tuple[list[float], str]:
    """Times of the last `count` of `runs` executions, and what was measured."""
    file = "time/profile.csv"
    what = str(timing or result.what(file))
    if not (timing or result.folder / file).is_file():
        raise InputError(
            f"{what}: missing; make it with qnn-profile-viewer --input_log time/qnn-profiling-data_0.log --output "
            "FILE.csv and give --timing FILE.csv"
        )
    series = read_qnn_times(timing.read_bytes() if timing else result.read(file), what)
    name, times = next(iter(series.items()))
    if len(times) < runs:
        raise InputError(f"{what}: expected {runs} executions, got {len(times)}; cut off, or of another run")
    method = f'"{name}" on the GPU by {result.facts["tool"]}'
    if NETRUN in series:
        method += f" (NetRun: median {np.median(series[NETRUN][-count:]):.3f} ms)"
    # Earlier runs may come first in a profile.
    return times[-count:], method
