"""Writing tensors: a full disk is one line, and what stood there before stays."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from edgezsad.errors import InputError
from edgezsad.files import save_tensors, sha256_of_file


def test_tensors_that_share_memory_come_back(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    digest = save_tensors(tmp_path / "a.safetensors", {"whole": whole, "part": whole[1], "turned": whole.T})
    assert digest == sha256_of_file(tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    assert torch.equal(found["part"], whole[1])
    assert torch.equal(found["turned"], whole.T)


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.ones(2)})
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match=r"a\.safetensors: cannot be written \(.*No space left.*\); free disk space"):
        save_tensors(path, {"a": torch.zeros(2)})
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]
