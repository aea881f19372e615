"""A TensorRT engine and the record beside it: which graph, which GPU, which TensorRT it is for.

An engine runs on the kind of GPU and the version of TensorRT that built it and on no other. TensorRT says so with a
number, or crashes; here it is refused by name before it is loaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from edgezsad.errors import InputError
from edgezsad.files import read_json, sha256_of_file

REMEDY = "build it again with `edgezsad export tensorrt`"


@dataclass(frozen=True)
class Board:
    """What an engine is tied to.

    Attributes:
        gpu: its name, for instance "Orin".
        capability: its compute capability, for instance "8.7".
        tensorrt: the version, for instance "10.3.0".
    """

    gpu: str
    capability: str
    tensorrt: str

    @property
    def version(self) -> tuple[int, int]:
        """TensorRT's major and minor version.

        Raises:
            InputError: it is no version.
        """
        try:
            major, minor = map(int, self.tensorrt.split(".")[:2])
        except ValueError:
            raise InputError(f"TensorRT {self.tensorrt!r}: no version; reinstall TensorRT") from None
        return major, minor


class EngineRecord(BaseModel):
    """Kept beside an engine as NAME.json.

    Attributes:
        model_sha256: of the ONNX file.
        detector_sha256: of the weights behind it, "" if it does not say.
        engine_sha256: of the engine.
        gpu, capability, tensorrt: what it is tied to.
        builder: the Python package or `trtexec`.
        command: what built it.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    model_sha256: str
    detector_sha256: str
    engine_sha256: str
    precision: Literal["fp16"] = "fp16"
    gpu: str
    capability: str
    tensorrt: str
    builder: Literal["tensorrt", "trtexec"]
    command: str
    versions: dict[str, str]


def record_path(engine: Path | str) -> Path:
    """The record beside an engine."""
    return Path(engine).with_suffix(".json")


def read_engine(engine: Path | str, board: Board, graph: Path | str | None = None) -> EngineRecord:
    """The record of an engine that may be loaded here.

    Args:
        engine: the plan.
        board: what it is to run on.
        graph: the ONNX file that it should be of, if that is known.

    Raises:
        InputError: engine or record is missing or damaged, or they are of another GPU, TensorRT or model.
    """
    engine = Path(engine)
    raw = read_json(record_path(engine), REMEDY)
    try:
        record = EngineRecord.model_validate(raw)
    except ValidationError as error:
        faults = error.error_count()
        raise InputError(f"{record_path(engine)}: not the record of an engine ({faults} faults); {REMEDY}") from None
    if not engine.is_file():
        raise InputError(f"{engine}: missing; {REMEDY}")
    if sha256_of_file(engine) != record.engine_sha256:
        raise InputError(f"{engine}: not the file that {record_path(engine).name} tells of; {REMEDY}")
    if (record.gpu, record.capability) != (board.gpu, board.capability):
        raise InputError(
            f"{engine}: built for the GPU {record.gpu} ({record.capability}), and this is {board.gpu} "
            f"({board.capability}); {REMEDY}"
        )
    if record.tensorrt != board.tensorrt:
        raise InputError(f"{engine}: built by TensorRT {record.tensorrt}, and this is {board.tensorrt}; {REMEDY}")
    if graph is not None and sha256_of_file(graph) != record.model_sha256:
        raise InputError(f"{engine}: built from another graph than {graph}; {REMEDY}")
    return record
