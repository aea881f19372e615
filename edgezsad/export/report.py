"""What the INT8 page shows of the exported files."""

import pandas as pd

from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import read_metadata

FACTS = {
    "calibration_images": "images behind the ranges, of the source",
    "calibration_sha256": "hash of that source",
    "source_sha256": "hash of the source trained on",
    "calibration_method": "ranges",
    "int8_activations": "activations",
    "int8_layers": "layers in INT8",
    "int8_left_out": "layers in FP32",
}


def int8_facts(run: Run) -> pd.DataFrame:
    """What the first seed's INT8 file says of itself, as rows of name and value.

    Raises:
        InputError: the file is missing or damaged.
    """
    metadata = read_metadata(run.onnx(run.profile.seeds[0], "int8"))
    return pd.DataFrame([{"what": text, "value": metadata.get(key) or "none"} for key, text in FACTS.items()])


def file_sizes(run: Run) -> pd.DataFrame:
    """One row a graph, one column a precision, in megabytes: this profile's first seed, and the paper's graph.

    Raises:
        InputError: notebook 04_export or 07_efficiency has not run.
    """
    exported = pd.DataFrame(run.read_result("export", "04_export")["graphs"])
    ours = exported[exported["seed"] == run.profile.seeds[0]]
    papers = pd.DataFrame(run.read_result("efficiency", "07_efficiency")["paper_graph"]["files"])
    rows = []
    for backbone, files in ((run.profile.model.backbone, ours), (run.profile.paper_graph.backbone, papers)):
        rows.append({"graph": backbone} | dict(zip(files["precision"], files["megabytes"], strict=True)))
    return pd.DataFrame(rows)
