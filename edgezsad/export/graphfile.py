"""Reading and writing ONNX files so that a damaged one is one clear line, and a good one is never half overwritten."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError

from edgezsad.errors import CheckError, InputError
from edgezsad.files import written_beside

REMEDY = "run notebook 04_export"


def load_graph(path: Path | str) -> onnx.ModelProto:
    """Read an ONNX file, without any external data that it may point to.

    Raises:
        InputError: missing, unreadable, or not an ONNX graph.
    """
    path = Path(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such ONNX file; {REMEDY} to write it") from None
    except (DecodeError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable ONNX file ({one_line(error)}); {REMEDY} again") from None
    # An empty file, and some cut ones, are valid protobuf messages with nothing in them.
    if not model.graph.node or not model.opset_import:
        raise InputError(f"{path}: not a readable ONNX file (it holds no graph); {REMEDY} again")
    return model


def save_graph(model: onnx.ModelProto, path: Path | str) -> Path:
    """Check `model` with full shape inference, then write it atomically as a single file; returns `path`.

    Raises:
        CheckError: the graph is not valid ONNX, or too large for one file (2 GiB).
    """
    path = Path(path)
    try:
        onnx.checker.check_model(model, full_check=True)
        data = model.SerializeToString()
    # The checker's own ValidationError and shape inference's InferenceError have no common base but these.
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, EncodeError, ValueError) as error:
        raise CheckError(f"{path}: the graph is not valid ONNX ({one_line(error)}); report it with the model") from None
    with written_beside(path) as temporary:
        temporary.write_bytes(data)
    return path


def read_metadata(path: Path | str) -> dict[str, str]:
    """The `metadata_props` of an ONNX file."""
    return metadata_of(load_graph(path))


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """The `metadata_props` of a graph that has been read."""
    return {item.key: item.value for item in model.metadata_props}


def set_metadata(model: onnx.ModelProto, metadata: dict[str, str]) -> None:
    """Add to `metadata_props`, in sorted order and replacing equal keys, so that equal exports are equal bytes."""
    merged = metadata_of(model) | metadata
    del model.metadata_props[:]
    for key in sorted(merged):
        model.metadata_props.add(key=key, value=merged[key])


def one_line(error: BaseException) -> str:
    """An exception's text on one line, at most 160 characters."""
    return " ".join(str(error).split())[:160]
