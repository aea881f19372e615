"""Foldable footer of a notebook's page: how the page was made, and the notebook and its numbers as downloads.

All facts come from the executed notebook: papermill's record of parameters and times, and the record of versions,
machine and data that `edgezsad.execute` adds.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgezsad.claims.evaluation import NOTEBOOKS
from edgezsad.errors import InputError
from edgezsad.execute import RECORD_KEY
from edgezsad.files import verified
from edgezsad.run import Run


def add_footer(content: dict[str, Any], notebook: Path, run: Run, config: Mapping[str, Any], folder: Path) -> None:
    """Append the footer cell to a page's `content` and copy its downloads to `folder/downloads`."""
    stem = notebook.stem
    maker = stem.partition("-")[0]
    source = f"notebooks/{maker}.ipynb"
    parameters = content["metadata"][RECORD_KEY]["parameters"]
    offered = folder / "downloads" / stem
    titles = {"Notebook as executed": f"{stem}.ipynb", "Notebook without outputs": f"{stem}-without-outputs.ipynb"}
    offered.mkdir(parents=True, exist_ok=True)
    for name, original in zip(titles.values(), (notebook, source), strict=True):
        shutil.copyfile(original, offered / name)
    results = [run.result_path(name) for name in NOTEBOOKS if NOTEBOOKS[name] == maker]
    if source == "notebooks/03_training.ipynb":
        results = [run.seed_folder(parameters["seed"]) / name for name in ("metrics.json", "curve.csv")]
    for path in results:
        if not path.is_file():
            raise InputError(f"{path}: missing; run {source} first")
        shutil.copyfile(verified(path), offered / path.name)
        titles[f"Numbers: {path.name}"] = path.name
    links = [f"{{download}}`{title} <../downloads/{stem}/{name}>`" for title, name in titles.items()]
    links += launch_links(source, config)
    table = "\n".join(f"* - {name}\n  - {value}" for name, value in _facts(content, source, parameters, run).items())
    text = (
        "::::{dropdown} How this page was made, and what you can take from it\n:class-container: page-footer\n\n"
        f":::{{list-table}}\n:stub-columns: 1\n:class: page-facts\n\n{table}\n:::\n\n"
        f":::{{div}} page-downloads\n{' '.join(links)}\n:::\n::::\n"
    )
    content["cells"].append({"cell_type": "markdown", "id": "how-this-page-was-made", "metadata": {}, "source": text})


def launch_links(notebook: str, config: Mapping[str, Any]) -> list[str]:
    """Return Markdown links that open a notebook in Binder and Colab; empty without a repository's address."""
    setting = config.get("repository") or {}
    if not (url := os.environ.get("EDGEZSAD_REPOSITORY") or setting.get("url")):
        return []
    name, branch = url.removeprefix("https://github.com/").removesuffix(".git"), setting.get("branch") or "main"
    binder = f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab%2Ftree%2F{notebook}"
    colab = f"https://colab.research.google.com/github/{name}/blob/{branch}/{notebook}"
    return [f"[Open in Binder]({binder})", f"[Open in Colab]({colab})"]


def _facts(content: Mapping[str, Any], source: str, parameters: Mapping[str, Any], run: Run) -> dict[str, str]:
    """Rows of the footer, as Markdown."""
    papermill, record = content["metadata"]["papermill"], content["metadata"][RECORD_KEY]
    again = "".join(f" {name}={value}" for name, value in papermill.get("parameters", {}).items())
    machine, data = record["hardware"], record["data"]
    gpus = ", ".join(machine["gpus"]) or "no NVIDIA GPU"
    rows = {
        "profile": f"`{run.profile.profile}`",
        "parameters": ", ".join(f"`{name} = {value!r}`" for name, value in parameters.items()),
        "run it again": f"`python -m edgezsad.execute {source} out.ipynb{again}`",
        "wall time": f"{papermill['duration']:.1f} s",
        "executed": f"{papermill['start_time'][:16].replace('T', ' ')} UTC",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "commit": f"`{record['commit']}`",
        "hardware": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB; {gpus}",
        "system": machine["system"],
    }
    if data:
        rows["data"] = "SHA-256 over the manifests: " + ", ".join(f"{name} `{digest}`" for name, digest in data.items())
    return rows
