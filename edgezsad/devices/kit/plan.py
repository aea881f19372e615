"""What goes into a kit, how large it is and how long a board will take: decided and said before anything is written."""

import importlib
import importlib.util
import shutil
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.devices.boards import Board
from edgezsad.devices.kit.pictures import packed, picture_data
from edgezsad.errors import InputError, RuntimeUnavailable
from edgezsad.export.lint import load_graph
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import read_metadata
from edgezsad.scoring.score_run import subset

SECONDS_AN_IMAGE = {"jetson": 2.5, "rb5": 0.4}
"""Estimates, not measured on a board. trtexec loads the engine anew for each image, which takes longer than the image;
qnn-net-run takes a whole list: the paper's 0.14 s, and reading, unpacking and writing."""
SECONDS_BEFORE = {"jetson": 600, "rb5": 60}
"""Estimates: building and timing the engine; timing the model."""
SECONDS_A_LOT = 60
"""Estimate: the RB5 prepares the model for each lot of `LOT` images."""
LOT = 100
SAMPLES = 3


@dataclass(frozen=True)
class Plan:
    """A kit that is not written yet.

    Attributes:
        run, board, seed: what it is of.
        manifests: the images, one for each target.
        images_per_target: what limits them; None when nothing does.
        models: the files by what they are ("fp32", "fp16", "dlc").
        detector_sha256: of the weights in them.
        map_shape: (height, width) of the anomaly map.
        expanded: images are raw, not compressed.
        image_bytes: one image in the kit, bytes, an estimate from a few of each target.
        note: for the user, where something is not as could be wished.
    """

    run: Run
    board: Board
    seed: int
    manifests: list[Manifest]
    images_per_target: int | None
    models: dict[str, Path]
    detector_sha256: str
    map_shape: tuple[int, int]
    expanded: bool
    image_bytes: float
    note: str = ""

    @property
    def name(self) -> str:
        """Of the kit and, with an ending, of its result."""
        return f"{self.board.name}-{self.run.profile.profile}-seed{self.seed}"

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(len(manifest.entries) for manifest in self.manifests)

    @property
    def raw_bytes(self) -> int:
        """One image as the board's tool reads it."""
        return 12 * self.run.profile.model.size**2

    @property
    def bytes(self) -> int:
        """The whole kit, an estimate."""
        return round(self.images * self.image_bytes) + sum(path.stat().st_size for path in self.models.values())

    @property
    def minutes(self) -> int:
        """On the board, an estimate."""
        lots = SECONDS_A_LOT * ceil(self.images / LOT) if self.board.name == "rb5" else 0
        return ceil((SECONDS_BEFORE[self.board.name] + lots + self.images * SECONDS_AN_IMAGE[self.board.name]) / 60)

    def as_text(self) -> str:
        """What is about to be written."""
        models = ", ".join(f"{name} {path.stat().st_size / 1e6:.0f} MB" for name, path in self.models.items())
        how = "" if self.expanded else f"; the board unpacks them, {self.raw_bytes / 1e6:.1f} MB each, and deletes them"
        lines = [
            f"{self.name}: {self.images:,} images of {len(self.manifests)} targets, "
            f"{self.image_bytes / 1e6:.2f} MB each{how}",
            f"models: {models}",
            f"size: about {self.bytes / 1e6:,.0f} MB; time on the board: about {self.minutes} min (both are estimates)",
        ]
        return "\n".join([*lines, *([self.note] if self.note else [])])


def plan_kit(
    run: Run,
    board: Board,
    seed: int,
    targets: tuple[str, ...] = (),
    images_per_target: int | None = None,
    dlc: Path | None = None,
    expanded: bool = False,
    scratch: Path | None = None,
) -> Plan:
    """Decide what a kit holds.

    Args:
        run: whose exported models and targets.
        board: for which.
        seed: whose model.
        targets: their names; all of the profile when empty.
        images_per_target: about so many, evenly spread; all when None.
        dlc: for the RB5: the model as a DLC. When None it is made here, if ONNX Runtime's QNN provider is installed.
        expanded: put the images in raw: four times as large, and nothing to unpack.
        scratch: where a DLC may be made.

    Raises:
        InputError: an unknown seed or target; a missing or foreign graph, DLC, manifest or image.
        CheckError: a DLC cannot be made of the whole graph.
    """
    profile = run.profile
    if seed not in profile.seeds:
        raise InputError(f"--seed {seed}: the profile has the seeds {', '.join(map(str, profile.seeds))}")
    known = {item.name: item for item in profile.data.targets}
    for name in targets:
        if name not in known:
            raise InputError(f"--targets {name}: no such target; the profile has {', '.join(known)}")
    manifests = [
        read_run_manifest(run, item).select("test") for item in known.values() if not targets or item.name in targets
    ]
    if images_per_target is not None:
        manifests = [subset(manifest, images_per_target) for manifest in manifests]
    for manifest in manifests:
        if not manifest.entries:
            raise InputError(f"{manifest.root}: no test images of {manifest.name}; run notebook 01_data")
    graphs = {precision: run.onnx(seed, precision) for precision in ("fp32", "fp16")}
    detectors = {precision: read_metadata(path).get("model_sha256", "") for precision, path in graphs.items()}
    if len(set(detectors.values())) != 1 or not detectors["fp32"]:
        raise InputError(f"{graphs['fp16']}: not of the weights of {graphs['fp32'].name}; run notebook 04_export again")
    if dlc is not None and board.name != "rb5":
        raise InputError("--dlc: a DLC is for the RB5; leave it out")
    models, note = (graphs, "") if board.name == "jetson" else _rb5_models(graphs, dlc, scratch)
    sizes = [_sample(manifest, profile.model.size, expanded) for manifest in manifests]
    counts = [len(manifest.entries) for manifest in manifests]
    mean = sum(size * count for size, count in zip(sizes, counts, strict=True)) / sum(counts)
    shape = map_shape(graphs["fp32"])
    return Plan(run, board, seed, manifests, images_per_target, models, detectors["fp32"], shape, expanded, mean, note)


def require_space(plan: Plan, output: Path, anyway: bool) -> None:
    """Raise where the kit would not fit.

    Raises:
        InputError: less is free than the kit takes.
    """
    free = shutil.disk_usage(next(folder for folder in output.absolute().parents if folder.exists())).free
    if plan.bytes > free and not anyway:
        raise InputError(
            f"{output}: {free / 1e6:,.0f} MB are free, the kit takes about {plan.bytes / 1e6:,.0f} MB; give another "
            "--output, fewer --targets or --images-per-target, or --yes to try it anyway"
        )


def _rb5_models(graphs: dict[str, Path], dlc: Path | None, scratch: Path | None) -> tuple[dict[str, Path], str]:
    """The DLC, or else the graph for ONNX Runtime on the board, and what to say of it."""
    found = importlib.util.find_spec("edgezsad.export.dlc") is not None
    writer = importlib.import_module("edgezsad.export.dlc") if found else None
    if dlc is not None:
        if not dlc.is_file() or dlc.stat().st_size == 0:
            raise InputError(f"{dlc}: no such DLC, or an empty one; give another, or leave --dlc out")
        if writer and writer.record_path(dlc).is_file():
            writer.read_dlc(dlc, graphs["fp16"])
            return {"dlc": dlc}, ""
        return {"dlc": dlc}, f"{dlc}: taken to be made of {graphs['fp16'].name}; no record beside it says so"
    reason = "this version can not write one"
    if writer and scratch is not None:
        target = scratch / "model.dlc"
        try:
            writer.write_dlc(graphs["fp16"], target)
            return {"dlc": target}, ""
        except RuntimeUnavailable as unavailable:
            reason = str(unavailable)
    how = "the board runs the ONNX file by Python with onnxruntime-qnn; --dlc FILE takes a DLC of yours"
    return {"fp16": graphs["fp16"]}, f"no DLC ({reason}): {how}"


def _sample(manifest: Manifest, size: int, expanded: bool) -> float:
    """Bytes of one image in the kit, from a few."""
    if expanded:
        return 12 * size**2
    step = max(1, len(manifest.entries) // SAMPLES)
    chosen = manifest.entries[::step][:SAMPLES]
    return sum(len(packed(picture_data(manifest, entry, size))) for entry in chosen) / len(chosen)


def map_shape(graph: Path) -> tuple[int, int]:
    """(height, width) of a graph's anomaly map.

    Raises:
        InputError: the file is missing, damaged, or has no such output.
    """
    outputs = {item.name: item.type.tensor_type.shape.dim for item in load_graph(graph).graph.output}
    axes = [axis.dim_value for axis in outputs.get("map", [])]
    if len(axes) != 4 or axes[:2] != [1, 1] or min(axes) < 1:
        raise InputError(f"{graph}: has no output map (1, 1, h, w); run notebook 04_export again")
    return axes[2], axes[3]
