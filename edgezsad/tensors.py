"""Writing safetensors files: beside, to the disk, then renamed; a full disk is one line that names the file."""

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file, written_beside


def save_tensors(path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """Write tensors by name, on whatever device they are; returns the file's hash.

    Args:
        path: of the file; an older one stays as it was if anything goes wrong.
        tensors: by name.
        metadata: for the file's head.

    Raises:
        InputError: the disk is full, or the folder may not be written.
    """
    # Tensors that share memory are refused by the format; copies do not share.
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with written_beside(path) as temporary:
        try:
            save_file(copies, temporary, metadata=metadata)
        except SafetensorError as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path}: can not be written ({reason}); make room on the disk and run again") from None
        # A rename may reach the disk before the data does, and a power cut between them would leave an empty file.
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        return sha256_of_file(temporary)
