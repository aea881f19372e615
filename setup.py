"""Package data: checkpoints, operator lists, claims, `data_manifests/`, ... All else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

ENDINGS = ("csv", "html", "json", "md", "onnx", "safetensors", "sh", "yaml")

setup(
    packages=[*find_namespace_packages(include=["edgezsad*", "synthetic"]), "edgezsad.data_manifests"],
    package_dir={"edgezsad.data_manifests": "data_manifests"},
    package_data={"": [f"*.{ending}" for ending in ENDINGS], "edgezsad.data_manifests": ["lists/*.csv"]},
)
