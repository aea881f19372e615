"""Where training runs: one processor, one GPU, or what `torchrun` started, all by Lightning Fabric."""

import os
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from lightning_fabric.plugins.environments import LightningEnvironment

from edgezsad.config import Training
from edgezsad.errors import InputError

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_fabric(config: Training, logs: Path, first_step: int = 0) -> Fabric:
    """Fabric for a profile, launched: in a plain process one device, under `torchrun` as many as it started processes.

    Args:
        config: device and precision.
        logs: folder of the TensorBoard event files.
        first_step: where a continued run begins; what a lost run logged after it is hidden.

    Raises:
        InputError: a GPU is asked for and there is none, or FP16 without one.
    """
    gpu = _uses_gpu(config)
    if config.device == "gpu" and not gpu:
        raise InputError("training.device: gpu, but there is none that PyTorch can use; set it to auto or cpu")
    if config.precision == "fp16" and not gpu:
        raise InputError("training.precision: fp16 needs a GPU; set it to auto or fp32")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    # Fabric takes the process group from torchrun's environment, which is there exactly when torchrun is.
    many = "TORCHELASTIC_RUN_ID" in os.environ
    fabric = Fabric(
        accelerator="cuda" if gpu else "cpu",
        devices=processes,
        num_nodes=int(os.environ.get("WORLD_SIZE", 1)) // processes if many else 1,
        strategy="ddp" if many else "auto",
        # Fabric would take a batch job with several tasks for a training with as many processes.
        plugins=None if many else LightningEnvironment(),
        precision=PRECISIONS[precision_of(config)],
        loggers=TensorBoardLogger(logs, name="", version="", purge_step=first_step),
    )
    fabric.launch()
    return fabric


def precision_of(config: Training) -> str:
    """The precision that training has on this machine: "fp32", "bf16" or "fp16"."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if _uses_gpu(config) and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def _uses_gpu(config: Training) -> bool:
    return torch.cuda.is_available() and config.device != "cpu"
