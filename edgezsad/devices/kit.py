"""Write a kit: models, images and a script that repeat the device experiment on a board, in one archive.

Images are raw float32 tensors (1, 3, S, S), 0 to 255, as `ndarray.tofile` writes them, made by the host's own
preprocessing and compressed with gzip, so that the board needs no Python.
"""

import gzip
import io
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

import edgezsad
from edgezsad.data.images import load
from edgezsad.data.layouts import images_below
from edgezsad.data.manifest import Entry, Manifest, read_run_manifest
from edgezsad.devices import Board
from edgezsad.errors import InputError, RuntimeUnavailable
from edgezsad.export.dlc import read_dlc, write_dlc
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.lint import load_graph
from edgezsad.files import progress, sha256_of_bytes, sha256_of_file, written_beside
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import as_tensor, detector_hash, read_metadata
from edgezsad.scoring.score_run import subset

IMAGES, RECORD, SUMS = "images.tsv", "kit.json", "SHA256SUMS"
SCRIPTS = Path(__file__).parent / "boards"
ZIP = b"PK\x03\x04"  # a DLC is a ZIP file

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class KitRecord(BaseModel):
    """Contents of a kit (`kit.json`), which the board returns unchanged with its result.

    `detector_sha256` is of the weights, `targets` are hashes of manifests, `images_sha256` is of `images.tsv`.
    `profile` is empty for images of a folder; `note` says what is unknown of a given DLC, `qairt` what wrote it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[3] = 3
    edgezsad: str
    board: Literal["jetson", "rb5"]
    precision: Literal["fp16", "int8"]
    profile: str
    seed: Annotated[int, Field(ge=0)]
    size: Count
    map_shape: tuple[Count, Count]
    detector_sha256: str
    models: dict[Annotated[str, Field(pattern=r"^models/model(-(fp32|fp16|int8)\.onnx|\.dlc)$")], Sha256]
    note: str = ""
    qairt: str = ""
    targets: dict[Name, Sha256] = Field(min_length=1)
    images_per_target: Count | None = None
    images_sha256: Sha256


def make_kit(
    run: Run | None,
    board: Board,
    seed: int = 0,
    images_per_target: int | None = None,
    dlc: Path | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    precision: Literal["fp16", "int8"] = "fp16",
    images: Path | None = None,
) -> Path:
    """Write a kit and return its path, the archive `output`, by default in the run's `kits`.

    It has all targets of the profile, of each all images or about `images_per_target`, evenly over categories and
    labels. The RB5's `dlc` is written here if not given and ONNX Runtime's QNN provider is installed. `checkpoint` is a
    graph instead of the run's, such as a part file; with a folder of `images` it needs no run.
    """
    if run is None and checkpoint is None:
        raise InputError(f"{images}: give the model with --checkpoint FILE.onnx")
    if images is not None:
        manifests = [folder_manifest(images)]
    elif seed in run.profile.seeds:
        manifests = [target_manifest(run, item.name, images_per_target) for item in run.profile.data.targets]
    else:
        raise InputError(f"--seed {seed}: unknown; the profile has the seeds {', '.join(map(str, run.profile.seeds))}")
    with tempfile.TemporaryDirectory(prefix="edgezsad-kit-") as scratch:
        graphs = _graphs(run, seed, precision, checkpoint, Path(scratch))
        precision = "int8" if "int8" in graphs else "fp16"
        part = checkpoint.stem if checkpoint else f"{run.profile.profile}-seed{seed}{'-int8' * (precision == 'int8')}"
        name = f"{board.name}-{re.sub(r'[^A-Za-z0-9_.-]', '_', part)}"
        output = output or (run.folder / "kits" if run else Path()) / f"{name}.tar"
        if output.exists():
            raise InputError(f"{output}: exists; delete it or give another --output")
        models, facts = _models(graphs, board, dlc, Path(scratch))
        graph = load_graph(next(iter(graphs.values()))).graph
        ends = {item.name: item.type.tensor_type.shape.dim for item in (*graph.input, *graph.output)}
        count = f"{sum(len(manifest.entries) for manifest in manifests):,} images of {len(manifests)} targets"
        print("\n".join(filter(None, (f"{name}: {count}, {', '.join(models)}", facts["note"]))))
        record = KitRecord(
            edgezsad=edgezsad.__version__,
            board=board.name,
            precision=precision,
            profile=run.profile.profile if run else "",
            seed=seed,
            size=ends["image"][2].dim_value,
            map_shape=[axis.dim_value for axis in ends["map"][2:]],
            models={file: sha256_of_file(path) for file, path in models.items()},
            targets={manifest.name: manifest.sha256 for manifest in manifests},
            images_per_target=images_per_target,
            images_sha256="0" * 64,
            **facts,
        )
        _save(_files(name, board, record, manifests, models), name, output)
    return output


def folder_manifest(folder: Path) -> Manifest:
    """Return the images of a folder, at any depth, as one target without labels (0)."""
    names = images_below(folder) if folder.is_dir() else []
    if not names:
        raise InputError(f"{folder}: no folder with images")
    rows = [(name, "", "test", 0, "", "", 0, 0, sha256_of_file(folder / name), "") for name in names]
    return Manifest("images", folder, tuple(Entry(*row) for row in rows))


def target_manifest(run: Run, name: str, images_per_target: int | None) -> Manifest:
    """Return the test images of a target, or about `images_per_target` of them; an InputError if there are none."""
    item = next((item for item in run.profile.data.targets if item.name == name), None)
    if item is None:
        raise InputError(f"{name}: not a target of {run.profile.title}")
    manifest = read_run_manifest(run, item).select("test")
    if not manifest.entries:
        raise InputError(f"{manifest.root}: no test images of {name}; run notebook 01_data")
    return manifest if images_per_target is None else subset(manifest, images_per_target)


def image_bytes(manifest: Manifest, entry: Entry, size: int) -> bytes:
    """Return the raw tensor of a manifest's image, checked by its hash: float32, little endian, (1, 3, size, size)."""
    return as_tensor(load(manifest.path(entry), size), size).astype("<f4").tobytes()


def _graphs(
    run: Run | None, seed: int, precision: Literal["fp16", "int8"], checkpoint: Path | None, scratch: Path
) -> dict[str, Path]:
    """Return ONNX files by precision, the device's last; an FP32 checkpoint is converted to FP16."""
    if checkpoint is None:
        graphs = {each: run.onnx(seed, each) for each in (["fp32", "fp16"] if precision == "fp16" else ["int8"])}
    else:
        graphs = {read_metadata(checkpoint).get("precision", "fp32"): checkpoint}
        if "fp32" in graphs:
            graphs["fp16"] = to_fp16(checkpoint, scratch / "model-fp16.onnx")
    if len({detector_hash(read_metadata(path)) for path in graphs.values()} | {""}) != 2:
        raise InputError(f"{list(graphs.values())[-1]}: weights unknown or not those of FP32; run notebook 04_export")
    return graphs


def _models(
    graphs: dict[str, Path], board: Board, dlc: Path | None, scratch: Path
) -> tuple[dict[str, Path], dict[str, str]]:
    """Return model files by their path in the kit, and what the kit's record says of them."""
    graph = list(graphs.values())[-1]
    facts = {"detector_sha256": detector_hash(read_metadata(graph)), "note": "", "qairt": ""}
    if board.name == "jetson":
        if dlc is not None:
            raise InputError("--dlc: only the RB5 takes a DLC; leave it out")
        return {f"models/model-{each}.onnx": path for each, path in graphs.items()}, facts
    if dlc is None:
        dlc = scratch / "model.dlc"
        try:
            record = write_dlc(graph, dlc)
        except RuntimeUnavailable as reason:
            raise InputError(f"no DLC can be written here ({reason}); give one with --dlc FILE") from None
    elif not dlc.is_file() or dlc.read_bytes()[: len(ZIP)] != ZIP:
        raise InputError(f"{dlc}: missing or not a DLC; give another DLC, or leave --dlc out")
    elif not dlc.with_suffix(".json").is_file():
        facts["note"] = f"{dlc.name} has no record: its model, layout and precision are assumed to be those of the kit"
        return {"models/model.dlc": dlc}, facts
    else:
        record = read_dlc(dlc, graph)
    facts["qairt"] = record.versions.get("qairt", "")
    return {"models/model.dlc": dlc}, facts


def _files(
    name: str, board: Board, record: KitRecord, manifests: list[Manifest], models: dict[str, Path]
) -> Iterator[tuple[str, bytes]]:
    """Yield path and contents of every file of a kit, one image at a time."""
    entries = [(manifest, entry) for manifest in manifests for entry in manifest.entries]
    rows: list[str] = []
    for number, (manifest, entry) in enumerate(progress(entries, f"kit {name}")):
        data = image_bytes(manifest, entry, record.size)
        # trtexec takes no comma, colon or blank in the name of a file.
        file = f"images/{manifest.name}/{number:06d}.raw.gz"
        # The smallest level takes five times as long as the fastest and saves a third.
        yield file, gzip.compress(data, 1, mtime=0)
        rows.append("\t".join((f"{number:06d}", manifest.name, file, sha256_of_bytes(data), entry.id)) + "\n")
    for file, path in models.items():
        yield file, path.read_bytes()
    height, width = record.map_shape
    settings = {
        "NAME": name,
        "PRECISION": record.precision,
        # The GPU does not take quantised graphs.
        "BACKEND": "Gpu" if record.precision == "fp16" else "Htp",
        "QAIRT": record.qairt or "0.0",
        "IMAGES": len(entries),
        "KIB_IMAGE": 12 * record.size**2 // 1024 + 1,
        "KIB_MODEL": max(path.stat().st_size for path in models.values()) // 1024 + 1,
        # Up to 14 characters per number as text, 4 bytes as float32; files take whole blocks.
        "KIB_OUTPUT": height * width * (14 if board.suffix == "json" else 4) // 1024 + 8,
    }
    images = "".join(rows).encode()
    record = record.model_copy(update={"images_sha256": sha256_of_bytes(images)})
    files = {IMAGES: images, RECORD: (record.model_dump_json(indent=2) + "\n").encode()}
    files["kit.env"] = "".join(f"{key}={value}\n" for key, value in settings.items()).encode()
    files |= {script: (SCRIPTS / script).read_bytes() for script in board.scripts[1:]}
    files["run.sh"] = (SCRIPTS / board.scripts[0]).read_bytes()
    yield from files.items()
    sums = {file: sha256_of_bytes(data) for file, data in files.items()} | record.models
    # Last, so that an incomplete copy lacks it.
    yield SUMS, "".join(f"{sha256}  {file}\n" for file, sha256 in sorted(sums.items())).encode()


def _save(files: Iterator[tuple[str, bytes]], name: str, output: Path) -> None:
    """Write files to an archive without dates and owners: equal kits are equal bytes."""
    with written_beside(output) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        for file, data in files:
            info = tarfile.TarInfo(f"{name}/{file}")
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
