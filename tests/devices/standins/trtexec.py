"""Stands in for NVIDIA's `trtexec`: computes with ONNX Runtime and writes the real formats of 10.x and 11.x.

Settings come by environment: STANDIN_VERSION ("10.3.0", "11.1.0"), STANDIN_LOG (a file that gets each command line),
STANDIN_KILL (the number of the call during which it is killed, and the shell with it), STANDIN_SIGNAL (that ends it),
STANDIN_NAN (its outputs are NaN).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

VERSION = os.environ.get("STANDIN_VERSION", "10.3.0")
MAJOR, MINOR, PATCH = map(int, VERSION.split("."))
BANNER = f"[TensorRT v{MAJOR * 10000 + MINOR * 100 + PATCH}] [b30]"
COMMON = {
    "onnx", "saveEngine", "loadEngine", "skipInference", "timingCacheFile", "loadInputs", "iterations", "warmUp",
    "duration", "exportTimes", "exportProfile", "separateProfileRun", "exportOutput", "help",
}  # fmt: skip
KNOWN = COMMON | ({"includeDataTransfers"} if MAJOR >= 11 else {"fp16", "int8", "noDataTransfers"})
PLAN = b"plan"  # the engine: the ONNX file behind a header, as of tests/export/fake_tensorrt.py


def number(value: float) -> str:
    """As a C++ stream writes it by default."""
    return f"{value:.6g}"


def main() -> int:
    words = sys.argv[1:]
    options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    print(f"&&&& RUNNING TensorRT.trtexec {BANNER} # trtexec {' '.join(words)}")
    if "help" in options:
        print("=== Build Options ===", *(f"  --{name}" for name in sorted(KNOWN)), sep="\n")
        return 0
    if log := os.environ.get("STANDIN_LOG"):
        with open(log, "a") as stream:
            stream.write(json.dumps(["trtexec", *words]) + "\n")
        if os.environ.get("STANDIN_SIGNAL"):
            os.kill(os.getpid(), int(os.environ["STANDIN_SIGNAL"]))
        if str(Path(log).read_text().count("\n")) == os.environ.get("STANDIN_KILL"):
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    if unknown := sorted(set(options) - KNOWN):
        print(f"[E] Unknown option: --{unknown[0]}")
        print(f"&&&& FAILED TensorRT.trtexec {BANNER}")
        return 1
    if "onnx" in options:
        print("[11/29/2026-10:00:00] [W] [TRT] Running layernorm after self-attention in FP16 may cause overflow.")
        Path(options["saveEngine"]).write_bytes(PLAN + Path(options["onnx"]).read_bytes())
        Path(options["timingCacheFile"]).write_bytes(b"cache")
        return 0
    import onnxruntime as ort

    name, _, file = options["loadInputs"].partition(":")
    model = Path(options["loadEngine"]).read_bytes().removeprefix(PLAN)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = np.fromfile(file, dtype=np.float32).reshape(session.get_inputs()[0].shape)
    if MAJOR >= 11 and "includeDataTransfers" not in options:
        image = np.zeros_like(image)
    times = []
    for _ in range(int(options["iterations"])):
        start = time.perf_counter()
        outputs = session.run(None, {name: image})
        times.append(1000 * (time.perf_counter() - start))
    if "exportTimes" in options:
        print("[11/29/2026-10:00:00] [I] Throughput: 30.5 qps")
    if os.environ.get("STANDIN_NAN"):
        outputs = [values * np.nan for values in outputs]
    if "exportOutput" in options:
        tensors = [
            f'{{ "name" : "{item.name}"\n  , "dimensions" : "{"x".join(map(str, values.shape))}"\n'
            f'  , "values" : [ {", ".join(map(number, values.ravel()))} ]\n  }}'
            for item, values in zip(session.get_outputs(), outputs, strict=True)
        ]
        Path(options["exportOutput"]).write_text("[\n  " + "\n, ".join(tensors) + "\n]\n")
    if "exportTimes" in options:
        rows = []
        for index, value in enumerate(times):
            copy = 0.0 if MAJOR >= 11 else 0.25
            marks = {"startEnqMs": 10.0 * index, "h2dMs": copy, "computeMs": value, "latencyMs": value + copy}
            rows.append("{ " + ", ".join(f'"{key}" : {number(mark)}' for key, mark in marks.items()) + " }")
        Path(options["exportTimes"]).write_text("[\n  " + "\n, ".join(rows) + "\n]\n")
    if "exportProfile" in options:
        layers = [
            f'{{ "name" : "{layer}", "timeMs" : {10 * share}, "averageMs" : {share}, "medianMs" : {share}, '
            f'"percentage" : {100 * share} }}'
            for layer, share in (("/Conv + Relu", 0.75), ("Reformatting CopyNode for Input Tensor 0", 0.25))
        ]
        text = '[\n  { "count" : 10 }\n, ' + "\n, ".join(layers) + "\n]\n"
        Path(options["exportProfile"]).write_text(text)
    print(f"&&&& PASSED TensorRT.trtexec {BANNER}")
    return 0


sys.exit(main())
