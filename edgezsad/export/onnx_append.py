"""Add tensors, metadata and outputs to an ONNX file without the onnx package.

A file is one protocol-buffer message, and two messages one after the other are their union: repeated fields (tensors,
outputs, metadata) are joined. So it is enough to append the bytes of a message that holds what is new.
"""

from collections.abc import Mapping, Sequence

import numpy as np

# Numbers of fields in onnx.proto3.
GRAPH, METADATA = 7, 14  # of ModelProto
INITIALIZER, OUTPUT = 5, 12  # of GraphProto
TYPES = {"float32": 1, "int64": 7, "float16": 10}  # TensorProto.DataType


def appended(
    model: bytes,
    tensors: Mapping[str, np.ndarray] | None = None,
    metadata: Mapping[str, str] | None = None,
    outputs: Mapping[str, Sequence[int]] | None = None,
) -> bytes:
    """Return an ONNX file with more initialisers, metadata and FP32 outputs (name and shape); names must be new."""
    graph = b"".join(_field(INITIALIZER, _tensor(name, values)) for name, values in (tensors or {}).items())
    graph += b"".join(_field(OUTPUT, _value_info(name, shape)) for name, shape in (outputs or {}).items())
    entries = [_field(1, key.encode()) + _field(2, value.encode()) for key, value in (metadata or {}).items()]
    return model + _field(GRAPH, graph) + b"".join(_field(METADATA, entry) for entry in entries)


def _tensor(name: str, values: np.ndarray) -> bytes:
    """TensorProto: dims, data type, name, raw little-endian data."""
    dims = b"".join(_varint(1 << 3) + _varint(side) for side in values.shape)
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return dims + _varint(2 << 3) + _varint(TYPES[values.dtype.name]) + _field(8, name.encode()) + _field(9, data)


def _value_info(name: str, shape: Sequence[int]) -> bytes:
    """ValueInfoProto of an FP32 tensor."""
    dims = b"".join(_field(1, _varint(1 << 3) + _varint(side)) for side in shape)
    kind = _varint(1 << 3) + _varint(TYPES["float32"]) + _field(2, dims)
    return _field(1, name.encode()) + _field(2, _field(1, kind))


def _field(number: int, payload: bytes) -> bytes:
    """A field whose value has a length: text, bytes or a message."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    """Seven bits in each byte, the lowest first; the eighth says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
