"""Convert an ONNX graph to a DLC, Qualcomm's format, on the host with ONNX Runtime's QNN IR backend.

`qnn-net-run` runs it on a board with `libQnnGpu.so`, in the types of the graph: give the FP16 graph for FP16. The IR
backend only writes; nothing is computed here.

A DLC must hold the whole graph as one partition, with no node left to the CPU. Its operations are read from QNN's own
description and compared with the GPU's operator list.

ONNX Runtime's constant folding would expand TinyViT's position biases and add 157 MB in FP16. It is disabled, unless
`folded` asks for it.
"""

import json
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgezsad.errors import CheckError, InputError
from edgezsad.export.lint import OperatorUse, findings_of
from edgezsad.files import check_may_be_written, read_json, sha256_of_file, versions, write_json, written_beside
from edgezsad.scoring.onnx_scorer import read_metadata
from edgezsad.scoring.qnn_scorer import QnnLibrary, qairt_version

WRITER = QnnLibrary("QNN IR backend", "libQnnIr.so", {"dump_qnn_ir_dlc": "1"})
FOLDING = ("ConstantFolding",)
REMEDY = "write it again with `edgezsad export dlc`"

# QnnTypes.h, Qnn_DataType_t.
QNN_TYPES = {0x0216: "FP16", 0x0232: "FP32", 0x0032: "INT32", 0x0132: "INT32", 0x0064: "INT64", 0x0508: "BOOL"}
STATIC = 4  # QNN_TENSOR_TYPE_STATIC: a weight


@dataclass(frozen=True)
class DlcRecord:
    """What a DLC was made from and what is in it; stored next to it as NAME.json. `most_axes` leaves out weights."""

    model_sha256: str
    dlc_sha256: str
    precision: str
    partitions: int
    operations: dict[str, int]
    most_axes: int
    gpu_findings: list[str]
    versions: dict[str, str]


def write_dlc(graph: Path | str, target: Path | str, folded: bool = False) -> DlcRecord:
    """Write an ONNX file as a DLC, with its record, each atomically; `folded` expands constants beforehand.

    A CheckError if the backend does not take all of the graph as one partition; RuntimeUnavailable without a backend.
    """
    graph, target = Path(graph), Path(target)
    if target.suffix != ".dlc":
        raise InputError(f"{target}: the name of a DLC must end with .dlc; rename it")
    check_may_be_written(target)
    backend = WRITER.start()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        settings = {"dump_qnn_ir_dlc_dir": folder, "dump_json_qnn_graph": "1", "json_qnn_graph_dir": folder}
        session = WRITER.open(graph, backend, () if folded else FOLDING, **settings)
        partitions = len(session.get_provider_graph_assignment_info())
        written = sorted(Path(folder).glob("*.dlc"))
        if partitions != 1 or len(written) != 1:
            raise CheckError(f"{graph}: {partitions} partitions, expected 1; see `edgezsad lint`")
        description = next(path for path in Path(folder).glob("*.json") if not path.stem.endswith("tensor_log"))
        uses = qnn_uses(json.loads(description.read_text(encoding="utf-8")))
        with written_beside(target) as temporary:
            written[0].replace(temporary)
    record = DlcRecord(
        model_sha256=sha256_of_file(graph),
        dlc_sha256=sha256_of_file(target),
        precision=read_metadata(graph).get("precision", "fp32"),
        partitions=partitions,
        operations=dict(Counter(sorted(use.operator for use in uses)).most_common()),
        most_axes=max(rank for use in uses for rank in use.ranks),
        gpu_findings=findings_of(uses, "qnn-gpu"),
        versions=versions("onnxruntime", "onnxruntime-qnn") | {"qairt": qairt_version()},
    )
    write_json(target.with_suffix(".json"), asdict(record))
    return record


def read_dlc(target: Path | str, graph: Path | str) -> DlcRecord:
    """Read the record of a DLC and check it against the file and its graph; InputError if one is missing or another."""
    target, path = Path(target), Path(target).with_suffix(".json")
    try:
        record = DlcRecord(**read_json(path, REMEDY))
    except TypeError:
        raise InputError(f"{path}: not the record of a DLC; {REMEDY}") from None
    if not target.is_file() or sha256_of_file(target) != record.dlc_sha256:
        raise InputError(f"{target}: missing or changed since {path.name} was written; {REMEDY}")
    if sha256_of_file(graph) != record.model_sha256:
        raise InputError(f"{target}: made from another graph than {graph}; {REMEDY}")
    return record


def qnn_uses(description: dict[str, Any]) -> list[OperatorUse]:
    """List the operations in QNN's description of a graph, as written by the provider's `dump_json_qnn_graph`."""
    tensors = description["graph"]["tensors"]
    uses = []
    for name, node in description["graph"]["nodes"].items():
        ends = [tensors[tensor] for tensor in (*node["input_names"], *node["output_names"])]
        outputs = [tensors[tensor]["data_type"] for tensor in node["output_names"]]
        ranks = frozenset(len(tensor["dims"]) for tensor in ends if tensor["type"] != STATIC)
        types = frozenset(QNN_TYPES.get(kind, hex(kind)) for kind in outputs)
        uses.append(OperatorUse(name, node["type"], ranks, types))
    return uses
