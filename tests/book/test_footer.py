"""The footer of a notebook's page: what it says, what it offers, and that nothing in it is made up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgezsad.book.footer import add_footer, data_files, facts, parameters_of, without_outputs
from edgezsad.config import Profile, save_profile
from edgezsad.data.manifest import Entry, Manifest, write_manifest
from edgezsad.errors import InputError
from edgezsad.provenance import KEY, PACKAGES, data_of, provenance
from edgezsad.run import Run

ROOT = Path(__file__).resolve().parents[2]
FORK = {"repository": {"url": "https://github.com/me/fork", "branch": "main"}}


@pytest.fixture
def run(make_profile: Callable[..., Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("EDGEZSAD_REPOSITORY", raising=False)
    return Run(make_profile(tmp_path / "run"))


def executed(run: Run, name: str, parameters: dict[str, Any], record: dict[str, Any] | None = None) -> Path:
    """A notebook of the repository as papermill leaves it, with an output and the cell that it adds."""
    content = json.loads((ROOT / "notebooks" / f"{name.partition('-')[0]}.ipynb").read_text(encoding="utf-8"))
    for number, cell in enumerate(content["cells"]):
        cell["metadata"] |= {"papermill": {"duration": 0.1, "status": "completed"}}
        if cell["cell_type"] == "code":
            cell |= {"execution_count": number, "outputs": [{"output_type": "stream", "name": "stdout", "text": "x"}]}
    added = {"cell_type": "code", "id": "added", "outputs": [], "execution_count": 2, "source": ["# Parameters\n"]}
    content["cells"].insert(2, added | {"metadata": {"tags": ["injected-parameters"]}})
    content["metadata"]["papermill"] = {
        "duration": 12.34,
        "start_time": "2026-11-25T10:15:54.379063+00:00",
        "parameters": parameters,
    }
    if record is not None:
        content["metadata"][KEY] = record
    path = run.folder / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


RECORD = {
    "versions": {"python": "3.11.7", "torch": "2.15.0"},
    "hardware": {"processor": "A CPU", "cores": 2, "memory_gb": 25.3, "system": "Linux x86_64", "gpus": []},
    "commit": "abc",
    "data": {"sets": {"source": "1234567890abcdef"}, "sha256": "f" * 64},
}


def footer_of(run: Run, path: Path, folder: Path, config: dict[str, Any]) -> str:
    content = json.loads(path.read_text(encoding="utf-8"))
    before = len(content["cells"])
    add_footer(content, path, run, config, folder)
    assert len(content["cells"]) == before + 1
    cell = content["cells"][-1]
    assert cell["cell_type"] == "markdown"
    return cell["source"]


def test_what_it_says_is_what_was_recorded(run: Run, tmp_path: Path) -> None:
    run.write_result("speed", {})
    path = executed(run, "12_speed", {"config": "runs/x.yaml"}, RECORD)
    text = footer_of(run, path, tmp_path / "book", {})
    for words in (
        "`config = 'runs/x.yaml'`",
        # A parameter that was not given has the notebook's own value.
        "`leak = 'benchmarks/results/leak.json'`",
        "`papermill notebooks/12_speed.ipynb out.ipynb -p config runs/x.yaml`",
        "12.3 s",
        "2026-11-25 10:15 UTC",
        "python 3.11.7, torch 2.15.0; commit `abc`",
        "A CPU, 2 cores, 25.3 GB, Linux x86_64; no NVIDIA GPU",
        f"`{'f' * 64}`; of each: source `1234567890ab`",
        "{dropdown}",
    ):
        assert words in text, words
    assert "not recorded" not in text
    assert "mybinder" not in text and "colab" not in text.lower()


def test_what_was_not_recorded_is_said_to_be_so(run: Run) -> None:
    content = json.loads(executed(run, "12_speed", {}).read_text())
    rows = facts(content, "notebooks/12_speed.ipynb", {}, run)
    assert all(rows[name].startswith("not recorded") for name in ("versions", "hardware", "data"))
    del content["metadata"]["papermill"]
    rows = facts(content, "notebooks/12_speed.ipynb", {}, run)
    assert all(rows[name].startswith("not recorded") for name in ("wall time", "run on"))


def test_what_it_offers(run: Run, tmp_path: Path) -> None:
    run.write_result("export", {"images": 4})
    run.write_result("sensitivity", {"limit": 1})
    path = executed(run, "04_export", {"config": "x"}, RECORD)
    text = footer_of(run, path, tmp_path, {})
    offered = tmp_path / "downloads" / "04_export"
    names = sorted(item.name for item in offered.iterdir())
    assert names == ["04_export-without-outputs.ipynb", "04_export.ipynb", "export.json", "sensitivity.json"]
    for name in names:
        assert f"<../downloads/04_export/{name}>`" in text
    assert json.loads((offered / "export.json").read_text())["images"] == 4
    assert json.loads((offered / "04_export.ipynb").read_text()) == json.loads(path.read_text())


def test_a_training_offers_its_curve(run: Run, tmp_path: Path) -> None:
    for name in ("metrics.json", "curve.csv"):
        (run.seed_folder(1) / name).parent.mkdir(parents=True, exist_ok=True)
        (run.seed_folder(1) / name).write_text("1")
    text = footer_of(run, executed(run, "03_training-seed1", {"seed": 1}), tmp_path, FORK)
    assert "<../downloads/03_training-seed1/curve.csv>" in text
    # Links lead to the notebook that the repository has, not to the copy that one seed made.
    assert "notebooks%2F03_training.ipynb" in text
    assert (
        "[Open in Colab](https://colab.research.google.com/github/me/fork/blob/main/notebooks/03_training.ipynb)"
        in text
    )
    assert "`!git clone https://github.com/me/fork`, `%cd fork`" in text


def test_a_missing_results_file_names_its_notebook(run: Run) -> None:
    with pytest.raises(InputError, match=r"claims\.json: missing; run notebooks/11_claims\.ipynb first"):
        data_files("notebooks/11_claims.ipynb", {}, run)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_without_outputs_is_what_the_repository_has(run: Run, path: Path) -> None:
    content = json.loads(executed(run, path.stem, {}, RECORD).read_text())
    assert without_outputs(content) == json.loads(path.read_text(encoding="utf-8"))


def test_parameters_and_their_defaults() -> None:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["# a\n", "a: int = 1\n", "b = 'x'"]}
    content = {"cells": [cell], "metadata": {"papermill": {"parameters": {"b": "y"}}}}
    assert parameters_of(content) == {"a": 1, "b": "y"}


def test_provenance_of_this_machine(run: Run, tmp_path: Path) -> None:
    profile = save_profile(run.profile, tmp_path / "profile.yaml")
    record = provenance({"config": str(profile)})
    assert set(PACKAGES) < set(record["versions"]) and record["versions"]["numpy"][0].isdigit()
    assert record["hardware"]["cores"] >= 1 and record["hardware"]["processor"]
    assert record["hardware"]["memory_gb"] > 0.1
    json.dumps(record, allow_nan=False)
    assert record["data"] == {}, "no manifest has been written"


def test_the_data_hash_is_that_of_the_manifests(run: Run, tmp_path: Path) -> None:
    profile = save_profile(run.profile, tmp_path / "profile.yaml")
    hashes = {}

    def write(digest: str) -> None:
        for item in (*run.profile.data.source, *run.profile.data.targets):
            entry = Entry("a.png", "bolt", "test", 0, "good", "", 8, 8, digest * 64, "")
            manifest = Manifest(item.name, tmp_path, (entry,))
            write_manifest(manifest, run.manifest_path(item.name))
            hashes[item.name] = manifest.sha256

    write("a")
    first = data_of(profile)
    assert first["sets"] == hashes
    write("b")
    assert data_of(profile)["sha256"] != first["sha256"]


def test_no_profile_no_data_hash() -> None:
    assert data_of("") == data_of("nowhere.yaml") == {}
