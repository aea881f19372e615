"""Boards: the paper's two boards, kits for them, their results, and the drift of their scores.

`kit` writes all that a board needs into one archive, `boards/` holds the shell scripts that run there, `ingest` turns
the result into score files and a latency record (`latency`), `drift` compares score files with the host's.
"""

from dataclasses import dataclass

from edgezsad import reported
from edgezsad.errors import InputError


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes:
        name: on the command line, and of its folder in a run (`Run.board`).
        title: for readers.
        runtime, precision: recorded in its score files.
        suffix: of the output file of each image.
        scripts: files of `boards/`; the first becomes `run.sh` in the kit.
        seconds_before, seconds_per_chunk, seconds_per_image: estimated times before the first image, per 100 images,
            and per image.
        reported: the paper's latency, and what repeating it needs.
    """

    name: str
    title: str
    runtime: str
    precision: str
    suffix: str
    scripts: tuple[str, ...]
    seconds_before: float
    seconds_per_chunk: float
    seconds_per_image: float
    reported: reported.ReportedLatency


BOARDS = {
    "jetson": Board(
        name="jetson",
        title="Jetson Orin Nano Super",
        runtime="tensorrt-fp16",
        precision="fp16",
        suffix="json",
        scripts=("jetson.sh", "common.sh"),
        seconds_before=600,
        seconds_per_chunk=0,
        # trtexec loads the engine for each image, which takes longer than the image.
        seconds_per_image=2.5,
        reported=reported.JETSON,
    ),
    "rb5": Board(
        name="rb5",
        title="RB5 Gen2 (QCS8550)",
        runtime="qnn-gpu-fp16",
        precision="fp16",
        suffix="raw",
        scripts=("rb5.sh", "common.sh", "ort_qnn.py"),
        seconds_before=60,
        # qnn-net-run prepares the model for each chunk.
        seconds_per_chunk=60,
        seconds_per_image=0.4,
        reported=reported.RB5,
    ),
}


def find_board(name: str) -> Board:
    """Return the board of that name.

    Raises:
        InputError: unknown name.
    """
    if name not in BOARDS:
        raise InputError(f"{name}: unknown board; choose {' or '.join(BOARDS)}")
    return BOARDS[name]
