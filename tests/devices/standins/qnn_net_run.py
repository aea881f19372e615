"""Stands in for Qualcomm's `qnn-net-run`: computes with ONNX Runtime, writes Result_<i>/<tensor>.raw and a log.

The DLC is an archive of an ONNX file here. Settings come by environment: STANDIN_LOG and STANDIN_KILL as for trtexec;
STANDIN_PROFILE is the name of the log, which some versions write without "_0".
"""

import argparse
import json
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime as ort


def main() -> int:
    if "--version" in sys.argv:
        print("QNN SDK v2.32.0.250228225014_116386")
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", help="A network.")
    parser.add_argument("--dlc_path", required=True)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--input_list", required=True)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--profiling_level", choices=["basic", "detailed"])
    options = parser.parse_args()
    if log := os.environ.get("STANDIN_LOG"):
        with open(log, "a") as stream:
            stream.write(json.dumps(["qnn-net-run", *sys.argv[1:]]) + "\n")
        if str(Path(log).read_text().count("\n")) == os.environ.get("STANDIN_KILL"):
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    found = any(
        (Path(folder) / options.backend).is_file() for folder in os.environ["LD_LIBRARY_PATH"].split(":") if folder
    )
    if not found:
        print("Error: a library cannot be opened", file=sys.stderr)
        return 1
    model = zipfile.ZipFile(options.dlc_path).read("model")
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    folder, times = Path(options.output_dir), []
    for number, line in enumerate(Path(options.input_list).read_text().splitlines()):
        name, _, file = line.partition(":=")
        image = np.fromfile(file, dtype="<f4").reshape(session.get_inputs()[0].shape)
        start = time.perf_counter()
        outputs = session.run(None, {name: image})
        times.append(round(1e6 * (time.perf_counter() - start)) + 1)
        result = folder / f"Result_{number}"
        result.mkdir(parents=True, exist_ok=True)
        for item, values in zip(session.get_outputs(), outputs, strict=True):
            values.astype("<f4").tofile(result / f"{item.name}.raw")
    name = os.environ.get("STANDIN_PROFILE", "qnn-profiling-data_0.log")
    (folder / name).write_bytes(b"\x00QNN\x01" + json.dumps([options.profiling_level, times]).encode())
    return 0


sys.exit(main())
