"""Boards: kits for the paper's two boards, their results, and the drift of their scores.

`kit` writes all that a board needs into one archive, `boards/` holds the scripts that run there, `ingest` turns the
result into score files and a latency record (`latency`), `drift` compares score files with the host's.
"""

from dataclasses import dataclass
from typing import Any

from edgezsad.errors import InputError
from edgezsad.files import reported


@dataclass(frozen=True)
class Board:
    """A board: `suffix` is of the output file of each image, `scripts` are files of `boards/`, the first is `run.sh`.
    `page` is its notebook.

    `seconds` are estimates before the first image, per chunk of 100 images, and per image.
    """

    name: str
    title: str
    page: str
    runtime: str
    precision: str
    suffix: str
    scripts: tuple[str, ...]
    seconds: tuple[float, float, float]

    @property
    def reported(self) -> dict[str, Any]:
        """What the paper reports of the board, and what repeating it needs (`claims/reported.yaml`)."""
        return reported()["boards"][self.name]


_JETSON_SCRIPTS, _RB5_SCRIPTS = ("jetson.sh", "common.sh", "trt_runner.py"), ("rb5.sh", "common.sh")
# Jetson: the engine is built once; an image is unpacked, hashed, run and written. qnn-net-run prepares a chunk's model.
_JETSON = Board(
    "jetson",
    "Jetson Orin Nano Super",
    "08_jetson_drift",
    "tensorrt-fp16",
    "fp16",
    "json",
    _JETSON_SCRIPTS,
    (600, 0, 0.25),
)
_RB5 = Board("rb5", "RB5 Gen2 (QCS8550)", "09_rb5_drift", "qnn-gpu-fp16", "fp16", "raw", _RB5_SCRIPTS, (60, 60, 0.4))
BOARDS = {board.name: board for board in (_JETSON, _RB5)}


def find_board(name: str) -> Board:
    """Return the board of that name; an InputError if it is unknown."""
    if name not in BOARDS:
        raise InputError(f"{name}: unknown board; choose {' or '.join(BOARDS)}")
    return BOARDS[name]
