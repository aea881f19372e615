"""Whose result it is: of which kit, of which model, and whether the host's run is still the one that the kit is of.

What is wrong here concerns everything in the result: it is refused as a whole, and nothing that was there is touched.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from edgezsad.devices.boards import BOARDS, Board
from edgezsad.devices.ingest.tables import REMEDY, read_bytes, read_facts, read_rows
from edgezsad.devices.kit.pictures import key
from edgezsad.devices.kit.plan import map_shape
from edgezsad.devices.kit.record import IMAGES, RECORD, SUMS, KitRecord
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes, sha256_of_file
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import read_metadata

TOLD = (RECORD, IMAGES, "facts.tsv", "commands.tsv", "sessions.tsv")
"""What says whose result it is; `SHA256SUMS` has their hashes, and those of the timing run's files."""
FACTS = ("kit_sha256", "device", "tool", "tool_version", "model", "model_sha256", "power_mode", "clocks")


@dataclass(frozen=True)
class Listed:
    """One image of the kit: its number, target, hash of its raw data, and id in the manifest."""

    key: str
    target: str
    sha256: str
    id: str


@dataclass(frozen=True)
class Result:
    """A result whose origin is settled.

    Attributes:
        folder: its files.
        name: of the archive, for errors.
        kit: what the board was given.
        board: which it is.
        facts: what the script found on the board.
        commands: what it ran, by step.
        images: of the kit, in its order.
        sums: hashes of the timing run's files, as the board packed them.
        notes: what the user should know and that fails nothing.
    """

    folder: Path
    name: str
    kit: KitRecord
    board: Board
    facts: dict[str, str]
    commands: dict[str, str]
    images: list[Listed]
    sums: dict[str, str]
    notes: list[str] = field(default_factory=list)

    def what(self, file: str) -> str:
        """A file of the result, for errors."""
        return f"{self.name}: {file}"

    def packed(self, file: str) -> bytes:
        """A file of the timing run, as the board packed it.

        Raises:
            InputError: it is missing or was changed.
        """
        data = read_bytes(self.folder / file, self.what(file))
        if sha256_of_bytes(data) != self.sums.get(file):
            raise InputError(f"{self.what(file)}: not what the board packed; changed or cut off")
        return data


def read_result(folder: Path, name: str, run: Run) -> Result:
    """Read and check what a result says of itself.

    Args:
        folder: the result's files.
        name: of the archive, for errors.
        run: the host's run, which the kit was made from.

    Raises:
        InputError: a file is missing or damaged, or the result is of another kit, model, seed or profile.
    """
    kit_bytes = read_bytes(folder / RECORD, f"{name}: {RECORD}")
    try:
        kit = KitRecord.model_validate_json(kit_bytes)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise InputError(f"{name}: {RECORD} is damaged ({where}: {first['msg']}); {REMEDY}") from None
    sums = check_sums(folder, name)
    facts = read_facts(folder / "facts.tsv", f"{name}: facts.tsv")
    if missing := [key for key in FACTS if key not in facts]:
        raise InputError(f"{name}: facts.tsv has no {missing[0]}; {REMEDY}")
    if facts["kit_sha256"] != sha256_of_bytes(kit_bytes):
        raise InputError(f"{name}: the board ran another kit than {RECORD} tells of; {REMEDY}")
    check_model(name, kit, facts, run)
    if sha256_of_file(folder / IMAGES) != kit.images_sha256:
        raise InputError(f"{name}: {IMAGES} is not the kit's list of images; {REMEDY}")
    images = _read_images(folder, name, kit)
    commands = read_facts(folder / "commands.tsv", f"{name}: commands.tsv")
    notes = [f"on the board: {text}" for text in facts.get("warning", "").split("; ") if text]
    return Result(folder, name, kit, BOARDS[kit.board], facts, commands, images, sums, notes)


def _read_images(folder: Path, name: str, kit: KitRecord) -> list[Listed]:
    """The kit's list: numbers from 0 on, and as many images of each target as the record says."""
    rows = read_rows(folder / IMAGES, f"{name}: {IMAGES}", 5)
    images = [Listed(row[0], row[1], row[3], row[4]) for row in rows]
    counts = Counter(image.target for image in images)
    numbered = [image.key for image in images] == [key(number) for number in range(len(images))]
    if not numbered or counts != Counter({target.name: target.images for target in kit.targets}):
        raise InputError(f"{name}: {IMAGES} is not the list that {RECORD} tells of; {REMEDY}")
    return images


def check_sums(folder: Path, name: str) -> dict[str, str]:
    """The files that say whose result it is are as `pack` listed them.

    Returns:
        The hashes of the other files.

    Raises:
        InputError: one is missing or differs.
    """
    sums = {}
    for row in read_rows(folder / SUMS, f"{name}: {SUMS}", 1):
        sha256, _, file = row[0].partition("  ")
        if not re.fullmatch("[0-9a-f]{64}", sha256) or file in sums:
            raise InputError(f"{name}: {SUMS} is damaged; {REMEDY}")
        sums[file] = sha256
    for file in TOLD:
        data = read_bytes(folder / file, f"{name}: {file}")
        if sha256_of_bytes(data) != sums.pop(file, ""):
            raise InputError(f"{name}: {file} is damaged, its hash is not the one in {SUMS}; {REMEDY}")
    return sums


def check_model(name: str, kit: KitRecord, facts: dict[str, str], run: Run) -> None:
    """The model on the board is the run's.

    Raises:
        InputError: another profile, seed, detector or file.
    """
    profile = run.profile
    if kit.profile != profile.profile or kit.seed not in profile.seeds:
        raise InputError(
            f"{name}: of profile {kit.profile}, seed {kit.seed}; this run is {profile.profile} with the seeds "
            f"{', '.join(map(str, profile.seeds))}; give the --config that the kit was written with"
        )
    graphs = {precision: run.onnx(kit.seed, precision) for precision in ("fp32", "fp16")}
    ours = read_metadata(graphs["fp32"]).get("model_sha256", "")
    if kit.detector_sha256 != ours:
        raise InputError(
            f"{name}: of another model (detector {kit.detector_sha256[:12]}, the run's seed {kit.seed} has "
            f"{ours[:12]}); write a new kit and run it"
        )
    used = [precision for precision, model in kit.models.items() if model.sha256 == facts["model_sha256"]]
    if not used or kit.models[used[0]].file != facts["model"]:
        raise InputError(
            f"{name}: the board ran a model that is not in its kit ({facts['model_sha256'][:12]}); {REMEDY}"
        )
    if kit.size != profile.model.size or kit.map_shape != map_shape(graphs["fp32"]):
        raise InputError(f"{name}: {RECORD} tells of other sizes than the run's model has; {REMEDY}")
    for precision, model in kit.models.items():
        if precision in graphs and model.sha256 != sha256_of_file(graphs[precision]):
            raise InputError(
                f"{name}: {graphs[precision]} is not the file that the kit was made from; export it as it was then, or "
                "write a new kit and run it"
            )
