"""What a board computed for each image: read file by file, each with its fault by name or as a score and a map."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgezsad.devices.ingest.order import misplaced
from edgezsad.devices.ingest.qnn import read_input_list, read_tensor
from edgezsad.devices.ingest.result import Listed, Result
from edgezsad.devices.ingest.tables import read_bytes, read_rows, read_text
from edgezsad.devices.ingest.trtexec import read_output
from edgezsad.devices.kit.pictures import CANARY_NAMES, canary
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes
from edgezsad.progress import progress
from edgezsad.scoring.onnx_scorer import OnnxScorer


@dataclass
class Outputs:
    """Scores and maps by image number, and what is wrong by target.

    Attributes:
        score, map: of the images whose output is good.
        faults: one line each, by target.
        faulty: numbers of the images that a fault speaks of.
    """

    score: dict[str, float] = field(default_factory=dict)
    map: dict[str, np.ndarray] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)

    def fault(self, target: str, text: str, *keys: str) -> None:
        """Note a fault of a target, and the numbers of the images that it is of."""
        self.faults.setdefault(target, []).append(text)
        self.faulty.update(keys)


def read_outputs(result: Result, host: Path) -> Outputs:
    """Read all outputs of a result.

    Args:
        result: whose origin is settled.
        host: the FP32 graph, by which the guarding pictures of the RB5 are recognised.
    """
    outputs = Outputs()
    try:
        if result.board.name == "jetson":
            _read_jetson(result, outputs)
        else:
            _read_rb5(result, outputs, host)
    except InputError as error:
        # A table that speaks of all images.
        for target in result.kit.targets:
            outputs.fault(target.name, str(error), *(image.key for image in result.images))
    for image in result.images:
        if image.key not in outputs.score and image.key not in outputs.faulty:
            outputs.fault(image.target, f"{image.id}: no result")
    return outputs


def _read_jetson(result: Result, outputs: Outputs) -> None:
    """One JSON file an image, and a table that says of which input it is and what its hash was when it was written."""
    rows = read_rows(result.folder / "outputs.tsv", result.what("outputs.tsv"), 3)
    told: dict[str, list[tuple[str, str]]] = {}
    for key, input_sha256, output_sha256 in rows:
        told.setdefault(key, []).append((input_sha256, output_sha256))
    for image in progress(result.images, f"read {result.name}"):
        file = f"outputs/{image.target}/{image.key}.json"
        what = f"{image.id}: {file}"
        try:
            if not (result.folder / file).is_file():
                raise InputError(f"{image.id}: no result ({file} is missing)")
            data = read_bytes(result.folder / file, what)
            said = told.pop(image.key, [])
            if len(said) != 1:
                raise InputError(f"{what} is in outputs.tsv {len(said)} times, not once")
            _check_hashes(image, said[0], data, what)
            outputs.score[image.key], outputs.map[image.key] = read_output(data, result.kit.map_shape, what)
        except InputError as error:
            outputs.fault(image.target, str(error), image.key)
    known = {f"{image.target}/{image.key}.json" for image in result.images}
    for path in sorted((result.folder / "outputs").rglob("*")):
        name = path.relative_to(result.folder / "outputs").as_posix()
        if path.is_file() and name not in known:
            outputs.fault(_target_of(result, name), f"outputs/{name}: of no image of the kit")
    for key in sorted(told):
        image = next((image for image in result.images if image.key == key), None)
        target = image.target if image else result.kit.targets[0].name
        if image is None or (result.folder / f"outputs/{target}/{key}.json").is_file():
            outputs.fault(target, f"outputs.tsv: row {key} is of no image of the kit")


def _check_hashes(image: Listed, said: tuple[str, str], data: bytes, what: str) -> None:
    if said[0] != image.sha256:
        raise InputError(f"{what}: computed from another image than the kit's")
    if said[1] != sha256_of_bytes(data):
        raise InputError(f"{what}: not what the board wrote for this image; moved, changed or cut off")


def _target_of(result: Result, name: str) -> str:
    """The target that a surplus file is counted to: by its folder, or else the first."""
    names = [target.name for target in result.kit.targets]
    return name.split("/")[0] if name.split("/")[0] in names else names[0]


def _read_rb5(result: Result, outputs: Outputs, host: Path) -> None:
    """Lots of images: the list that qnn-net-run was given, and a numbered folder for each of its lines."""
    images = {image.key: image for image in result.images}
    seen: set[str] = set()
    guards = _Guards(host, result.kit.size)
    folders = sorted(path for path in (result.folder / "chunks").glob("*") if path.is_dir())
    for folder in progress(folders, f"read {result.name}", unit="lot"):
        _read_lot(result, outputs, folder, images, seen, guards)


def _read_lot(
    result: Result,
    outputs: Outputs,
    folder: Path,
    images: dict[str, Listed],
    seen: set[str],
    guards: "_Guards",
) -> None:
    lot = f"chunks/{folder.name}"
    names: list[str] = []
    read: dict[int, tuple[float, np.ndarray]] = {}
    try:
        names = read_input_list(read_text(folder / "input_list.txt", f"{lot}/input_list.txt"), f"{lot}/input_list.txt")
        hashes = {row[0]: row[1:] for row in read_rows(folder / "outputs.tsv", f"{lot}/outputs.tsv", 3)}
        _check_list(names, lot, images, seen)
        surplus = [path.name for path in folder.glob("Result_*") if path.name not in _expected(len(names))]
        surplus += [
            path.relative_to(folder).as_posix()
            for path in folder.glob("Result_*/*")
            if path.name not in ("score.raw", "map.raw")
        ]
        if surplus:
            raise InputError(f"{lot}/{min(surplus)}: of no line of the list")
        for line, name in enumerate(names):
            guard = name in CANARY_NAMES
            try:
                read[line] = _read_line(result, folder, lot, line, name if guard else images[name].id, hashes)
            except InputError as error:
                if guard:
                    raise
                outputs.fault(images[name].target, str(error), name)
        guards.check({line: anomaly_map for line, (_, anomaly_map) in read.items()}, len(names), lot)
    except InputError as error:
        # All images of the lot are in doubt. A lot that names none of its images is the business of every target.
        keys = [name for name in names if name in images]
        seen.update(keys)
        for target in sorted({images[key].target for key in keys} or {target.name for target in result.kit.targets}):
            outputs.fault(target, str(error), *keys)
        return
    for line in set(read) - {0, len(names) - 1}:
        outputs.score[names[line]], outputs.map[names[line]] = read[line]


def _expected(lines: int) -> set[str]:
    return {f"Result_{line}" for line in range(lines)}


def _check_list(names: list[str], lot: str, images: dict[str, Listed], seen: set[str]) -> None:
    if len(names) < 3 or (names[0], names[-1]) != CANARY_NAMES:
        raise InputError(
            f"{lot}/input_list.txt: does not begin and end with the guarding pictures; cut off or re-ordered"
        )
    for name in names[1:-1]:
        if name not in images:
            raise InputError(f"{lot}/input_list.txt: {name} is of no image of the kit")
        if name in seen:
            raise InputError(f"{lot}/input_list.txt: {images[name].id} was run twice")
        seen.add(name)
    if names[1:-1] != sorted(names[1:-1]):
        raise InputError(f"{lot}/input_list.txt: re-ordered; not the order of the kit")


def _read_line(
    result: Result, folder: Path, lot: str, line: int, of: str, hashes: dict[str, list[str]]
) -> tuple[float, np.ndarray]:
    height, width = result.kit.map_shape
    tensors = []
    said = hashes.get(str(line))
    if said is None:
        raise InputError(f"{of}: {lot}/outputs.tsv has no row {line}")
    for name, count, sha256 in zip(("score", "map"), (1, height * width), said, strict=True):
        file = f"{lot}/Result_{line}/{name}.raw"
        path = folder / f"Result_{line}" / f"{name}.raw"
        if not path.is_file():
            raise InputError(f"{of}: no result ({file} is missing)")
        data = read_bytes(path, file)
        tensors.append(read_tensor(data, count, f"{of}: {file}"))
        if sha256_of_bytes(data) != sha256:
            raise InputError(f"{of}: {file} is not what the board wrote there; moved, changed or cut off")
    return float(tensors[0][0]), tensors[1].reshape(height, width)


class _Guards:
    """Recognises the two pictures that stand first and last in every list, by what the host makes of them."""

    def __init__(self, host: Path, size: int):
        scorer = OnnxScorer(host)
        self._maps = np.stack([scorer.score(canary(name, size))[1] for name in CANARY_NAMES])

    def check(self, maps: dict[int, np.ndarray], lines: int, lot: str) -> None:
        """Raise if another result of the lot is far closer to one of the two pictures than its own.

        Args:
            maps: of the lot's results, by line.
            lines: of the list.
            lot: for errors.

        Raises:
            InputError: the results are not in the order of the list.
        """
        order = sorted(maps)
        guards = np.array([order.index(0), order.index(lines - 1)])
        for row, other in misplaced(guards, self._maps, np.stack([maps[line] for line in order])):
            name = CANARY_NAMES[0] if order[row] == 0 else CANARY_NAMES[1]
            raise InputError(
                f"{lot}: the result of {name}, line {order[row]}, is at line {order[other]}; the results are re-ordered"
            )
