"""What the boards would be given, and what can be known of it without one; the tables of notebook 07."""

import shlex
import tempfile
import time
from pathlib import Path

import pandas as pd

from edgezsad.errors import RuntimeUnavailable
from edgezsad.export.dlc import write_dlc
from edgezsad.export.tensorrt_engine import tensorrt_status, trtexec_options
from edgezsad.scoring.tensorrt_scorer import graph_precision


def dlc_table(graphs: dict[str, Path], folder: Path | str, expanded: tuple[str, ...] = ()) -> pd.DataFrame:
    """Write graphs as DLCs; one row each: size, partitions, operations, most axes, findings, seconds.

    Args:
        graphs: ONNX files by what they are called in the table.
        folder: where the DLCs go, by the names of the graphs' files.
        expanded: graphs that are also written with their constants expanded, for the comparison; these large files
            are not kept.

    Raises:
        CheckError: a graph does not become one partition.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(name, graph, folder, False) for name, graph in graphs.items()]
    for name in expanded:
        with tempfile.TemporaryDirectory(prefix=".dlc", dir=folder) as short:
            rows.append(_row(name, graphs[name], Path(short), True))
    return pd.DataFrame(rows)


def _row(name: str, graph: Path, folder: Path, folded: bool) -> dict[str, object]:
    row: dict[str, object] = {"graph": name, "constants": "expanded" if folded else "as in the graph"}
    target = folder / f"{graph.stem}.dlc"
    start = time.perf_counter()
    try:
        record = write_dlc(graph, target, folded)
    except RuntimeUnavailable as reason:
        missing = dict.fromkeys(("megabytes", "partitions", "operations", "most axes", "findings", "seconds"))
        return row | missing | {"status": f"not run: {reason}"}
    return row | {
        "megabytes": target.stat().st_size / 1e6,
        "partitions": record.partitions,
        "operations": sum(record.operations.values()),
        "most axes": record.most_axes,
        "findings": len(record.gpu_findings),
        "seconds": time.perf_counter() - start,
        "status": "written",
    }


def largest(table: pd.DataFrame, column: str, **where: object) -> float | None:
    """The largest value of a column among the rows that `where` picks; None if none of them was run."""
    picked = table
    for name, value in where.items():
        picked = picked[picked[name] == value]
    values = picked[column].dropna()
    return None if values.empty or len(values) < len(picked) else float(values.max())


def status_table() -> pd.DataFrame:
    """List the ways onto a board: what was run, and the command that runs it there (see the kit's scripts)."""
    needs = "needs a device"
    rows = []
    for version in ((10, 3), (11, 0)):
        graph = f"paper-{graph_precision(version)}.onnx"
        build = shlex.join(["trtexec", *trtexec_options(graph, "paper.plan", version, "timing.cache")])
        rows.append((f"TensorRT {version[0]}.{version[1]}, build", needs, build))
    run = "trtexec --loadEngine=paper.plan --loadInputs=image:0001.raw --exportTimes=times.json --exportOutput=out.json"
    rows.append(("TensorRT, run", needs, run))
    rows.append(("TensorRT, Python package", tensorrt_status(), "edgezsad export tensorrt"))
    run = "qnn-net-run --dlc_path paper-fp16.dlc --backend libQnnGpu.so --input_list images.txt --output_dir output"
    rows.append(("QNN GPU, run", needs, run))
    return pd.DataFrame(rows, columns=["way", "status", "command"])
