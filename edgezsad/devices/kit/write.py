"""Writing a kit, image by image, to a folder or into one archive; neither is there under its name until it is whole."""

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import edgezsad
from edgezsad.devices.kit.pictures import CANARY_NAMES, canary, packed, pictures, raw
from edgezsad.devices.kit.plan import Plan
from edgezsad.devices.kit.record import CANARIES, IMAGES, RECORD, SUMS, KitModel, KitRecord, KitTarget
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes, sha256_of_file, written_beside
from edgezsad.progress import progress

SCRIPTS = {"jetson": ("jetson.sh", "common.sh"), "rb5": ("rb5.sh", "common.sh", "ort_qnn.py")}
"""The first is `run.sh` in the kit."""


class Sink(Protocol):
    """A folder or an archive that takes files."""

    def add(self, name: str, data: bytes) -> None:
        """Write `data` under `name`, a relative path with forward slashes."""

    def add_file(self, name: str, path: Path) -> None:
        """Write a copy of a file under `name`."""


class _Folder:
    def __init__(self, folder: Path):
        self.folder = folder

    def _path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, name: str, data: bytes) -> None:
        self._path(name).write_bytes(data)

    def add_file(self, name: str, path: Path) -> None:
        shutil.copyfile(path, self._path(name))


class _Archive:
    """Everything lies in one folder of the archive; dates and owners are left out, so that equal kits are equal."""

    def __init__(self, archive: tarfile.TarFile, top: str):
        self.archive, self.top = archive, top

    def _info(self, name: str, size: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(f"{self.top}/{name}")
        info.size, info.mode = size, 0o644
        return info

    def add(self, name: str, data: bytes) -> None:
        self.archive.addfile(self._info(name, len(data)), io.BytesIO(data))

    def add_file(self, name: str, path: Path) -> None:
        with open(path, "rb") as stream:
            self.archive.addfile(self._info(name, path.stat().st_size), stream)


def write_kit(plan: Plan, output: Path) -> KitRecord:
    """Write a kit; memory holds one image at a time.

    Args:
        plan: what it holds.
        output: an archive if the name ends with .tar, otherwise a new folder.

    Raises:
        InputError: `output` exists; an image is missing, damaged, or not the one that the manifest lists.
    """
    check_output(output)
    with _sink(output, plan.name) as sink:
        return _fill(sink, plan)


def check_output(output: Path) -> None:
    """Refuse an output that is there: a kit on its way to a board is not written over.

    Raises:
        InputError: it exists.
    """
    if output.exists() or output.is_symlink():
        raise InputError(f"{output}: exists already; delete it or give another --output")


def _fill(sink: Sink, plan: Plan) -> KitRecord:
    size = plan.run.profile.model.size
    ending = "raw" if plan.expanded else "raw.gz"
    rows: list[str] = []
    for picture in progress(pictures(plan.manifests, size), f"kit {plan.name}", total=plan.images):
        file = f"images/{picture.target}/{picture.key}.{ending}"
        sink.add(file, picture.data if plan.expanded else packed(picture.data))
        rows.append("\t".join((picture.key, picture.target, file, picture.sha256, picture.id)) + "\n")
    guards: list[str] = []
    for name in CANARY_NAMES:
        data = raw(canary(name, size))
        file = f"images/{name}.raw.gz"
        sink.add(file, packed(data))
        guards.append("\t".join((name, file, sha256_of_bytes(data))) + "\n")
    models: dict[str, KitModel] = {}
    for name, path in plan.models.items():
        file = f"models/model.{name}" if name == "dlc" else f"models/model-{name}.onnx"
        models[name] = KitModel(file=file, sha256=sha256_of_file(path))
        sink.add_file(file, path)
    lists = {IMAGES: "".join(rows).encode(), CANARIES: "".join(guards).encode()}
    record = KitRecord.model_validate(
        {
            "edgezsad": edgezsad.__version__,
            "board": plan.board.name,
            "profile": plan.run.profile.profile,
            "seed": plan.seed,
            "size": size,
            "map_shape": plan.map_shape,
            "detector_sha256": plan.detector_sha256,
            "models": models,
            "targets": [
                KitTarget(name=each.name, manifest_sha256=each.sha256, images=len(each.entries))
                for each in plan.manifests
            ],
            "images_per_target": plan.images_per_target,
            "images_sha256": sha256_of_bytes(lists[IMAGES]),
            "canaries_sha256": sha256_of_bytes(lists[CANARIES]),
        }
    )
    texts = lists | {RECORD: (record.model_dump_json(indent=2) + "\n").encode(), "kit.env": _settings(plan).encode()}
    scripts = Path(__file__).parent / "board"
    for place, script in enumerate(SCRIPTS[plan.board.name]):
        texts["run.sh" if place == 0 else script] = (scripts / script).read_bytes()
    for name, data in texts.items():
        sink.add(name, data)
    sums = {name: sha256_of_bytes(data) for name, data in texts.items()}
    sums |= {model.file: model.sha256 for model in models.values()}
    # Last: a copy that was cut off lacks it.
    sink.add(SUMS, "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items())).encode())
    return record


def _settings(plan: Plan) -> str:
    """What the script needs to know, as shell variables. All values are numbers or names without anything special."""
    height, width = plan.map_shape
    # A map as text has up to 14 characters a number; two small files take two blocks of 4 KiB and a folder.
    output = height * width * 14 // 1024 + 8 if plan.board.name == "jetson" else height * width * 4 // 1024 + 16
    values = {
        "NAME": plan.name,
        "IMAGES": plan.images,
        "KIB_IMAGE": plan.raw_bytes // 1024 + 1,
        "KIB_MODEL": max(path.stat().st_size for path in plan.models.values()) // 1024 + 1,
        "KIB_OUTPUT": output,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


@contextmanager
def _sink(output: Path, name: str) -> Iterator[Sink]:
    if output.suffix == ".tar":
        with written_beside(output) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
            yield _Archive(archive, name)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield _Folder(temporary)
        temporary.chmod(0o755)
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
