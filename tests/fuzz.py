"""Give damaged files to every reader: `python -m tests.fuzz 1000 [SEED]` prints the counts as JSON.

Anything but an error of this package counts as a traceback, more than `SECONDS` for one file as a hang.
"""

import io
import json
import random
import resource
import signal
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save

from edgezsad.config import load_profile
from edgezsad.data.images import decode_image, decode_mask
from edgezsad.data.layouts import scan_layout
from edgezsad.data.manifest import Entry, Manifest, read_manifest, write_manifest
from edgezsad.devices.ingest import ingest
from edgezsad.devices.latency import QNN_COLUMNS, read_qnn_times
from edgezsad.errors import EdgeZSADError
from edgezsad.export.lint import check_lint
from edgezsad.files import read_json
from edgezsad.model.detector import HEADER, read_checkpoint
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.score_file import read_scores

MINI = Path(__file__).resolve().parents[1] / "configs" / "mini.yaml"
SECONDS = 5
SHA = "a" * 64
CHECKPOINT = {"model": {"backbone": "none", "weights": "package"}, "threshold": 0.0, "profile": "p", "seed": 0}
CHECKPOINT |= {"backbone_sha256": SHA, "source_sha256": SHA}
RECORD = dict.fromkeys(("profile", "target", "runtime", "precision", "device", "command"), "x")
RECORD |= {"seed": 0, "model_sha256": SHA, "manifest_sha256": SHA, "versions": {"python": "3"}}


class Hang(BaseException):
    """Raised by the timer; no reader catches it."""


def graph(nodes: list, ends: dict[str, list] | None = None, **weights: np.ndarray) -> bytes:
    """An ONNX model from `image` to `score` and `map`."""
    shapes = {"image": [1, 3, 16, 16], "score": [1], "map": [1, 1, 2, 2]} | (ends or {})
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    content = helper.make_graph(nodes, "g", infos[:1], infos[1:], tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("strange", 1)]
    model = helper.make_model(content, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, {"threshold": "0.5"})
    return model.SerializeToString()


def small_graph(size: int = 16) -> bytes:
    """A convolution, and its maximum as the score."""
    ends = {"image": [1, 3, size, size], "map": [1, 1, size // 8, size // 8]}
    nodes = [helper.make_node("Conv", ["image", "w"], ["map"], strides=[8, 8])]
    nodes.append(helper.make_node("ReduceMax", ["map", "axes"], ["score"], keepdims=0))
    return graph(nodes, ends, w=np.ones((1, 3, 8, 8), np.float32), axes=np.array([1, 2, 3]))


def archive(**files: bytes) -> bytes:
    """A board's result with valid hashes."""
    sums = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as packed:
        for name, data in {"SHA256SUMS": sums.encode(), **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def examples(folder: Path) -> list[tuple[str, bytes, Callable[[Path], object]]]:
    """Return valid files by name, content and reader."""
    images, pixels = [], np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    for kind in ("png", "jpeg", "bmp", "tiff"):
        Image.fromarray(pixels).save(stream := io.BytesIO(), kind)
        images += [(f"a.{kind}", stream.getvalue(), decode_image)] * 2
        images.append((f"a.{kind}", stream.getvalue(), lambda path: decode_mask(path, (24, 20))))
    text, one = json.dumps(RECORD).encode(), np.ones(4, np.float32)
    np.savez(scores := io.BytesIO(), image_id=one.astype(str), category=one.astype(str), label=one.astype(np.int8),
             score=one, map=np.ones((4, 3, 3), np.float32), milliseconds=one)  # fmt: skip
    entries = tuple(Entry(f"b/test/x/{n}.png", "b", "test", 1, "x", "", 9, 9, SHA, "") for n in range(4))
    write_manifest(Manifest("a", folder, entries), folder / "a.csv")
    times = f"{','.join(QNN_COLUMNS)}\nEXECUTE,5,US,BACKEND,ROOT,QNN accelerator (execute) time\n".encode()
    rows = [{"anomaly_class": "OK", "image_path": "a.png", "mask_path": None}]
    (folder / "realiad_jsons").mkdir()
    run = Run(load_profile(MINI))
    return [
        *images,
        *[("a.yaml", MINI.read_bytes(), load_profile)] * 3,
        *[("a.npz", scores.getvalue(), read_scores)] * 2,
        ("a.json", text, lambda path: read_scores(path.with_suffix(".npz"))),
        ("b.json", text, lambda path: read_json(path, "write it again")),
        *[("a.safetensors", save({"a": torch.ones(3)}, {HEADER: json.dumps(CHECKPOINT)}), read_checkpoint)] * 2,
        *[("a.onnx", small_graph(), open_graph)] * 3,
        ("a.onnx", small_graph(), check_lint),
        *[("a.tar", archive(**{"kit.json": b"{}", "facts.tsv": b"device\td\n"}), lambda path: ingest(path, run))] * 2,
        ("a.csv", (folder / "a.csv").read_bytes(), lambda path: read_manifest(path, folder)),
        ("q.csv", times, lambda path: read_qnn_times(path.read_bytes(), "q.csv")),
        ("realiad_jsons/a.json", json.dumps({"train": rows, "test": []}).encode(),
         lambda path: scan_layout("real_iad", folder)),
    ]  # fmt: skip


def open_graph(path: Path) -> None:
    """Do what `check_graph` does in another process, where any error is one of the graph."""
    with suppress(UnicodeDecodeError):
        OnnxScorer(path)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Change, remove, repeat or insert bytes, up to four times."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(changed) + 1)
        part = changed[start : start + chance.choice((1, 1, 2, 4, 8, 64))]
        filler = bytes([chance.choice(b"\xff\x00\x7f9[-")]) * len(part)
        inserted = chance.choice((b"[", b"{", b"9", b"\n", b"&a ", b"*a ", b"\x1b[2J", bytes(part))) * 1000
        new = chance.choice((chance.randbytes(len(part)), filler, b"", bytes(part) * 2, inserted))
        changed[start : start + len(part)] = new
        if chance.random() < 0.1:
            del changed[start:]
    return bytes(changed)


def ring(*_: object) -> None:
    raise Hang


def main(count: int, seed: int = 0) -> dict[str, object]:
    """Read `count` damaged files; return the outcomes and the megabytes on top of the libraries' own."""
    chance, outcomes, surprises = random.Random(seed), Counter(), []
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, ring)
    with tempfile.TemporaryDirectory() as name:
        valid = examples(Path(name))
        for file, content, _ in valid:
            Path(name, file).write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(count):
            file, content, reader = valid[number % len(valid)]
            path = Path(name, file)
            path.write_bytes(damaged(content, chance))
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                reader(path)
                outcomes["read"] += 1
            except EdgeZSADError as error:
                outcomes["rejected"] += 1
                surprises += [] if str(error).isprintable() else [f"{number}: {file}: not one line: {str(error)!a}"]
            except (Hang, Exception) as error:
                surprises.append(f"{number}: {file}: {type(error).__name__}: {error}"[:300])
            signal.setitimer(signal.ITIMER_REAL, 0)
            path.write_bytes(content)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**outcomes, "megabytes": (peak - before) // 1000, "surprises": surprises}


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
