"""Lower ranks without other numbers: axes that stay side by side in a transposition are one axis.

TinyViT cuts a map into windows by a reshape to six axes, a transposition and a reshape back. The QNN GPU backend
transposes at most five axes. But the two last of the six stay where they are, and the first has length one, so four
axes do the same copy: (1, a, w, b, w, C) swapped at its middle is (a, w, b, w*C) swapped at its middle.
"""

from math import prod

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper


def merge_axes(model: onnx.ModelProto, above: int = 4) -> int:
    """Rewrite, in place, every Transpose of more than `above` axes that can do with fewer.

    Each becomes Reshape, Transpose, Reshape; reshapes that now follow each other become one. No number is computed, so
    the graph's results stay the same to the bit.

    Returns:
        how many transpositions were rewritten.
    """
    graph = model.graph
    shapes = _shapes(model)
    made: dict[tuple[int, ...], str] = {}

    def shape_tensor(shape: tuple[int, ...]) -> str:
        if shape not in made:
            made[shape] = "shape " + " ".join(map(str, shape))
            graph.initializer.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), made[shape]))
        return made[shape]

    nodes: list[NodeProto] = []
    rewritten = 0
    for node in graph.node:
        before = shapes.get(node.input[0]) if node.input else None
        if node.op_type != "Transpose" or before is None or len(before) <= above or 0 in before:
            nodes.append(node)
            continue
        order = tuple(next((a.ints for a in node.attribute if a.name == "perm"), reversed(range(len(before)))))
        merged, perm = merged_axes(before, order)
        if len(merged) == len(before):
            nodes.append(node)
            continue
        source, target = node.input[0], node.output[0]
        low, turned = f"{target} merged", f"{target} turned"
        nodes += [
            helper.make_node("Reshape", [source, shape_tensor(merged)], [low], name=f"{node.name} merge"),
            helper.make_node("Transpose", [low], [turned], name=node.name, perm=perm),
            helper.make_node(
                "Reshape",
                [turned, shape_tensor(tuple(before[axis] for axis in order))],
                [target],
                name=f"{node.name} split",
            ),
        ]
        rewritten += 1
    if rewritten:
        del graph.node[:]
        graph.node.extend(_joined(nodes, {item.name for item in graph.output}))
        _drop_unused(graph)
    return rewritten


def merged_axes(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The fewest axes with which a transposition can be done.

    Args:
        shape: of its input.
        order: `shape[order[i]]` is the length of axis i of its output.

    Returns:
        the shape and the order to use instead.
    """
    runs: list[list[int]] = []
    for axis in order:
        if shape[axis] == 1:
            continue
        # An axis joins the one before it if only axes of length one lie between them in the input.
        if runs and runs[-1][-1] < axis and prod(shape[runs[-1][-1] + 1 : axis]) == 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    place = {first: number for number, first in enumerate(sorted(run[0] for run in runs))}
    merged = {run[0]: prod(shape[axis] for axis in run) for run in runs}
    if not runs:
        return (1,), (0,)
    return tuple(merged[first] for first in sorted(merged)), tuple(place[run[0]] for run in runs)


def _joined(nodes: list[NodeProto], kept: set[str]) -> list[NodeProto]:
    """Let each Reshape read from before the reshapes in front of it; drop those that nobody reads any more."""
    origin: dict[str, str] = {}
    for node in nodes:
        if node.op_type == "Reshape":
            node.input[0] = origin.get(node.input[0], node.input[0])
            origin[node.output[0]] = node.input[0]
    left: list[NodeProto] = []
    used = set(kept)
    for node in reversed(nodes):
        if node.op_type != "Reshape" or node.output[0] in used:
            used.update(node.input)
            left.append(node)
    return left[::-1]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the shapes that only dropped nodes read, and what was noted of tensors that are gone."""
    used = {name for node in graph.node for name in node.input}
    made = {name for node in graph.node for name in node.output}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    notes = [item for item in graph.value_info if item.name in made]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(tensors)
    graph.value_info.extend(notes)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of every tensor with a static shape."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for item in (*inferred.input, *inferred.value_info, *inferred.output):
        axes = item.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in axes):
            shapes[item.name] = tuple(axis.dim_value for axis in axes)
    return shapes
