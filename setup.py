"""Puts `data_manifests/`, the committed checkpoint, operator lists and boards' scripts into a built package.

All else is in pyproject.toml.
"""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["edgezsad*", "synthetic"]), "edgezsad.data_manifests"],
    package_dir={"edgezsad.data_manifests": "data_manifests"},
    package_data={
        "edgezsad.data_manifests": ["*.yaml", "*.json", "*.md", "lists/*.csv"],
        "edgezsad.checkpoints": ["*.safetensors", "*.onnx", "*.md"],
        "edgezsad.export": ["operators/*.csv", "operators/*.json"],
        "edgezsad.devices.boards": ["*.sh"],
    },
)
