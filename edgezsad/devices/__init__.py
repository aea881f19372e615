"""Boards: kits for the paper's two boards, their results, and the drift of their scores.

`kit` writes all that a board needs into one archive, `boards/` holds the scripts that run there, `ingest` turns the
result into score files and a latency record (`latency`), `drift` compares score files with the host's.
"""

from dataclasses import dataclass
from typing import Any

from edgezsad.files import reported


@dataclass(frozen=True)
class Board:
    """A board: `page` is its notebook, `suffix` that of an image's output; the first of its `scripts` is `run.sh`."""

    name: str
    title: str
    page: str
    runtime: str
    precision: str
    suffix: str
    scripts: tuple[str, ...]

    @property
    def reported(self) -> dict[str, Any]:
        """What the paper reports of the board, and what repeating it needs (`claims/reported.yaml`)."""
        return reported()["boards"][self.name]


_JETSON_SCRIPTS, _RB5_SCRIPTS = ("jetson.sh", "common.sh", "trt_runner.py"), ("rb5.sh", "common.sh")
_JETSON = Board("jetson", "Jetson Orin Nano Super", "08_jetson_drift", "tensorrt-fp16", "fp16", "json", _JETSON_SCRIPTS)
_RB5 = Board("rb5", "RB5 Gen2 (QCS8550)", "09_rb5_drift", "qnn-gpu-fp16", "fp16", "raw", _RB5_SCRIPTS)
BOARDS = {board.name: board for board in (_JETSON, _RB5)}
