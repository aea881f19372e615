"""The foldable footer of a notebook's page: how the page was made, the notebook and its numbers to take away.

Everything in it is read from the executed notebook: papermill's record of parameters and times, and this package's of
versions, machine and data (`edgezsad.provenance`).
"""

import ast
import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgezsad.book.launch import launch_links
from edgezsad.dependencies import results_of
from edgezsad.errors import InputError
from edgezsad.files import write_text
from edgezsad.provenance import KEY
from edgezsad.run import Run

INJECTED = "injected-parameters"
"""Papermill's tag of the cell that it adds; it stands behind the one tagged "parameters"."""


def source_of(notebook: Path) -> str:
    """The notebook of the repository that an executed copy came from: `notebooks/03_training.ipynb` of seed 1's."""
    return f"notebooks/{notebook.stem.partition('-')[0]}.ipynb"


def parameters_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The values that an executed notebook ran with, those that it was not given included."""
    values: dict[str, Any] = {}
    for cell in content["cells"]:
        if cell["cell_type"] == "code" and "parameters" in cell["metadata"].get("tags", []):
            for node in ast.parse("".join(cell["source"])).body:
                match node:
                    case (
                        ast.Assign(targets=[ast.Name(id=name)], value=value)
                        | ast.AnnAssign(target=ast.Name(id=name), value=value)
                    ) if value is not None:
                        values[name] = ast.literal_eval(value)
    return values | content["metadata"].get("papermill", {}).get("parameters", {})


def without_outputs(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an executed notebook as it was before: no outputs, no counts, nothing that papermill added."""
    clean = copy.deepcopy(dict(content))
    for key in ("papermill", KEY):
        clean["metadata"].pop(key, None)
    clean["cells"] = [cell for cell in clean["cells"] if INJECTED not in cell["metadata"].get("tags", [])]
    for cell in clean["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return clean


def data_files(notebook: str, parameters: Mapping[str, Any], run: Run) -> list[Path]:
    """The files that hold a page's numbers: results files, and of a training its metrics and its curve.

    Raises:
        InputError: one of them is missing.
    """
    files = [run.result_path(name) for name in results_of(notebook)]
    if notebook.endswith("/03_training.ipynb"):
        files = [run.seed_folder(parameters["seed"]) / name for name in ("metrics.json", "curve.csv")]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: missing; run {notebook} first")
    return files


def add_footer(content: dict[str, Any], notebook: Path, run: Run, config: Mapping[str, Any], folder: Path) -> None:
    """Append the footer to a page, and lay what it offers for download into `folder`.

    Args:
        content: the executed notebook, as it becomes a page; a cell is appended.
        notebook: the executed notebook's file.
        run: whose page it is.
        config: the content of `_config.yml`, for the launch links.
        folder: the book's sources; the page lies in `folder/notebooks`, the downloads in `folder/downloads`.

    Raises:
        InputError: a file that it offers is missing.
    """
    source, stem = source_of(notebook), notebook.stem
    parameters = parameters_of(content)
    offered = folder / "downloads" / stem
    executed = json.loads(notebook.read_text(encoding="utf-8"))
    write_text(offered / f"{stem}.ipynb", _as_text(executed))
    write_text(offered / f"{Path(source).stem}-without-outputs.ipynb", _as_text(without_outputs(executed)))
    links = [
        _download("Notebook as executed", stem, f"{stem}.ipynb"),
        _download("Notebook without outputs", stem, f"{Path(source).stem}-without-outputs.ipynb"),
    ]
    for path in data_files(source, parameters, run):
        shutil.copyfile(path, offered / path.name)
        links.append(_download(f"Numbers: {path.name}", stem, path.name))
    launch = launch_links(source, config)
    links += [f"[Open in {name}]({launch[name]})" for name in ("Binder", "Colab") if name in launch]
    rows = facts(content, source, parameters, run)
    if launch:
        address = launch["source"].partition("/blob/")[0]
        steps = (f"!git clone {address}", f"%cd {address.rpartition('/')[2]}", '!pip install -e ".[book]"')
        rows["on Colab"] = "first, in a cell of your own: " + ", ".join(f"`{step}`" for step in steps)
    content["cells"].append(
        {"cell_type": "markdown", "id": "how-this-page-was-made", "metadata": {}, "source": _dropdown(rows, links)}
    )


def facts(content: Mapping[str, Any], source: str, parameters: Mapping[str, Any], run: Run) -> dict[str, str]:
    """The footer's rows, as Markdown; what was not recorded is said to be so."""
    metadata = content["metadata"]
    papermill, record = metadata.get("papermill", {}), metadata.get(KEY, {})
    unknown = "not recorded; `python -m edgezsad.execute` records it"
    values = [f"`{name} = {value!r}`" for name, value in parameters.items()]
    again = "".join(f" -p {name} {value}" for name, value in papermill.get("parameters", {}).items())
    rows = {
        "profile": f"`{run.profile.profile}`",
        "parameters": ", ".join(values),
        "the same again": f"`papermill {source} out.ipynb{again}`",
        "wall time": f"{papermill['duration']:.1f} s" if papermill.get("duration") is not None else unknown,
        "run on": f"{papermill['start_time'][:16].replace('T', ' ')} UTC" if papermill.get("start_time") else unknown,
        "versions": unknown,
        "hardware": unknown,
        "data": unknown,
    }
    if "versions" in record:
        rows["versions"] = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        rows["versions"] += f"; commit `{record['commit']}`" if record.get("commit") else ""
    if machine := record.get("hardware"):
        rows["hardware"] = (
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB, {machine['system']}; "
            + (", ".join(machine["gpus"]) or "no NVIDIA GPU")
        )
    if record.get("data") == {}:
        rows["data"] = "no manifest had been written when it ran; this notebook needs none"
    elif data := record.get("data"):
        sets = ", ".join(f"{name} `{digest[:12]}`" for name, digest in data["sets"].items())
        rows["data"] = f"SHA-256 over the manifests `{data['sha256']}`; of each: {sets}"
    return rows


def _dropdown(rows: Mapping[str, str], links: list[str]) -> str:
    table = "\n".join(f"* - {name}\n  - {value}" for name, value in rows.items())
    return (
        "::::{dropdown} How this page was made, and what you can take from it\n:class-container: page-footer\n\n"
        f":::{{list-table}}\n:stub-columns: 1\n:class: page-facts\n\n{table}\n:::\n\n"
        f":::{{div}} page-downloads\n{' '.join(links)}\n:::\n::::\n"
    )


def _download(title: str, stem: str, name: str) -> str:
    return f"{{download}}`{title} <../downloads/{stem}/{name}>`"


def _as_text(content: Mapping[str, Any]) -> str:
    # As nbformat writes it.
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
