"""Puts `data_manifests/` and the boards' scripts into a built package; everything else is said in pyproject.toml."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["edgezsad*"]), "edgezsad.data_manifests"],
    package_dir={"edgezsad.data_manifests": "data_manifests"},
    package_data={
        "edgezsad.data_manifests": ["*.yaml", "*.json", "*.md", "lists/*.csv"],
        "edgezsad.devices.kit.board": ["*.sh"],
    },
)
