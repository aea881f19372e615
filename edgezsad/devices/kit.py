"""Write a kit: models, images and a script that repeat the device experiment on a board, in one folder or archive.

Images are raw float32 tensors (1, 3, S, S), 0 to 255, as `ndarray.tofile` writes them, made by the host's own
preprocessing and compressed with gzip, so that the board needs no Python. Size and time are estimated before anything
is written. `edgezsad.devices.ingest` reads the result that the script packs.
"""

import gzip
import io
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

import edgezsad
from edgezsad.data.images import load
from edgezsad.data.manifest import Entry, Manifest, read_run_manifest
from edgezsad.devices import Board
from edgezsad.errors import InputError, RuntimeUnavailable
from edgezsad.export.dlc import dlc_record_path, read_dlc, write_dlc
from edgezsad.export.lint import load_graph
from edgezsad.files import progress, sha256_of_bytes, sha256_of_file, written_beside
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import as_tensor, read_metadata
from edgezsad.scoring.score_run import subset

IMAGES, RECORD, SUMS = "images.tsv", "kit.json", "SHA256SUMS"
SCRIPTS = Path(__file__).parent / "boards"
CHUNK = 100
"""Images that the RB5 unpacks and runs at a time."""
SAMPLES = 3
"""Images per target whose compressed size is measured for the estimate."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class KitRecord(BaseModel):
    """Contents of a kit (`kit.json`). The board returns the file unchanged with its result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = 2
    edgezsad: str
    board: Literal["jetson", "rb5"]
    profile: str
    seed: Annotated[int, Field(ge=0)]
    size: Count
    """Input height and width in pixels."""
    map_shape: tuple[Count, Count]
    """Height and width of the anomaly map."""
    detector_sha256: str
    """Of the weights in every model."""
    models: dict[Literal["models/model-fp32.onnx", "models/model-fp16.onnx", "models/model.dlc"], Sha256]
    """Hashes of the model files."""
    targets: dict[Name, Sha256] = Field(min_length=1)
    """Hash of the manifest of each target's images."""
    images_per_target: Count | None = None
    """Approximate limit of images per target; None for all."""
    images_sha256: Sha256
    """Of the list of images, `images.tsv`."""


def make_kit(
    run: Run,
    board: Board,
    seed: int = 0,
    targets: tuple[str, ...] = (),
    images_per_target: int | None = None,
    dlc: Path | None = None,
    expanded: bool = False,
    output: Path | None = None,
    anyway: bool = False,
    say: Callable[[str], object] = print,
) -> Path:
    """Choose a kit's contents, report its size and time, check the free space and write it.

    Args:
        run: with exported models and manifests.
        board: the board.
        seed: of the model.
        targets: names; all of the profile when empty.
        images_per_target: approximate limit, evenly spread over categories and labels; all images when None.
        dlc: for the RB5: the model as a DLC; when None it is written here, if ONNX Runtime's QNN provider is installed.
        expanded: store images raw: four times as large, nothing to unpack.
        output: an archive NAME.tar or a new folder; an archive in the run's folder `kits` when None.
        anyway: write the kit even if it seems not to fit on the disk.
        say: receives the estimate before anything is written.

    Returns:
        The archive or folder; it appears only when it is complete.

    Raises:
        InputError: an unknown seed or target; a missing or mismatched graph, DLC, manifest or image; `output` exists,
            or too little space is free.
        CheckError: the graph cannot become one DLC.
    """
    profile = run.profile
    if seed not in profile.seeds:
        raise InputError(f"--seed {seed}: unknown; the profile has the seeds {', '.join(map(str, profile.seeds))}")
    names = [item.name for item in profile.data.targets]
    if unknown := [name for name in targets if name not in names]:
        raise InputError(f"--targets {unknown[0]}: unknown; the profile has {', '.join(names)}")
    name = f"{board.name}-{profile.profile}-seed{seed}"
    output = output or run.folder / "kits" / f"{name}.tar"
    if output.exists() or output.is_symlink():
        raise InputError(f"{output}: exists; delete it or give another --output")
    manifests = [target_manifest(run, each, images_per_target) for each in names if not targets or each in targets]
    with tempfile.TemporaryDirectory(prefix="edgezsad-kit-") as scratch:
        models, detector_sha256, note = _models(run, board, seed, dlc, Path(scratch))
        shape = map_shape(run.onnx(seed, "fp32"))
        total, text = _estimate(name, board, manifests, models, profile.model.size, expanded)
        say("\n".join([text, *([note] if note else [])]))
        free = shutil.disk_usage(next(folder for folder in output.absolute().parents if folder.exists())).free
        if total > free and not anyway:
            raise InputError(
                f"{output}: {free / 1e6:,.0f} MB are free, the kit takes about {total / 1e6:,.0f} MB; give another "
                "--output, fewer --targets or --images-per-target, or --yes to try anyway"
            )
        record = KitRecord(
            edgezsad=edgezsad.__version__,
            board=board.name,
            profile=profile.profile,
            seed=seed,
            size=profile.model.size,
            map_shape=shape,
            detector_sha256=detector_sha256,
            models={file: sha256_of_file(path) for file, path in models.items()},
            targets={manifest.name: manifest.sha256 for manifest in manifests},
            images_per_target=images_per_target,
            images_sha256="0" * 64,
        )
        with _writer(output, name) as add:
            _write(add, name, board, record, manifests, models, expanded)
    return output


def target_manifest(run: Run, name: str, images_per_target: int | None) -> Manifest:
    """Return the test images of a target, or about `images_per_target` of them.

    Raises:
        InputError: the profile has no such target, or it has no test images.
    """
    item = next((item for item in run.profile.data.targets if item.name == name), None)
    if item is None:
        raise InputError(f"{name}: not a target of {run.profile.title}")
    manifest = read_run_manifest(run, item).select("test")
    if not manifest.entries:
        raise InputError(f"{manifest.root}: no test images of {name}; run notebook 01_data")
    return manifest if images_per_target is None else subset(manifest, images_per_target)


def image_bytes(manifest: Manifest, entry: Entry, size: int) -> bytes:
    """Return the raw tensor of a manifest's image: float32, little endian, (1, 3, size, size).

    Raises:
        InputError: the image is missing, damaged, or not the one in the manifest.
    """
    path = manifest.path(entry)
    image = load(path, size)
    if sha256_of_file(path) != entry.sha256:
        raise InputError(f"{path}: not the image in the manifest; run notebook 01_data again")
    return as_tensor(image, size).astype("<f4").tobytes()


def map_shape(graph: Path) -> tuple[int, int]:
    """Return (height, width) of a graph's anomaly map.

    Raises:
        InputError: the file is missing, damaged, or has no such output.
    """
    outputs = {item.name: item.type.tensor_type.shape.dim for item in load_graph(graph).graph.output}
    axes = [axis.dim_value for axis in outputs.get("map", [])]
    if len(axes) != 4 or axes[:2] != [1, 1] or min(axes) < 1:
        raise InputError(f"{graph}: no output map of shape (1, 1, h, w); run notebook 04_export again")
    return axes[2], axes[3]


def _models(run: Run, board: Board, seed: int, dlc: Path | None, scratch: Path) -> tuple[dict[str, Path], str, str]:
    """Models by their file in the kit, the hash of their weights, and a note or ""."""
    graphs = {f"models/model-{precision}.onnx": run.onnx(seed, precision) for precision in ("fp32", "fp16")}
    fp32, fp16 = graphs.values()
    detector = read_metadata(fp32).get("model_sha256", "")
    if not detector or read_metadata(fp16).get("model_sha256") != detector:
        raise InputError(f"{fp16}: its weights are not those of {fp32.name}; run notebook 04_export again")
    if board.name == "jetson":
        if dlc is not None:
            raise InputError("--dlc: only the RB5 takes a DLC; leave it out")
        return graphs, detector, ""
    note = ""
    if dlc is None:
        dlc = scratch / "model.dlc"
        try:
            write_dlc(fp16, dlc)
        except RuntimeUnavailable as reason:
            note = f"no DLC ({reason}): the board runs the ONNX file with onnxruntime-qnn; or give --dlc FILE"
            return {"models/model-fp16.onnx": fp16}, detector, note
    elif not dlc.is_file() or dlc.stat().st_size == 0:
        raise InputError(f"{dlc}: missing or empty; give another DLC, or leave --dlc out")
    elif dlc_record_path(dlc).is_file():
        read_dlc(dlc, fp16)
    else:
        note = f"{dlc}: assumed to be made from {fp16.name}; there is no record next to it"
    return {"models/model.dlc": dlc}, detector, note


def _estimate(
    name: str, board: Board, manifests: list[Manifest], models: dict[str, Path], size: int, expanded: bool
) -> tuple[float, str]:
    """Estimated bytes of the kit, and its contents, size and time as text."""
    raw = 12 * size**2
    packed = 0.0
    for manifest in manifests:
        entries = manifest.entries[:: max(1, len(manifest.entries) // SAMPLES)][:SAMPLES]
        each = raw if expanded else np.mean([len(_compressed(image_bytes(manifest, entry, size))) for entry in entries])
        packed += len(manifest.entries) * float(each)
    images = sum(len(manifest.entries) for manifest in manifests)
    total = packed + sum(path.stat().st_size for path in models.values())
    before, per_chunk, per_image = board.seconds
    seconds = before + per_chunk * ceil(images / CHUNK) + per_image * images
    listed = ", ".join(f"{Path(file).name} {path.stat().st_size / 1e6:.0f} MB" for file, path in models.items())
    unpacked = "" if expanded else f"; the board unpacks each to {raw / 1e6:.1f} MB and deletes it again"
    return total, (
        f"{name}: {images:,} images of {len(manifests)} targets, {packed / images / 1e6:.2f} MB each{unpacked}\n"
        f"models: {listed}\n"
        f"size: about {total / 1e6:,.0f} MB; time on the board: about {ceil(seconds / 60)} min (both are estimates)"
    )


def _compressed(data: bytes) -> bytes:
    # The smallest level takes five times as long as the fastest and saves a third.
    return gzip.compress(data, 1, mtime=0)


def _write(
    add: Callable[[str, bytes], None],
    name: str,
    board: Board,
    record: KitRecord,
    manifests: list[Manifest],
    models: dict[str, Path],
    expanded: bool,
) -> None:
    """Add every file of a kit; memory holds one image at a time."""
    entries = [(manifest, entry) for manifest in manifests for entry in manifest.entries]
    rows: list[str] = []
    for number, (manifest, entry) in enumerate(progress(entries, f"kit {name}")):
        data = image_bytes(manifest, entry, record.size)
        # trtexec takes no comma, colon or blank in the name of a file.
        file = f"images/{manifest.name}/{number:06d}.raw" + ("" if expanded else ".gz")
        add(file, data if expanded else _compressed(data))
        rows.append("\t".join((f"{number:06d}", manifest.name, file, sha256_of_bytes(data), entry.id)) + "\n")
    for file, path in models.items():
        add(file, path.read_bytes())
    height, width = record.map_shape
    settings = {
        "NAME": name,
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
    for script in board.scripts:
        files["run.sh" if script == board.scripts[0] else script] = (SCRIPTS / script).read_bytes()
    for file, data in files.items():
        add(file, data)
    sums = {file: sha256_of_bytes(data) for file, data in files.items()} | record.models
    # Last, so that an incomplete copy lacks it.
    add(SUMS, "".join(f"{sha256}  {file}\n" for file, sha256 in sorted(sums.items())).encode())


@contextmanager
def _writer(output: Path, name: str) -> Iterator[Callable[[str, bytes], None]]:
    """Yield a function that adds a file to an archive (NAME.tar) or else to a folder."""
    if output.suffix == ".tar":
        with written_beside(output) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:

            def add(file: str, data: bytes) -> None:
                # Without dates and owners: equal kits are equal bytes.
                info = tarfile.TarInfo(f"{name}/{file}")
                info.size, info.mode = len(data), 0o644
                archive.addfile(info, io.BytesIO(data))

            yield add
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))

    def add_file(file: str, data: bytes) -> None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)

    try:
        yield add_file
        folder.chmod(0o755)
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
