"""What each rule of the graph asks of a machine: processors, memory, time, disk, GPUs; for Snakemake's executors.

Everything is set here, so a cluster's administrator has one table to read. A run on one machine is limited by none of
it but the threads: Snakemake heeds memory, time and GPUs on a cluster, or where `--resources` names a limit.
"""

from dataclasses import dataclass

from edgezsad.config import Profile
from edgezsad.errors import InputError


@dataclass(frozen=True)
class Needs:
    """What one job asks for.

    Attributes:
        threads: processors; fewer where the run has fewer.
        mem_mb: memory in megabytes; a job that is tried again asks for as much more.
        runtime: minutes, likewise.
        disk_mb: what it writes, in megabytes.
        gpu: takes the run's GPUs, if the run asks for any.
    """

    threads: int = 1
    mem_mb: int = 4_000
    runtime: int = 30
    disk_mb: int = 1_000
    gpu: bool = False


# Hundreds of small images, some minutes in all on two cores.
SMALL = {
    "data": Needs(threads=8),
    "features": Needs(disk_mb=4_000),
    "train": Needs(gpu=True),
    "recipe": Needs(mem_mb=2_000, runtime=10),
    "export": Needs(),
    "score": Needs(runtime=60),
    "benchmarks": Needs(),
    "efficiency": Needs(),
    "jetson_drift": Needs(),
    "rb5_drift": Needs(),
    "int8": Needs(),
    "gallery": Needs(),
    "speed": Needs(mem_mb=2_000, runtime=10),
    "photographs": Needs(mem_mb=2_000, runtime=10),
    "claims": Needs(mem_mb=2_000, runtime=10),
    "book": Needs(mem_mb=2_000),
}
# The paper's data sets at 512 x 512. Not run yet: estimates, on the safe side. Its backbone learns: no features kept.
LARGE = SMALL | {
    "data": Needs(threads=16, mem_mb=16_000, runtime=720, disk_mb=2_000),
    "train": Needs(threads=8, mem_mb=64_000, runtime=1_440, disk_mb=10_000, gpu=True),
    "export": Needs(threads=4, mem_mb=16_000, runtime=120),
    "score": Needs(threads=8, mem_mb=32_000, runtime=2_880, disk_mb=20_000),
    "benchmarks": Needs(threads=4, mem_mb=16_000, runtime=240),
    "efficiency": Needs(mem_mb=8_000),
    "jetson_drift": Needs(mem_mb=16_000, runtime=120),
    "rb5_drift": Needs(mem_mb=16_000, runtime=120),
    "int8": Needs(mem_mb=16_000, runtime=120),
    "gallery": Needs(mem_mb=16_000),
}
# As many photographs as anyone may have: more time and memory than small, never a cluster's largest queue.
OWN = {
    name: Needs(each.threads, 2 * each.mem_mb, 4 * each.runtime, 10 * each.disk_mb, each.gpu)
    for name, each in SMALL.items()
}


def needs_of(profile: Profile) -> dict[str, Needs]:
    """What each rule asks for in a profile; a rehearsal of a large one on few images asks for little."""
    if profile.rehearsal or profile.profile == "mini":
        return SMALL
    return LARGE if profile.profile == "paper" else OWN


def gpu_count(text: object) -> int:
    """GPUs that a training job asks for, from `--config gpus=N`: none or one, as a job of the graph is one process.

    Raises:
        InputError: anything else.
    """
    if str(text) not in ("0", "1"):
        raise InputError(f"--config gpus={text}: give 0 or 1; for more, see torchrun on the page on clusters")
    return int(str(text))


def asked(needs: Needs, gpus: int = 0) -> dict[str, object]:
    """The arguments of a rule's `resources:`.

    Memory and time are functions of the attempt: a job that ran out of either asks for twice as much the second time.
    `gpu` is there only where a GPU is asked for, since some clusters reject a request for none.
    """
    found: dict[str, object] = {
        "mem_mb": lambda wildcards, attempt: needs.mem_mb * attempt,
        "runtime": lambda wildcards, attempt: needs.runtime * attempt,
        "disk_mb": needs.disk_mb,
    }
    return found | ({"gpu": gpus} if needs.gpu and gpus else {})
