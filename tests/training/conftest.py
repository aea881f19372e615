"""The planted source, its backbone and a profile to train with."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

PLANTED = Path(__file__).with_name("planted.py")


@pytest.fixture(scope="session")
def planted() -> ModuleType:
    """The module that makes the source; it is also a script, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("planted", PLANTED)
    module = sys.modules["planted"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def backbone(planted: ModuleType) -> torch.nn.Module:
    return planted.SmallBackbone()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two threads that wait for each other on a busy machine take longer than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
