"""GELU in the order in which runtimes know it, so that they compute it as one operator.

PyTorch's exporter writes x * (0.5 * (1 + erf(x / sqrt 2))). ONNX Runtime looks for (0.5 * x) * (1 + erf(x / sqrt 2))
and computes that in one pass over memory instead of five; and only then do the convolutions on both sides keep their
own memory layout between them. Halving is exact, so no result changes by a bit (short of numbers below 1e-38).
"""

import onnx
from onnx import numpy_helper


def order_gelus(model: onnx.ModelProto) -> int:
    """Put every GELU of the graph into the known order, in place, with the same nodes.

    Returns:
        how many were changed.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for name in (*(name for node in graph.node for name in node.input), *(item.name for item in graph.output)):
        readers[name] = readers.get(name, 0) + 1
    halves = {item.name for item in graph.initializer if not item.dims and float(numpy_helper.to_array(item)) == 0.5}
    changed = 0
    for node in graph.node:
        found = _half_of_sum(node, makers, halves)
        if found is None:
            continue
        x, half, scaled, total = found
        # Nobody else may read the number that goes away.
        if readers[scaled.output[0]] != 1 or _argument(total, makers) != x:
            continue
        del scaled.input[:], node.input[:]
        scaled.input.extend([x, half])
        node.input.extend([scaled.output[0], total.output[0]])
        changed += 1
    return changed


def _half_of_sum(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], halves: set[str]
) -> tuple[str, str, onnx.NodeProto, onnx.NodeProto] | None:
    """Of x * (half * total): x, the half, and the nodes that make the product in brackets and the total."""
    if node.op_type != "Mul":
        return None
    for x, product in (node.input, node.input[::-1]):
        scaled = makers.get(product)
        if scaled is None or scaled.op_type != "Mul":
            continue
        for half, total in (scaled.input, scaled.input[::-1]):
            if half in halves and total in makers and makers[total].op_type == "Add":
                return x, half, scaled, makers[total]
    return None


def _argument(total: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> str | None:
    """Of erf(x / a) + b: x."""
    for name in total.input:
        erf = makers.get(name)
        if erf is not None and erf.op_type == "Erf":
            scaled = makers.get(erf.input[0])
            return scaled.input[0] if scaled is not None and scaled.op_type == "Div" else None
    return None
