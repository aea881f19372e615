"""Run an ONNX file on the board's GPU or HTP with ONNX Runtime's QNN provider, as qnn-net-run would.

It needs onnxruntime-qnn and NumPy, nothing of this package. Sessions that would fall back to the CPU do not open.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

PROVIDER = "QNNExecutionProvider"


def versions():
    """Return versions, for instance "1.24.1 (onnxruntime-qnn 2.7.0)"."""
    try:
        package = importlib.import_module("onnxruntime_qnn").__version__
    except (ImportError, AttributeError):
        package = "built in"
    return f"{ort.__version__} (onnxruntime-qnn {package})"


def open_session(model, backend, profile):
    """Open a session on a backend ("Gpu", "Htp") alone that writes its profile to `profile`."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings = {"backend_type": backend.lower(), "profiling_level": "basic", "profiling_file_path": profile}
    try:
        plugin = importlib.import_module("onnxruntime_qnn")
    except ImportError:
        return ort.InferenceSession(model, options, providers=[(PROVIDER, settings)])
    ort.register_execution_provider_library(PROVIDER, plugin.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        sys.exit("onnxruntime-qnn finds no device on this board")
    options.add_provider_for_devices(devices[:1], settings)
    return ort.InferenceSession(model, options)


def main():
    """Score every image of the list, in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", action="version", version=versions())
    parser.add_argument("--model", required=True)
    parser.add_argument("--backend", default="Gpu")
    parser.add_argument("--input_list", required=True)
    parser.add_argument("--output_dir", required=True)
    arguments = parser.parse_args()
    lines = Path(arguments.input_list).read_text().splitlines()
    files = [line.split(":=", 1)[1] for line in lines if line]
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    session = open_session(arguments.model, arguments.backend, str(folder / "profile.csv"))
    shape = session.get_inputs()[0].shape
    for number, file in enumerate(files):
        image = np.fromfile(file, dtype="<f4").reshape(shape)
        score, anomaly_map = session.run(["score", "map"], {"image": image})
        result = folder / f"Result_{number}"
        result.mkdir(exist_ok=True)
        score.astype("<f4").tofile(result / "score.raw")
        anomaly_map.astype("<f4").tofile(result / "map.raw")


if __name__ == "__main__":
    main()
