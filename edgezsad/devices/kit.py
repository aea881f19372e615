"""Write a kit: models, images and a script that repeat the device experiment on a board, in one folder or archive.

Images are raw float32 tensors (1, 3, S, S), 0 to 255, as `ndarray.tofile` writes them, made by the host's own
preprocessing and compressed with gzip, so that the board needs no Python.
"""

import gzip
import io
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
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
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.lint import load_graph
from edgezsad.files import progress, sha256_of_bytes, sha256_of_file, written_beside
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import as_tensor, detector_hash, read_metadata
from edgezsad.scoring.score_run import subset

IMAGES, RECORD, SUMS = "images.tsv", "kit.json", "SHA256SUMS"
SCRIPTS = Path(__file__).parent / "boards"
CHUNK = 100  # images that the RB5 unpacks and runs at a time
SAMPLES = 3  # images per target whose compressed size is measured for the estimate

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class KitRecord(BaseModel):
    """Contents of a kit (`kit.json`), which the board returns unchanged with its result.

    `detector_sha256` is of the weights, `targets` are hashes of manifests, `images_sha256` is of `images.tsv`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = 2
    edgezsad: str
    board: Literal["jetson", "rb5"]
    profile: str
    seed: Annotated[int, Field(ge=0)]
    size: Count
    map_shape: tuple[Count, Count]
    detector_sha256: str
    models: dict[Literal["models/model-fp32.onnx", "models/model-fp16.onnx", "models/model.dlc"], Sha256]
    targets: dict[Name, Sha256] = Field(min_length=1)
    images_per_target: Count | None = None
    images_sha256: Sha256


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
    checkpoint: Path | None = None,
    say: Callable[[str], object] = print,
) -> Path:
    """Report a kit's size and time, check the free space, write the kit and return its path.

    Targets are all of the profile unless named; of each, all images or about `images_per_target`, evenly over
    categories and labels. The RB5's `dlc` is written here if not given and ONNX Runtime's QNN provider is installed.
    `expanded` stores raw images, four times as large. `output` is an archive NAME.tar or a new folder, by default in
    the run's `kits`. `anyway` writes a kit that seems not to fit on the disk; `say` receives the estimate before.
    `checkpoint` is an FP32 graph instead of the run's, such as a part's detector.
    """
    profile, names = run.profile, [item.name for item in run.profile.data.targets]
    if seed not in profile.seeds:
        raise InputError(f"--seed {seed}: unknown; the profile has the seeds {', '.join(map(str, profile.seeds))}")
    if unknown := [name for name in targets if name not in names]:
        raise InputError(f"--targets {unknown[0]}: unknown; the profile has {', '.join(names)}")
    part = re.sub(r"[^A-Za-z0-9_.-]", "_", checkpoint.stem) if checkpoint else f"{profile.profile}-seed{seed}"
    name = f"{board.name}-{part}"
    output = output or run.folder / "kits" / f"{name}.tar"
    if output.exists():
        raise InputError(f"{output}: exists; delete it or give another --output")
    manifests = [target_manifest(run, each, images_per_target) for each in names if not targets or each in targets]
    with tempfile.TemporaryDirectory(prefix="edgezsad-kit-") as scratch:
        graphs = {"fp32": checkpoint, "fp16": Path(scratch) / "model-fp16.onnx"}
        if checkpoint:
            to_fp16(checkpoint, graphs["fp16"])
        else:
            graphs = {precision: run.onnx(seed, precision) for precision in graphs}
        models, detector_sha256, note = _models(graphs, board, dlc, Path(scratch))
        graph = load_graph(graphs["fp32"]).graph
        ends = {item.name: item.type.tensor_type.shape.dim for item in (*graph.input, *graph.output)}
        size = ends["image"][2].dim_value
        total, text = _estimate(name, board, manifests, models, size, expanded)
        say(text + note)
        free = shutil.disk_usage(next(folder for folder in output.absolute().parents if folder.exists())).free
        if total > free and not anyway:
            problem = f"{free / 1e6:,.0f} MB are free, the kit takes about {total / 1e6:,.0f} MB"
            remedy = "give another --output, fewer --targets or --images-per-target, or --yes to try anyway"
            raise InputError(f"{output}: {problem}; {remedy}")
        record = KitRecord(
            edgezsad=edgezsad.__version__,
            board=board.name,
            profile=profile.profile,
            seed=seed,
            size=size,
            map_shape=[axis.dim_value for axis in ends["map"][2:]],
            detector_sha256=detector_sha256,
            models={file: sha256_of_file(path) for file, path in models.items()},
            targets={manifest.name: manifest.sha256 for manifest in manifests},
            images_per_target=images_per_target,
            images_sha256="0" * 64,
        )
        _save(_files(name, board, record, manifests, models, expanded), name, output)
    return output


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


def _models(graphs: dict[str, Path], board: Board, dlc: Path | None, scratch: Path) -> tuple[dict[str, Path], str, str]:
    """Return model files by their path in the kit, the hash of their weights, and a note or ""."""
    fp32, fp16 = graphs["fp32"], graphs["fp16"]
    detector = detector_hash(read_metadata(fp32))
    if not detector or detector_hash(read_metadata(fp16)) != detector:
        raise InputError(f"{fp16}: its weights are not those of {fp32.name}; run notebook 04_export again")
    if board.name == "jetson":
        if dlc is not None:
            raise InputError("--dlc: only the RB5 takes a DLC; leave it out")
        return {f"models/model-{precision}.onnx": path for precision, path in graphs.items()}, detector, ""
    note = ""
    if dlc is None:
        dlc = scratch / "model.dlc"
        try:
            write_dlc(fp16, dlc)
        except RuntimeUnavailable as reason:
            note = f"\nno DLC ({reason}): the board runs the ONNX file with onnxruntime-qnn; or give --dlc FILE"
            return {"models/model-fp16.onnx": fp16}, detector, note
    elif not dlc.is_file() or dlc.stat().st_size == 0:
        raise InputError(f"{dlc}: missing or empty; give another DLC, or leave --dlc out")
    elif dlc_record_path(dlc).is_file():
        read_dlc(dlc, fp16)
    else:
        note = f"\n{dlc}: assumed to be made from {fp16.name}; there is no record next to it"
    return {"models/model.dlc": dlc}, detector, note


def _estimate(
    name: str, board: Board, manifests: list[Manifest], models: dict[str, Path], size: int, expanded: bool
) -> tuple[float, str]:
    """Return estimated bytes of the kit, and its contents, size and time as text."""
    images, packed = sum(len(manifest.entries) for manifest in manifests), 0.0
    for manifest in manifests:
        entries = manifest.entries[:: max(1, len(manifest.entries) // SAMPLES)][:SAMPLES]
        sizes = [len(_pack(image_bytes(manifest, entry, size), expanded)) for entry in entries]
        packed += len(manifest.entries) * float(np.mean(sizes))
    total = packed + sum(path.stat().st_size for path in models.values())
    before, per_chunk, per_image = board.seconds
    minutes = ceil((before + per_chunk * ceil(images / CHUNK) + per_image * images) / 60)
    return total, (
        f"{name}: {images:,} images of {len(manifests)} targets, {packed / images / 1e6:.2f} MB each "
        f"({12 * size**2 / 1e6:.1f} MB unpacked), {', '.join(Path(file).name for file in models)}\n"
        f"size: about {total / 1e6:,.0f} MB; time on the board: about {minutes} min (both are estimates)"
    )


def _pack(data: bytes, expanded: bool) -> bytes:
    # The smallest level takes five times as long as the fastest and saves a third.
    return data if expanded else gzip.compress(data, 1, mtime=0)


def _files(
    name: str, board: Board, record: KitRecord, manifests: list[Manifest], models: dict[str, Path], expanded: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield path and contents of every file of a kit, one image at a time."""
    entries = [(manifest, entry) for manifest in manifests for entry in manifest.entries]
    rows: list[str] = []
    for number, (manifest, entry) in enumerate(progress(entries, f"kit {name}")):
        data = image_bytes(manifest, entry, record.size)
        # trtexec takes no comma, colon or blank in the name of a file.
        file = f"images/{manifest.name}/{number:06d}.raw" + ("" if expanded else ".gz")
        yield file, _pack(data, expanded)
        rows.append("\t".join((f"{number:06d}", manifest.name, file, sha256_of_bytes(data), entry.id)) + "\n")
    for file, path in models.items():
        yield file, path.read_bytes()
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
    files |= {script: (SCRIPTS / script).read_bytes() for script in board.scripts[1:]}
    files["run.sh"] = (SCRIPTS / board.scripts[0]).read_bytes()
    yield from files.items()
    sums = {file: sha256_of_bytes(data) for file, data in files.items()} | record.models
    # Last, so that an incomplete copy lacks it.
    yield SUMS, "".join(f"{sha256}  {file}\n" for file, sha256 in sorted(sums.items())).encode()


def _save(files: Iterator[tuple[str, bytes]], name: str, output: Path) -> None:
    """Write files to an archive (NAME.tar) or else to a folder, which appears when it is complete."""
    if output.suffix == ".tar":
        with written_beside(output) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
            for file, data in files:
                # Without dates and owners: equal kits are equal bytes.
                info = tarfile.TarInfo(f"{name}/{file}")
                info.size, info.mode = len(data), 0o644
                archive.addfile(info, io.BytesIO(data))
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        for file, data in files:
            path = Path(scratch, "kit", file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        Path(scratch, "kit").rename(output)
