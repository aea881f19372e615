"""The paper's two boards: what each is called in files, what runs there, and what the paper reports of it."""

from dataclasses import dataclass

from edgezsad import reported
from edgezsad.errors import InputError


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes:
        name: on the command line, and of its folder in a run (`Run.board`).
        title: for people.
        runtime, precision: what the run records of its score files say.
        tool: the program that runs the model there.
        reported: the paper's latency, and what repeating it needs.
    """

    name: str
    title: str
    runtime: str
    precision: str
    tool: str
    reported: reported.ReportedLatency


BOARDS = {
    board.name: board
    for board in (
        Board("jetson", "Jetson Orin Nano Super", "tensorrt-fp16", "fp16", "trtexec", reported.JETSON),
        Board("rb5", "RB5 Gen2 (QCS8550)", "qnn-gpu-fp16", "fp16", "qnn-net-run", reported.RB5),
    )
}


def board(name: str) -> Board:
    """The board of that name.

    Raises:
        InputError: there is none.
    """
    if name not in BOARDS:
        raise InputError(f"{name}: no such board; choose {' or '.join(BOARDS)}")
    return BOARDS[name]
