"""A graph whose large weights are stored in FP16 and cast up as it is opened: half the size, computed with in FP32.

For a graph that travels with the package. Unlike the FP16 twin (`edgezsad.export.fp16`) nothing is computed in FP16, so
that it is the same graph everywhere; what changes is the rounding of weights, to one part in 2,048.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgezsad.errors import CheckError
from edgezsad.export.lint import load_graph, save_graph

LEAST = 1024
"""Values of a weight that is worth a node."""
LARGEST = float(np.finfo(np.float16).max)


def store_in_halves(source: Path | str, target: Path | str) -> Path:
    """Write the graph of `source` with its large FP32 weights in FP16 to `target`; returns `target`.

    Raises:
        CheckError: a weight is larger than FP16 holds.
    """
    model = load_graph(source)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        if np.abs(values).max() > LARGEST:
            raise CheckError(f"{source}: weight {name} is larger than FP16 holds; it cannot be stored in halves")
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return save_graph(onnx.shape_inference.infer_shapes(model), target)
