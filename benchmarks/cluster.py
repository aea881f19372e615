"""Run the graph on a SLURM cluster of this machine alone, kill a job of it, and record what happened.

    python benchmarks/cluster.py        as root, with Debian's slurm-wlm and munge: writes results/cluster.json

The profile is a tiny one, so the book's numbers mean nothing; the graph, Snakemake's executor and profiles/slurm are
those of any cluster. Generated images are then scored in shards by `workflow/score.smk`.
"""

import csv
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edgezsad.errors import CheckError

CONFIG = Path("/etc/slurm/slurm.conf")  # inside a job nothing can name another file: the executor unsets SLURM_*
MARK = "# written by benchmarks/cluster.py"
DAEMONS = ("munged", "slurmctld", "slurmd")
LONGEST = 1_800  # seconds until a run is given up
PROFILE = """
profile: folder
title: A tiny run on a cluster
run: runs/cluster
seeds: [0]
data:
  root: runs/cluster/data
  source:
    - name: source
      layout: mvtec
      root: source
      generated: {families: [leather, washer], train_normal: 0, test_normal: 8, test_defective: 8, size: [96, 96]}
  targets:
    - name: cloth
      layout: visa
      root: cloth
      stands_for: VisA
      generated: {families: [felt], train_normal: 1, test_normal: 4, test_defective: 4, size: [96, 128]}
model: {backbone: tf_efficientnet_lite0, weights: package, size: 128}
training: {steps: 400, save_every: 10, batch: 8, warmup: 2, validation: 0.25}
evaluation: {pixels: 64}
"""
# More processors and memory than there are: jobs that ask for 8 threads start, and wait for one another.
SLURM = """
ClusterName=local
SlurmctldHost=localhost({host})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MinJobAge=3600
MailProg=/bin/true
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000
PartitionName=main Nodes=localhost Default=YES State=UP
"""
EXECUTOR = ("--workflow-profile", "profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue")
EXECUTOR += ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1")
EXECUTOR += ("--latency-wait", "10", "--jobs", "3", "--nolock", "--retries", "1")
EXECUTOR += ("--default-resources", "slurm_partition=main", "mem_mb=500", "runtime=30")


def missing() -> str:
    """Return why no cluster can be started on this machine; empty if it can."""
    if os.geteuid() != 0:
        return f"needs root, to write {CONFIG}"
    if absent := [name for name in DAEMONS if not shutil.which(name)]:
        return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)"
    if CONFIG.exists() and not CONFIG.read_text(encoding="utf-8").startswith(MARK):
        return f"{CONFIG}: a cluster is configured on this machine"
    return ""


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def local_slurm() -> Iterator[None]:
    """Start a SLURM cluster of this machine and stop it at the end; CheckError if it does not start."""
    if reason := missing():
        raise CheckError(f"SLURM: {reason}")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        (folder / "key").touch(0o600)
        (folder / "key").write_bytes(os.urandom(1024))
        host = socket.gethostname().split(".")[0]
        text = SLURM.format(folder=folder, host=host, ports=_free_ports(2))
        CONFIG.write_text(MARK + text, encoding="utf-8")
        stack.callback(CONFIG.unlink)
        munge = {"socket": "munge.socket", "key-file": "key", "pid-file": "munged.pid", "log-file": "munged.log"}
        files = [f"--{option}={folder / file}" for option, file in (munge | {"seed-file": "seed"}).items()]
        for command in (["munged", "--foreground", "--force", *files], ["slurmctld", "-D"], ["slurmd", "-D"]):
            log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            time.sleep(0.5)
        for _ in range(100):
            if _said("sinfo", "--noheader", "--format=%t") == "idle":
                break
            time.sleep(0.2)
        else:
            logs = "".join(path.read_text(errors="replace")[-500:] for path in folder.glob("*.out"))
            raise CheckError(f"SLURM did not start: {logs}")
        yield


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def jobs() -> list[tuple[str, str, str]]:
    """Return id, rule and state of every job of the cluster."""
    lines = _said("squeue", "--noheader", "--states=all", "--format=%i|%k|%T").splitlines()
    # The comment is rule_NAME_wildcards_...
    parts = (line.split("|") for line in sorted(lines, key=lambda line: int(line.split("|")[0])))
    return [(job, comment.removeprefix("rule_").split("_wildcards")[0], state) for job, comment, state in parts]


def run(arguments: list[str], folder: Path, log: Path, kill: str = "", saved: str = "") -> dict[str, Any]:
    """Run Snakemake on the cluster in `folder`; kill the job of the rule `kill` once it has written the file `saved`.

    Returns counts of jobs by state and the id of the killed one. CheckError if the run fails.
    """
    before, killed = len(jobs()), None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("w") as stream:
        command = [sys.executable, "-m", "snakemake", *EXECUTOR, *arguments]
        packages = os.pathsep.join([str(folder.absolute()), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PATH": path, "PYTHONPATH": packages, "MPLBACKEND": "agg"}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        start = time.monotonic()
        while process.poll() is None:
            for job, rule, state in jobs()[before:]:
                if kill and not killed and rule == kill and state == "RUNNING" and (folder / saved).exists():
                    subprocess.run(["scancel", "--signal=KILL", "--full", job], check=True)
                    killed = job
            if time.monotonic() - start > LONGEST:
                process.terminate()
            time.sleep(0.5)
    if process.returncode:
        raise CheckError(f"{log}: the run on the cluster failed: {log.read_text(encoding='utf-8')[-3000:]}")
    found = jobs()[before:]
    return {
        "jobs": len(found),
        "states": dict(Counter(state for _, _, state in found)),
        "rules": dict(Counter(rule for _, rule, _ in found)),
        "killed": killed and {"job": killed, "rule": kill, "state": {job: state for job, _, state in found}[killed]},
    }


def run_graph(folder: Path, log: Path) -> dict[str, Any]:
    """Run the tiny profile from its images to the book in a checkout, with one training killed."""
    profile = folder / "runs" / "cluster-profile.yaml"
    profile.parent.mkdir(exist_ok=True)
    profile.write_text(PROFILE, encoding="utf-8")
    trained = "runs/cluster/seeds/0"
    found = run(["--config", "profile=runs/cluster-profile.yaml"], folder, log, "train", f"{trained}/state.safetensors")
    pages = list((folder / "runs/cluster/book/html").rglob("*.html"))
    # The first progress line of the job that was submitted again, in the notebook that it executed.
    notebook = folder / "runs/cluster/notebooks/03_training-seed0.ipynb"
    shown = re.search(r"seed 0: +(\d+)%", notebook.read_text(encoding="utf-8"))
    return found | {"pages": len(pages), "continued_at_percent": shown and int(shown[1])}


def run_shards(folder: Path, log: Path, images: Path, shard: int) -> dict[str, Any]:
    """Score the images below a folder in shards on the cluster."""
    settings = ["--config", f"images={images}", "out=runs/shards", f"shard={shard}"]
    found = run(["--snakefile", "workflow/score.smk", *settings], folder, log)
    with (folder / "runs/shards/scores.csv").open(newline="", encoding="utf-8") as stream:
        return found | {"images": len(list(csv.DictReader(stream)))}


def main() -> None:
    """Run both in this checkout and record the facts; no times, which a cluster of one machine cannot tell."""
    from recording import RESULTS, machine, save

    root, logs = Path.cwd(), Path("runs/cluster-logs")
    shutil.rmtree("runs/cluster", ignore_errors=True)
    shutil.rmtree("runs/shards", ignore_errors=True)
    logs.mkdir(parents=True, exist_ok=True)
    with local_slurm():
        found = {
            "what": "the graph of a tiny profile on a SLURM cluster of one machine, one training killed",
            **machine("snakemake", "snakemake-executor-plugin-slurm"),
            "slurm": re.sub(r"^\S+ ", "", _said("sinfo", "--version")),
            "graph": run_graph(root, logs / "graph.txt"),
            "shards": run_shards(root, logs / "shards.txt", Path("runs/cluster/data/source"), 12),
        }
    save(RESULTS / "cluster.json", found, speed=False)


if __name__ == "__main__":
    from recording import run_script

    run_script(main)
