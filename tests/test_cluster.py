"""The graph on a cluster: every rule declares what it needs, and the SLURM profile is read and understood."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edgezsad.config import load_profile, rehearse
from edgezsad.errors import InputError
from edgezsad.resources import SMALL, Needs, asked, gpu_count, needs_of

REPOSITORY = Path(__file__).resolve().parent.parent
SLURM = REPOSITORY / "profiles" / "slurm" / "config.yaml"
PLUGIN = importlib.util.find_spec("snakemake_executor_plugin_slurm")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the graph reads; without messages, in whose place Snakemake prints a rule's resources."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("benchmarks", "notebooks", "book", "configs", "edgezsad", "synthetic", "profiles"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    for name in ("_config.yml", "_toc.yml", "requirements.lock"):
        shutil.copy2(REPOSITORY / name, folder)
    text = (REPOSITORY / "Snakefile").read_text(encoding="utf-8")
    (folder / "Snakefile").write_text(re.sub(r"^ +message: .*\n", "", text, flags=re.MULTILINE), encoding="utf-8")
    return folder


def dry_run(folder: Path, *arguments: str) -> dict[str, dict[str, str]]:
    """What each rule would ask for, by rule; threads among the resources."""
    here = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--workflow-profile", "profiles/slurm", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"^(?=(?:local)?rule )", done.stdout + done.stderr, flags=re.MULTILINE)[1:]:
        name = re.match(r"(?:local)?rule (\w+):", block)[1]
        resources = re.search(r"^    resources: (.*)$", block, re.MULTILINE)[1]
        threads = re.search(r"^    threads: (\d+)$", block, re.MULTILINE)
        # Snakemake says nothing of a single thread.
        found[name] = dict(item.split("=", 1) for item in resources.split(", "))
        found[name] |= {"threads": threads[1] if threads else "1"}
    return found


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("paper", ["--executor", "local"]),
        ("mini", ["--executor", "local"]),
        pytest.param("paper", [], marks=pytest.mark.skipif(not PLUGIN, reason="no snakemake-executor-plugin-slurm")),
    ],
    ids=["paper", "mini", "with the plugin"],
)
def test_a_dry_run_by_the_profile_asks_for_what_is_declared(project: Path, name: str, arguments: list[str]) -> None:
    config = ["--config", f"profile=configs/{name}.yaml", "data_root=nowhere", "gpus=1"]
    found = dry_run(project, *arguments, "--cores", "64", *config)
    wanted = needs_of(load_profile(REPOSITORY / "configs" / f"{name}.yaml"))
    # `all` only names what is wanted and runs nothing.
    assert set(found) == {*wanted, "all"}
    for rule, needs in wanted.items():
        resources = found[rule]
        assert int(resources["threads"]) == needs.threads, rule
        for key in ("mem_mb", "runtime", "disk_mb"):
            assert int(resources[key]) == getattr(needs, key), (rule, key)
        assert resources.get("gpu") == ("1" if rule == "train" else None), rule
        assert resources["slurm_account"] == "CHANGE_ME_ACCOUNT"
        assert resources["slurm_partition"] == "CHANGE_ME_PARTITION"


def test_no_gpu_is_asked_for_by_default(project: Path) -> None:
    found = dry_run(project, "--executor", "local", "--cores", "1", "--config", "profile=configs/mini.yaml")
    assert not [rule for rule, resources in found.items() if "gpu" in resources]
    # A machine with one core is asked for no more.
    assert {resources["threads"] for resources in found.values()} == {"1"}


def test_the_slurm_profile() -> None:
    profile = yaml.safe_load(SLURM.read_text(encoding="utf-8"))
    assert profile["executor"] == "slurm"
    assert profile["rerun-incomplete"] is True
    assert profile["retries"] >= 1
    # What belongs to one cluster is marked as such, and nothing else is.
    marked = {key for key, value in profile["default-resources"].items() if str(value).startswith("CHANGE_ME")}
    assert marked == {"slurm_account", "slurm_partition"}


def test_another_attempt_asks_for_more_memory_and_time() -> None:
    found = asked(Needs(mem_mb=100, runtime=7, gpu=True), gpus=0)
    assert [found["mem_mb"](None, attempt) for attempt in (1, 2, 3)] == [100, 200, 300]
    assert [found["runtime"](None, attempt) for attempt in (1, 2)] == [7, 14]
    assert "gpu" not in found
    assert asked(Needs(gpu=True), gpus=4)["gpu"] == 4
    assert "gpu" not in asked(Needs(), gpus=4)


def test_needs_follow_the_profile() -> None:
    paper, mini, own = (load_profile(REPOSITORY / f"configs/{name}.yaml", "x") for name in ("paper", "mini", "folder"))
    assert set(needs_of(paper)) == set(needs_of(own)) == set(needs_of(mini))
    # A rehearsal runs the paper's graph on a few images.
    assert needs_of(rehearse(paper, 2)) == needs_of(mini) == SMALL
    for rule, large in needs_of(paper).items():
        assert large.mem_mb >= SMALL[rule].mem_mb
        assert large.gpu == SMALL[rule].gpu
    assert needs_of(own)["train"].runtime == 4 * SMALL["train"].runtime


@pytest.mark.parametrize("text", ["-1", "two", "1.5", "", "2"])
def test_a_wrong_number_of_gpus(text: str) -> None:
    with pytest.raises(InputError, match="give 0 or 1"):
        gpu_count(text)


def test_a_right_number_of_gpus() -> None:
    assert (gpu_count(0), gpu_count("1")) == (0, 1)
