"""Which versions a result was made with."""

import platform
from importlib import metadata

import edgezsad


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of `packages`, with Python's and this package's own; "absent" where one is not installed."""
    found = {"python": platform.python_version(), "edgezsad": edgezsad.__version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
