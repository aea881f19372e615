"""Publish a run's first seed as the shipped checkpoint and graph: python benchmarks/publish_checkpoint.py CONFIG."""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from recording import run_script

from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import CheckError
from edgezsad.export.export_run import compare_scores
from edgezsad.export.lint import check_lint, load_graph, save_graph
from edgezsad.export.onnx_export import export_onnx
from edgezsad.files import written_beside
from edgezsad.model import CHECKPOINT, GRAPH, REFERENCES, THRESHOLD
from edgezsad.model.detector import DetectorModule, graph_metadata, load_detector
from edgezsad.model.references import DESCRIPTION, REPLACED, ReferenceDetector
from edgezsad.run import Run, open_run
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.score_run import subset
from edgezsad.scoring.torch_scorer import TorchScorer

AGREEMENT = 0.05
"""Largest difference of scores between graph and checkpoint; the graph's weights are rounded to FP16."""
IMAGES = 24


def publish(run: Run) -> float:
    """Write checkpoint and graph of the run's first seed; return the largest difference of their scores."""
    seed = run.profile.seeds[0]
    path = run.checkpoint(seed)
    detector, info = load_detector(path)
    with tempfile.TemporaryDirectory() as folder:
        full = export_onnx(detector, Path(folder) / "full.onnx", detector.size, graph_metadata(detector, info))
        graph = store_fp16_weights(full, Path(folder) / "graph.onnx")
        check_lint(graph)
        manifests = [read_run_manifest(run, item) for item in run.profile.data.source if item.generated]
        samples = [subset(manifest.select("test"), IMAGES) for manifest in manifests]
        rows = compare_scores(TorchScorer(detector), OnnxScorer(graph), samples, seed)
        largest = float(rows["score_difference"].max())
        if not largest <= AGREEMENT:
            raise CheckError(f"{path}: the graph's scores differ by {largest:.2g}, more than {AGREEMENT:g}; check it")
        for made, kept in ((graph, GRAPH), (path, CHECKPOINT)):
            with written_beside(kept) as temporary:
                shutil.copyfile(made, temporary)
        # A part file records a threshold of its own.
        metadata = {key: value for key, value in graph_metadata(detector, info).items() if key != THRESHOLD}
        publish_references(detector, REFERENCES, metadata)
    return largest


def publish_references(detector: DetectorModule, target: Path, metadata: dict[str, str]) -> Path:
    """Write the graph that `edgezsad.references` completes: without the tensors of a part, its descriptions named."""
    with tempfile.TemporaryDirectory() as folder:
        module, full = ReferenceDetector(detector), Path(folder) / "full.onnx"
        export_onnx(module, full, detector.size, metadata, more_outputs=DESCRIPTION)
        model = load_graph(store_fp16_weights(full, Path(folder) / "graph.onnx"))
    # Shapes depend on the number of reference patches.
    del model.graph.value_info[:]
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in REPLACED]:
        model.graph.initializer.remove(tensor)
    for output in [output for output in model.graph.output if output.name in DESCRIPTION]:
        model.graph.output.remove(output)
    model.graph.node.insert(0, helper.make_node("Cast", ["bank.fp16"], ["bank"], to=TensorProto.FLOAT))
    with written_beside(target) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return target


def store_fp16_weights(source: Path, target: Path, least: int = 1024) -> Path:
    """Store FP32 weights of at least `least` values in FP16 and cast them back on load: half the size, FP32 compute."""
    model = load_graph(source)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < least:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise CheckError(f"{source}: weight {name} exceeds the range of FP16; train again")
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return save_graph(onnx.shape_inference.infer_shapes(model), target)


if __name__ == "__main__":
    run_script(lambda: print(f"largest difference of a score: {publish(open_run(sys.argv[1])):.2g}"))
