"""An ONNX graph as a DLC, Qualcomm's format, written on the host by ONNX Runtime's QNN IR backend.

`qnn-net-run` runs it on a board by `libQnnGpu.so`, in the types that it finds there:
give the FP16 graph for FP16. The IR backend only writes; nothing here computes an image.

A DLC counts only if it holds the whole graph: one partition, no node left to the CPU. What the graph became is read
back from QNN's own description of it, and the types and axes of each operation are compared with the GPU's list.

TinyViT's position biases are small tables that the graph expands (`edgezsad.export.attention`). ONNX Runtime would
expand them before QNN sees them, and the file would take 157 MB more in FP16; so its constant folding is left out. The
HTP emulator takes the graph so and gives the same numbers. Whether QNN's GPU expands them once or for every image is
not documented: should it be slow there, `folded` is the other way.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from onnx import TensorProto
from pydantic import BaseModel, ConfigDict, ValidationError

from edgezsad.errors import CheckError, InputError
from edgezsad.export.lint import OperatorUse, findings_of, load_graph
from edgezsad.files import check_may_be_written, read_json, sha256_of_file, versions, write_json, written_beside
from edgezsad.scoring.onnx_scorer import read_metadata
from edgezsad.scoring.qnn_scorer import QnnLibrary, assignment, check_assignment, open_session, partitions

WRITER = QnnLibrary("QNN IR backend", "libQnnIr.so", {"dump_qnn_ir_dlc": "1"})
FOLDING = ("ConstantFolding",)
REMEDY = "write it again with `edgezsad export dlc`"

# QnnTypes.h, Qnn_DataType_t.
QNN_TYPES = {0x0216: "FP16", 0x0232: "FP32", 0x0032: "INT32", 0x0132: "INT32", 0x0064: "INT64", 0x0508: "BOOL"}
STATIC = 4
"""QnnTypes.h, QNN_TENSOR_TYPE_STATIC: a weight."""


class DlcRecord(BaseModel):
    """What a DLC was made from and what it holds; kept beside it as NAME.json.

    Attributes:
        model_sha256: of the ONNX file.
        detector_sha256: of the weights behind it, "" if it does not say.
        dlc_sha256: of the DLC.
        precision: of the ONNX file's weights.
        folded: whether constants were expanded beforehand.
        partitions: into how many the graph was cut; 1 by contract.
        operations: counts by QNN operation, most frequent first.
        most_axes: of any tensor that is not a weight.
        gpu_findings: what the GPU backend's list says against it.
        versions: of the packages.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    model_sha256: str
    detector_sha256: str
    dlc_sha256: str
    precision: Literal["fp32", "fp16"]
    folded: bool
    partitions: int
    operations: dict[str, int]
    most_axes: int
    gpu_findings: list[str]
    versions: dict[str, str]


def write_dlc(graph: Path | str, target: Path | str, folded: bool = False) -> DlcRecord:
    """Write `target` and the record beside it, each atomically; 3 s for the paper's graph.

    Args:
        graph: the ONNX file.
        target: the DLC.
        folded: let ONNX Runtime expand constants first.

    Raises:
        InputError: the graph is missing or damaged, or `target` cannot be written.
        CheckError: the backend does not take all of the graph as one partition.
        RuntimeUnavailable: onnxruntime-qnn is not here, or does not start.
    """
    graph, target = Path(graph), Path(target)
    if target.suffix != ".dlc":
        raise InputError(f"{target}: a DLC's name ends with .dlc; name it so")
    check_may_be_written(target)
    model = load_graph(graph)
    half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
    backend = WRITER.start()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        settings = WRITER.settings | {"dump_qnn_ir_dlc_dir": folder}
        settings |= {"dump_json_qnn_graph": "1", "json_qnn_graph_dir": folder}
        try:
            session = open_session(str(graph), backend, settings, disabled=() if folded else FOLDING)
        # ONNX Runtime's exceptions have no common base but Exception.
        except Exception:
            # It is the fallback's absence that fails a session; see which nodes would have fallen back.
            raise CheckError(
                f"{graph}: the {WRITER.name} does not take {WRITER.refused(graph, backend)}; replace it in the model"
            ) from None
        check_assignment(assignment(session), graph, WRITER.name)
        written = sorted(Path(folder).glob("*.dlc"))
        if partitions(session) != 1 or len(written) != 1:
            parts = f"{partitions(session)} partitions and {len(written)} files"
            raise CheckError(f"{graph}: cut into {parts}, not one; look at the graph")
        description = next(path for path in Path(folder).glob("*.json") if not path.stem.endswith("tensor_log"))
        uses = qnn_uses(json.loads(description.read_text(encoding="utf-8")))
        with written_beside(target) as temporary:
            written[0].replace(temporary)
    counts = Counter(use.operator for use in uses)
    record = DlcRecord(
        model_sha256=sha256_of_file(graph),
        detector_sha256=read_metadata(graph).get("model_sha256", ""),
        dlc_sha256=sha256_of_file(target),
        precision="fp16" if half else "fp32",
        folded=folded,
        partitions=partitions(session),
        operations=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        most_axes=max(rank for use in uses for rank in use.ranks),
        gpu_findings=findings_of(uses, "qnn-gpu"),
        versions=versions("onnxruntime", "onnxruntime-qnn"),
    )
    write_json(record_path(target), record.model_dump())
    return record


def read_dlc(target: Path | str, graph: Path | str | None = None) -> DlcRecord:
    """The record of a DLC, checked against the file, and against the ONNX file if one is given.

    Raises:
        InputError: either is missing, damaged, or not what the record says; the file is named.
    """
    target = Path(target)
    raw = read_json(record_path(target), REMEDY)
    try:
        record = DlcRecord.model_validate(raw)
    except ValidationError as error:
        raise InputError(
            f"{record_path(target)}: not the record of a DLC ({error.error_count()} faults); {REMEDY}"
        ) from None
    if not target.is_file():
        raise InputError(f"{target}: missing; {REMEDY}")
    if sha256_of_file(target) != record.dlc_sha256:
        raise InputError(f"{target}: not the file that {record_path(target).name} tells of; {REMEDY}")
    if graph is not None and sha256_of_file(graph) != record.model_sha256:
        raise InputError(f"{target}: made from another graph than {graph}; {REMEDY}")
    return record


def record_path(target: Path | str) -> Path:
    """The record beside a DLC."""
    return Path(target).with_suffix(".json")


def qnn_uses(description: dict[str, Any]) -> list[OperatorUse]:
    """The operations of a graph as QNN's description of it tells them.

    Args:
        description: what the provider's `dump_json_qnn_graph` wrote.
    """
    tensors = description["graph"]["tensors"]
    return [
        OperatorUse(
            name,
            node["type"],
            frozenset(
                len(tensors[tensor]["dims"])
                for tensor in (*node["input_names"], *node["output_names"])
                if tensors[tensor]["type"] != STATIC
            ),
            frozenset(
                QNN_TYPES.get(tensors[tensor]["data_type"], hex(tensors[tensor]["data_type"]))
                for tensor in node["output_names"]
            ),
        )
        for name, node in description["graph"]["nodes"].items()
    ]
