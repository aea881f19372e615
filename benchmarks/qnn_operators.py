"""Generate two operator lists of the lint: the QNN operations of each ONNX operator, and those that the HTP supports.

    python benchmarks/qnn_operators.py edgezsad/export/operators

It needs onnxruntime-qnn (Linux x86-64). Each ONNX operator is compiled as a graph of one node into a DLC; an operator
that stays on the CPU has no operation. A Transpose that only changes the layout of images is left out. The HTP library
lists its operations through the C interface of QNN (QnnInterface.h).
"""

import ctypes
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from edgezsad.files import written_beside
from edgezsad.scoring.qnn_scorer import EMULATOR, open_session

SHAPE = (1, 4, 4, 4)
OPSET = 18


def floats(*shape: int) -> np.ndarray:
    """Return a constant that every operator accepts."""
    return np.full(shape, 0.5, dtype=np.float32)


def integers(*values: int) -> np.ndarray:
    """Return a shape, axes or indices."""
    return np.array(values, dtype=np.int64)


# Operator: (constants behind the image, attributes, opset).
# fmt: off
CASES: dict[str, tuple[list[np.ndarray], dict, int]] = {
    **{name: ([], {}, OPSET) for name in (
        "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid",
        "HardSwish", "LeakyRelu", "Log", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sin", "Softplus",
        "Sqrt", "Tanh", "NonZero", "Shape", "IsNaN", "Mish", "Softsign", "Selu", "Celu", "Sign", "LogSoftmax",
    )},
    **{name: ([floats(4, 4)], {}, OPSET) for name in (
        "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "MatMul", "PRelu",
    )},
    **{name: ([integers(1)], {}, OPSET) for name in (
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceLogSumExp", "ReduceL2", "ReduceL1",
    )},
    "AveragePool": ([], {"kernel_shape": [2, 2]}, OPSET),
    "MaxPool": ([], {"kernel_shape": [2, 2]}, OPSET),
    "BatchNormalization": ([floats(4)] * 4, {}, OPSET),
    "InstanceNormalization": ([floats(4)] * 2, {}, OPSET),
    "LayerNormalization": ([floats(4)] * 2, {}, OPSET),
    "Cast": ([], {"to": TensorProto.FLOAT16}, OPSET),
    "Clip": ([np.float32(0), np.float32(6)], {}, OPSET),
    "Concat": ([floats(1, 4, 4, 4)], {"axis": 1}, OPSET),
    "Conv": ([floats(2, 4, 1, 1)], {}, OPSET),
    "DepthToSpace": ([], {"blocksize": 2}, OPSET),
    "SpaceToDepth": ([], {"blocksize": 2}, OPSET),
    "Expand": ([integers(3, 4, 4, 4)], {}, OPSET),
    "Flatten": ([], {}, OPSET),
    "Gather": ([integers(0, 2)], {"axis": 1}, OPSET),
    "GatherElements": ([np.zeros((1, 4, 4, 4), np.int64)], {"axis": 1}, OPSET),
    "GatherND": ([np.zeros((1, 1), np.int64)], {}, OPSET),
    "Gelu": ([], {}, 20),
    "Gemm": ([floats(4, 2), floats(2)], {}, OPSET),
    "Pad": ([integers(0, 0, 1, 1, 0, 0, 1, 1)], {}, OPSET),
    "Reshape": ([integers(4, 16)], {}, OPSET),
    "Resize": ([np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)], {"mode": "linear"}, OPSET),
    "Slice": ([integers(0), integers(2), integers(1)], {}, OPSET),
    "Softmax": ([], {"axis": -1}, OPSET),
    "Split": ([integers(2, 2)], {"axis": 1}, OPSET),
    "Squeeze": ([integers(0)], {}, OPSET),
    "Unsqueeze": ([integers(0)], {}, OPSET),
    "Tile": ([integers(1, 1, 2, 2)], {}, OPSET),
    "TopK": ([integers(2)], {}, OPSET),
    "Transpose": ([], {"perm": [0, 2, 3, 1]}, OPSET),
    "CumSum": ([np.int64(1)], {}, OPSET),
    "GridSample": ([np.zeros((1, 4, 4, 2), np.float32)], {}, OPSET),
    "Einsum": ([], {"equation": "abcd->abdc"}, OPSET),
    "Where": ([], {}, OPSET),
    "MatMul of two images": ([], {}, OPSET),
    "Conv by channel": ([floats(4, 1, 1, 1)], {"group": 4}, OPSET),
}
# fmt: on


def graph_of(operator: str) -> bytes:
    """Build a graph of one node."""
    constants, attributes, opset = CASES[operator]
    operator, *more = operator.split()
    shape = (4, 4) if operator == "Gemm" else SHAPE
    names = ["x", *(f"c{number}" for number in range(len(constants)))]
    tensors = [
        numpy_helper.from_array(np.asarray(value), name) for value, name in zip(constants, names[1:], strict=True)
    ]
    if operator == "Where":
        tensors, names = [numpy_helper.from_array(np.ones(SHAPE, bool), "c0")], ["c0", "x", "x"]
    if operator == "MatMul" and more:
        names = ["x", "x"]
    outputs = ["y", "z"] if operator in ("Split", "TopK") else ["y"]
    node = helper.make_node(operator, names, outputs, **attributes)
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    model = helper.make_model(
        helper.make_graph([node], operator, ends, [onnx.ValueInfoProto(name=name) for name in outputs], tensors),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    model.ir_version = 10
    inferred = {item.name: item for item in onnx.shape_inference.infer_shapes(model).graph.output}
    del model.graph.output[:]
    model.graph.output.extend(inferred[name] for name in outputs)
    return model.SerializeToString()


def operations(operator: str, backend: str) -> list[str]:
    """Return the QNN operations of a node; none if the provider does not support it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"dump_qnn_ir_dlc": "1", "dump_qnn_ir_dlc_dir": folder}
        settings |= {"dump_json_qnn_graph": "1", "json_qnn_graph_dir": folder}
        try:
            open_session(graph_of(operator), backend, settings)
            files = [path for path in Path(folder).glob("*.json") if not path.stem.endswith("tensor_log")]
            nodes = json.loads(files[0].read_text())["graph"]["nodes"].values()
        # ONNX Runtime's exceptions have no common base but Exception.
        except Exception:
            return []
    found = dict.fromkeys(node["type"] for node in nodes)
    return [name for name in found if name != "Transpose" or operator in ("Transpose", "Einsum")]


def htp_operations(library: str) -> list[str]:
    """Return the sorted operations of the HTP library."""
    loaded = ctypes.CDLL(library)
    providers, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_uint32()
    loaded.QnnInterface_getProviders(ctypes.byref(providers), ctypes.byref(count))
    # Function pointers follow 40 bytes of number, name and versions.
    table = (ctypes.c_void_p * 8).from_address(providers[0] + 40)
    pointer, handle = ctypes.POINTER, ctypes.c_void_p
    create = ctypes.CFUNCTYPE(ctypes.c_uint64, handle, handle, pointer(handle))(table[1])
    supported = ctypes.CFUNCTYPE(ctypes.c_uint64, handle, pointer(ctypes.c_uint32), pointer(handle))(table[6])
    backend, number, names = handle(), ctypes.c_uint32(), handle()
    if create(None, None, ctypes.byref(backend)) or supported(backend, ctypes.byref(number), ctypes.byref(names)):
        raise SystemExit(f"{library}: lists no operations; check the version of onnxruntime-qnn")
    # Package, operation, processor; three pointers each.
    texts = ctypes.cast(names, pointer(ctypes.c_char_p))
    return sorted({texts[3 * index + 1].decode() for index in range(number.value)})


def main() -> None:
    """Write both tables."""
    folder, htp = Path(sys.argv[1]), EMULATOR.start()
    library = str(Path(htp).with_name("libQnnIr.so"))
    found: dict[str, list[str]] = {}
    for case in sorted(CASES):
        found.setdefault(case.split()[0], []).extend(operations(case, library))
    tables = {
        "onnx_to_qnn": [
            {"operator": name, "operations": " ".join(dict.fromkeys(names))} for name, names in found.items()
        ],
        "qnn_htp": [
            {"operator": name, "supported": "yes"} | dict.fromkeys(("types", "min_rank", "max_rank", "since", "note"))
            for name in htp_operations(htp)
        ],
    }
    for name, rows in tables.items():
        with written_beside(folder / f"{name}.csv") as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False)


if __name__ == "__main__":
    main()
