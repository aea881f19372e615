"""The layers of an exported graph that INT8 is about: convolutions and matrix products with weights, by readable names.

The readout is not among them: it is a thousandth of the arithmetic, and what it adds up is the score. Nor is anything
behind a pooling, for the same reason (as in `edgezsad.export.fp16`).
"""

import re
from collections import Counter
from dataclasses import dataclass

import onnx

READOUT = "readout."
_PREFIX = re.compile(r"^(backbone\.)?(features\.)?")
_BLOCK = re.compile(r"^(.*?(?:blocks|stages)[._]\d+(?:\.(?:blocks\.)?\d+)?)")


@dataclass(frozen=True)
class Layer:
    """A node with weights.

    Attributes:
        name: of its weights, without what all have in common, for instance "blocks.0.0.conv_dw".
        block: what it belongs to, for instance "blocks.0.0"; its own name where it stands alone.
        node: name of the node.
        operator: "Conv" or "MatMul".
        weights: name of the initialiser.
        elements: of the weights.
    """

    name: str
    block: str
    node: str
    operator: str
    weights: str
    elements: int


def layers(graph: onnx.GraphProto) -> list[Layer]:
    """The layers that may become INT8, in the order in which they are computed."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: list[Layer] = []
    block = ""
    for node in graph.node:
        if node.op_type not in ("Conv", "MatMul") or node.input[1] not in weights or node.input[0] in weights:
            continue
        stored = weights[node.input[1]]
        named = _weight_name(node, readers)
        if named.startswith(READOUT) or stored.data_type != onnx.TensorProto.FLOAT:
            continue
        name = _PREFIX.sub("", named)
        # A weight that has lost its name, as the exporter's folding of a transpose does, stands with those before it.
        if match := _BLOCK.match(name):
            block = match.group(1)
        elif not found or name != node.name:
            block = name
        elements = 1
        for axis in stored.dims:
            elements *= axis
        found.append(Layer(name, block, node.name, node.op_type, node.input[1], elements))
    twice = Counter(layer.name for layer in found)
    # Equal tensors are stored once, under one of their names: untrained layers can share it.
    return [
        layer if twice[layer.name] == 1 else Layer(f"{layer.name} ({layer.node})", *list(vars(layer).values())[1:])
        for layer in found
    ]


def _weight_name(node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]]) -> str:
    """What a layer's weights were called in PyTorch, or else the node's name."""
    names = [node.input[1]]
    if node.op_type == "MatMul":
        # Its bias, added next, keeps the name that the transposed weights have lost.
        names += [
            name for reader in readers.get(node.output[0], []) if reader.op_type == "Add" for name in reader.input
        ]
    for name in names:
        if name.endswith((".weight", ".bias")):
            return name.rpartition(".")[0]
    return node.name
