"""`edgezsad export dlc GRAPH OUT` and `edgezsad export tensorrt GRAPH OUT`: a graph in the form that a board takes."""

from pathlib import Path
from typing import Annotated

import typer

export_app = typer.Typer(help="Files for the boards, from an exported ONNX graph.", no_args_is_help=True)

Graph = Annotated[Path, typer.Argument(help="An ONNX file, for instance runs/mini/export/seed0-fp16.onnx.")]


@export_app.command()
def dlc(
    graph: Graph,
    out: Annotated[Path, typer.Argument(help="The DLC; its record goes beside it.")],
    folded: Annotated[bool, typer.Option("--folded", help="Expand constants beforehand: a larger file.")] = False,
) -> None:
    """Write a DLC for Qualcomm's boards (Linux x86-64, onnxruntime-qnn); exit code 1 if not all of the graph fits."""
    from edgezsad.export.dlc import write_dlc

    record = write_dlc(graph, out, folded)
    operations = sum(record.operations.values())
    typer.echo(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, {record.precision}, {record.partitions} partition of {operations} "
        f"operations, at most {record.most_axes} axes; the GPU's list has "
        + ("; ".join(record.gpu_findings) or "nothing against it")
    )


@export_app.command()
def tensorrt(
    graph: Annotated[Path, typer.Argument(help="An ONNX file: FP32 for TensorRT 10.x, FP16 from 11.0 on.")],
    out: Annotated[Path, typer.Argument(help="The engine; its record goes beside it.")],
    timing_cache: Annotated[Path | None, typer.Option(help="Kept between builds, which then take seconds.")] = None,
    trtexec: Annotated[str | None, typer.Option(help="Build with this program instead of the Python package.")] = None,
) -> None:
    """Build an FP16 engine for the NVIDIA GPU of this machine; one that fits already is kept."""
    from edgezsad.errors import RuntimeUnavailable
    from edgezsad.export.tensorrt_engine import build_engine, build_with_trtexec
    from edgezsad.scoring.tensorrt_scorer import tensorrt_package, this_device

    if trtexec is None:
        try:
            found = tensorrt_package()
            record = build_engine(graph, out, this_device(found), found, timing_cache)
        except RuntimeUnavailable:
            record = build_with_trtexec(graph, out, timing_cache)
    else:
        record = build_with_trtexec(graph, out, timing_cache, trtexec)
    typer.echo(f"{out}: for {record.gpu} ({record.capability}), TensorRT {record.tensorrt}, built by {record.builder}")
