"""Run all images of a kit through one loaded TensorRT engine; outputs and records are those of run.sh with trtexec.

It needs what JetPack has: Python 3, its tensorrt module and libcudart, which is called by ctypes. Images of
`sentinels/`, which trtexec has run, are run first and compared.
"""

import ctypes
import gzip
import hashlib
import json
import math
import re
import sys
import time
from pathlib import Path

import tensorrt

LIBRARIES = ("libcudart.so", "libcudart.so.12", "libcudart.so.13", "/usr/local/cuda/lib64/libcudart.so")
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
TOLERANCE = 1e-3  # of the largest value: trtexec writes six digits


def load_cudart():
    """Load the CUDA runtime."""
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    sys.exit("libcudart.so cannot be loaded")


class Engine:
    """A loaded engine with one buffer on the GPU for each tensor."""

    def __init__(self, path):
        self._cudart, logger = load_cudart(), tensorrt.Logger(tensorrt.Logger.WARNING)
        tensorrt.init_libnvinfer_plugins(logger, "")
        self._engine = tensorrt.Runtime(logger).deserialize_cuda_engine(Path(path).read_bytes())
        if self._engine is None:
            sys.exit(f"TensorRT {tensorrt.__version__} of Python does not load {path}")
        self._context = self._engine.create_execution_context()
        self._stream, self._tensors = ctypes.c_void_p(), {}
        self._cuda("cudaStreamCreate", ctypes.byref(self._stream))
        for name in ("image", "score", "map"):
            shape = tuple(self._engine.get_tensor_shape(name))
            host, device = (ctypes.c_float * math.prod(shape))(), ctypes.c_void_p()
            self._cuda("cudaMalloc", ctypes.byref(device), ctypes.c_size_t(ctypes.sizeof(host)))
            is_float = self._engine.get_tensor_dtype(name) == tensorrt.DataType.FLOAT
            if not (is_float and self._context.set_tensor_address(name, device.value)):
                sys.exit(f"tensor {name} is not float32, or TensorRT does not take its address")
            self._tensors[name] = (shape, host, device)

    def _cuda(self, name, *arguments):
        if code := getattr(self._cudart, name)(*arguments):
            sys.exit(f"{name}: CUDA error {code}")

    def run(self, image):
        """Return the outputs of one image, in trtexec's form, and the milliseconds with copies to and from the GPU."""
        start, device = time.perf_counter(), self._tensors["image"][2]
        self._cuda("cudaMemcpy", device, image, ctypes.c_size_t(len(image)), TO_DEVICE)
        if not self._context.execute_async_v3(self._stream.value):
            sys.exit("TensorRT does not run the engine")
        self._cuda("cudaStreamSynchronize", self._stream)
        outputs = []
        for name in ("score", "map"):
            shape, host, device = self._tensors[name]
            self._cuda("cudaMemcpy", host, device, ctypes.c_size_t(ctypes.sizeof(host)), TO_HOST)
            # Nine digits keep a float32 exactly.
            values = [float(f"{value:.9g}") for value in host]
            outputs.append({"name": name, "dimensions": "x".join(map(str, shape)), "values": values})
        return outputs, 1000 * (time.perf_counter() - start)


def read_image(row):
    """Return an image of images.tsv, checked by its hash."""
    data = gzip.decompress(Path(row[2]).read_bytes())
    if hashlib.sha256(data).hexdigest() != row[3]:
        sys.exit(f"{row[2]} is damaged; copy it again")
    return data


def difference(one, other):
    """Return how far two numbers differ; infinite if only one is finite."""
    same = one == other or (math.isnan(one) and math.isnan(other))
    return 0.0 if same else abs(one - other) if math.isfinite(one - other) else math.inf


def compare(engine, rows, result):
    """Compare the images that trtexec has run; ends the program if the largest difference exceeds the tolerance."""
    pairs, files = [], {row[0]: result / "sentinels" / f"{row[0]}.json" for row in rows}
    rows = [row for row in rows if files[row[0]].is_file()]
    for row in rows:
        text = re.sub(r"(?<=[\s\[,])-?nan\b", "NaN", files[row[0]].read_text())
        theirs = {item["name"]: item["values"] for item in json.loads(re.sub(r"\binf\b", "Infinity", text))}
        for item in engine.run(read_image(row))[0]:
            pairs += zip(theirs[item["name"]], item["values"], strict=True)
    worst = max((difference(*pair) for pair in pairs), default=0.0)
    largest = max((abs(value) for value, _ in pairs if math.isfinite(value)), default=0.0)
    text = f"images\t{len(rows)}\nlargest_difference\t{worst:.3g}\nlargest_value\t{largest:.3g}\n"
    (result / "sentinels.tsv").write_text(text)
    if worst > TOLERANCE * largest:
        sys.exit(f"differs from trtexec by {worst:.3g} on {len(rows)} images; the largest value is {largest:.3g}")


def main(engine_path, images, result):
    """Run the images that have no row in outputs.tsv."""
    rows = [line.split("\t", 4) for line in Path(images).read_text().splitlines()]
    result, engine = Path(result), Engine(engine_path)
    compare(engine, rows, result)
    done = {line.split("\t")[0] for line in (result / "outputs.tsv").read_text().splitlines()}
    waiting, start = [row for row in rows if row[0] not in done], time.time()
    with open(result / "outputs.tsv", "a") as table, open(result / "singles.tsv", "a") as singles:
        for number, row in enumerate(waiting, 1):
            outputs, milliseconds = engine.run(read_image(row))
            data, path = json.dumps(outputs).encode(), result / "outputs" / row[1] / f"{row[0]}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_bytes(data)
            path.with_suffix(".new").replace(path)
            print(row[0], row[3], hashlib.sha256(data).hexdigest(), sep="\t", file=table, flush=True)
            print(row[0], f"{milliseconds:.3f}", sep="\t", file=singles, flush=True)
            if number in (1, len(waiting)) or number % 200 == 0:
                left = (time.time() - start) / number * (len(waiting) - number) / 60
                print(f"{len(done) + number} of {len(rows)} images, about {left:.0f} min left", flush=True)


if __name__ == "__main__":
    load_cudart()
    print(tensorrt.__version__) if sys.argv[1:] == ["--version"] else main(*sys.argv[1:])
