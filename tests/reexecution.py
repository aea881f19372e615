"""Executing notebooks as a user does, alone and out of order: what each one reads, and which notebook makes it."""

import json
import os
import sys
from pathlib import Path
from typing import Any

# A notebook, its parameters, an input below the run's folder, and the notebook that the error must name.
MISSING = (
    ("02_features", {}, "manifests/source.csv", "01_data"),
    ("03_training", {}, "features", "02_features"),
    ("04_export", {}, "manifests/source.csv", "01_data"),
    ("04_export", {}, "seeds/0/checkpoint.safetensors", "03_training"),
    ("05_scoring", {}, "manifests/cloth.csv", "01_data"),
    ("05_scoring", {"runtime": "onnx-fp16"}, "export/seed0-fp16.onnx", "04_export"),
    ("06_benchmarks", {}, "scores/pytorch", "05_scoring"),
    ("08_jetson_drift", {}, "scores/pytorch", "05_scoring"),
    ("08_jetson_drift", {}, "scores/onnx-fp32", "05_scoring"),
    ("09_rb5_drift", {}, "scores/pytorch", "05_scoring"),
    ("09_rb5_drift", {}, "scores/qnn-htp-fp16", "05_scoring"),
    ("10_gallery", {}, "scores/pytorch", "05_scoring"),
    ("11_claims", {}, "results/data.json", "01_data"),
    ("11_claims", {}, "results/efficiency.json", "07_efficiency"),
    ("11_claims", {}, "results/rb5_drift.json", "09_rb5_drift"),
    ("13_recipe", {}, "seeds/1/metrics.json", "03_training"),
    ("14_int8", {}, "results/sensitivity.json", "04_export"),
    ("14_int8", {}, "scores/onnx-int8", "05_scoring"),
)
# These show recorded benchmarks: the parameter that names the file, and what writes it.
RECORDED = (
    ("12_speed", "results", "make bench"),
    ("12_speed", "training_step", "make bench"),
    ("13_recipe", "results", "make bench"),
)


def environment(repository: Path) -> dict[str, str]:
    """This interpreter's commands first, this checkout's library, and no window for figures."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(repository), "MPLBACKEND": "agg"}


def run_cells(notebook: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook's code in this process, parameters put in where papermill does: its errors, much sooner."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(notebook), "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                assert set(parameters) <= set(names), notebook
                names |= parameters
