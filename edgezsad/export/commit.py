"""Put a run's first seed into the package: `python -m edgezsad.export.commit CONFIG`.

Writes the two files of `edgezsad/checkpoints/` and compares them on generated images of the run's source.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from edgezsad import model as shipped
from edgezsad.data.images import load
from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import CheckError, EdgeZSADError
from edgezsad.export.halves import store_in_halves
from edgezsad.export.lint import check_lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.files import written_beside
from edgezsad.model.detector import graph_metadata, load_detector
from edgezsad.run import Run, open_run
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.score_run import subset
from edgezsad.scoring.torch_scorer import TorchScorer

AGREEMENT = 0.05
"""Largest difference of a score (logit) between the graph and the checkpoint: weights in the graph are rounded."""
IMAGES = 24


def commit(run: Run) -> float:
    """Write checkpoint and graph of the run's first seed; returns the largest difference of their scores.

    Raises:
        CheckError: they disagree, or the graph has an operator that devices lack; nothing has been written then.
    """
    path = run.checkpoint(run.profile.seeds[0])
    detector, info = load_detector(path)
    metadata = graph_metadata(detector, info)
    with tempfile.TemporaryDirectory() as folder:
        whole = export_onnx(detector, Path(folder) / "whole.onnx", detector.size, metadata)
        graph = store_in_halves(whole, Path(folder) / "graph.onnx")
        check_lint(graph)
        plain, exported = TorchScorer(detector), OnnxScorer(graph)
        largest = 0.0
        for item in run.profile.data.source:
            if item.generated is None:
                continue
            manifest = read_run_manifest(run, item)
            for entry in subset(manifest.select("test"), IMAGES).entries:
                image = load(manifest.root / entry.id, detector.size)
                largest = max(largest, abs(plain.score(image)[0] - exported.score(image)[0]))
        if not largest <= AGREEMENT:
            raise CheckError(f"{path}: the graph's scores differ by {largest:.2g}, more than {AGREEMENT:g}; look at it")
        for made, kept in ((graph, shipped.GRAPH), (path, shipped.CHECKPOINT)):
            with written_beside(kept) as temporary:
                shutil.copyfile(made, temporary)
    return largest


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m edgezsad.export.commit CONFIG", file=sys.stderr)
        return 2
    try:
        print(f"largest difference of a score: {commit(open_run(arguments[0])):.2g}", file=sys.stderr)
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
