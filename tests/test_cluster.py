"""The graph on a cluster: every rule asks for the resources of `profiles/resources.yaml`."""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
NEEDS = yaml.safe_load((REPOSITORY / "profiles" / "resources.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the graph reads; without messages, so that Snakemake prints a rule's resources."""
    folder = tmp_path_factory.mktemp("project")
    for name in (
        "benchmarks",
        "notebooks",
        "book",
        "configs",
        "edgezsad",
        "synthetic",
        "profiles",
        "data_manifests",
        "workflow",
    ):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    for name in ("_config.yml", "_toc.yml", "requirements.lock", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy2(REPOSITORY / name, folder)
    text = (REPOSITORY / "Snakefile").read_text(encoding="utf-8")
    (folder / "Snakefile").write_text(re.sub(r"^ +message: .*\n", "", text, flags=re.MULTILINE), encoding="utf-8")
    return folder


def dry_run(folder: Path, *arguments: str) -> dict[str, dict[str, str]]:
    """Return the resources and threads of each rule."""
    here = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--executor", "local"]
    command += ["--workflow-profile", "profiles/slurm", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"^(?=(?:local)?rule )", done.stdout + done.stderr, flags=re.MULTILINE)[1:]:
        # One rule for each runtime, with the same needs.
        name = re.sub("^score_.*", "score", re.match(r"(?:local)?rule (\w+):", block)[1])
        resources = re.search(r"^    resources: (.*)$", block, re.MULTILINE)[1]
        threads = re.search(r"^    threads: (\d+)$", block, re.MULTILINE)
        # Snakemake does not print a single thread.
        found[name] = dict(item.split("=", 1) for item in resources.split(", "))
        found[name] |= {"threads": threads[1] if threads else "1"}
    del found["all"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "folder"])
def test_every_rule_asks_for_what_is_declared(project: Path, name: str) -> None:
    (project / "nowhere").mkdir(exist_ok=True)
    config = ["--config", f"profile=configs/{name}.yaml", "data_root=nowhere", "gpus=1"]
    found = dry_run(project, "--cores", "64", *config)
    assert set(NEEDS["mini"]) | set(NEEDS["paper"]) <= set(found)
    for rule, resources in found.items():
        wanted = NEEDS["default"] | NEEDS["mini"].get(rule, {})
        if name == "paper":
            wanted |= NEEDS["paper"].get(rule, {})
        else:
            wanted |= {key: factor * wanted[key] for key, factor in NEEDS["folder"].items()}
        for key in ("threads", "mem_mb", "runtime", "disk_mb"):
            assert int(resources[key]) == wanted[key], (rule, key)
        assert resources.get("gpu") == ("1" if rule == "train" else None), rule
        assert resources["slurm_account"] == "CHANGE_ME_ACCOUNT"


@pytest.mark.slow
def test_no_gpu_is_asked_for_by_default(project: Path) -> None:
    found = dry_run(project, "--cores", "1", "--config", "profile=configs/mini.yaml")
    assert not [rule for rule, resources in found.items() if "gpu" in resources]
    # A machine with one core is asked for one thread.
    assert {resources["threads"] for resources in found.values()} == {"1"}


@pytest.mark.slow
def test_shards_continue_and_merge_into_one_table(project: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(5):
        Image.new("RGB", (40, 40), (50 * number,) * 3).save(images / f"{number}.png")
    (images / "3.png").write_bytes(b"damaged")
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in sorted(images.iterdir())), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/score.smk", "--cores", "1", "--config"]
    settings = [f"images={tmp_path / 'list.txt'}", f"out={tmp_path / 'out'}", "shard=2", "options=--threshold 0"]
    here = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(project)}

    def score() -> None:
        done = subprocess.run(
            [*command, *settings],
            cwd=project,
            env=os.environ | here,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    score()
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").iterdir()}
    assert sorted(made) == ["000000.csv", "000001.csv", "000002.csv"]
    # As after a kill: a shard and the table are missing.
    (tmp_path / "out" / "shards" / "000001.csv").unlink()
    (tmp_path / "out" / "scores.csv").unlink()
    score()
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").iterdir()}
    assert {name for name in again if again[name] != made[name]} == {"000001.csv"}
    with (tmp_path / "out" / "scores.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [Path(row["path"]).name for row in rows] == [f"{number}.png" for number in range(5)]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True, False]
    assert {row["verdict"] for row in rows if not row["error"]} <= {"normal", "defective"}


@pytest.mark.slow
def test_the_graph_runs_on_slurm_after_a_kill_and_shards_too(
    project: Path, tmp_path: Path, script: Callable[[str], ModuleType]
) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm")
    cluster = script("cluster")
    if not os.environ.get("EDGEZSAD_SLURM"):
        pytest.skip("SLURM: takes minutes; set EDGEZSAD_SLURM=1")
    if reason := cluster.missing():
        pytest.skip(f"SLURM: {reason}")
    with cluster.local_slurm():
        graph = cluster.run_graph(project, tmp_path / "graph.txt")
        shards = cluster.run_shards(project, tmp_path / "shards.txt", Path("runs/cluster/data/source"), 20)
    # The killed training was submitted again; every other rule ran once.
    assert graph["rules"].pop("train") == 2
    assert set(graph["rules"].values()) == {1} and {"data", "export", "claims", "book"} <= set(graph["rules"])
    assert graph["killed"]["state"] != "COMPLETED"
    assert graph["continued_at_percent"] > 0, "the training started from its first step"
    assert graph["states"]["COMPLETED"] == graph["jobs"] - 1
    assert graph["pages"] > 20
    assert (shards["states"], shards["images"]) == ({"COMPLETED": 2}, 32)
