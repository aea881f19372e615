"""The timing run of a result as a latency record, with everything that the number depends on."""

import re
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from edgezsad.devices.ingest.qnn import NETRUN, choose, read_times
from edgezsad.devices.ingest.result import Result
from edgezsad.devices.ingest.tables import read_facts
from edgezsad.devices.ingest.trtexec import read_profile
from edgezsad.devices.ingest.trtexec import read_times as read_trtexec_times
from edgezsad.devices.latency import Latency
from edgezsad.errors import InputError


def read_latency(result: Result, timing: Path | None = None) -> Latency:
    """The timing run of a result.

    Args:
        result: whose origin is settled.
        timing: for the RB5: the CSV or text that qnn-profile-viewer made of the board's log elsewhere.

    Raises:
        InputError: it is missing, damaged, cut off, or was not made with this result.
    """
    jetson = result.board.name == "jetson"
    file = "time.tsv" if jetson else "time/time.tsv"
    result.packed(file)
    told = read_facts(result.folder / file, result.what(file))
    try:
        iterations, warmup = int(told["iterations"]), told["warmup"]
        if not 0 < iterations < 1_000_000:
            raise ValueError
        mode, clocks, before, after = (told[key] for key in ("power_mode", "clocks", "before", "after"))
    except (KeyError, ValueError):
        raise InputError(f"{result.what(file)} is damaged; copy the result from the board again") from None
    if jetson:
        times, method = _jetson_times(result, iterations, warmup)
        extra: dict[str, str] = {}
    else:
        times, method, extra = _rb5_times(result, timing, iterations, warmup)
    facts = result.facts
    try:
        return Latency(
            board=result.board.name,
            runtime=result.board.runtime,
            precision=result.board.precision,
            device=device_name(result),
            profile=result.kit.profile,
            seed=result.kit.seed,
            model_sha256=facts["model_sha256"],
            detector_sha256=result.kit.detector_sha256,
            milliseconds=times,
            method=method,
            versions=tool_versions(result),
            conditions={
                "power mode": mode or "unknown",
                "clocks": clocks or "unknown",
                "before": before,
                "after": after,
                "date": told.get("date", ""),
                **extra,
            },
            command=result.commands.get("time", ""),
        )
    except ValidationError as error:
        raise InputError(f"{result.what('times')}: {error.errors()[0]['msg']}") from None


def _jetson_times(result: Result, iterations: int, warmup: str) -> tuple[list[float], str]:
    times = read_trtexec_times(result.packed("times.json"), result.what("times.json"))
    if len(times) < iterations:
        raise InputError(f"{result.what('times.json')}: {len(times)} of {iterations} iterations; cut off")
    read_profile(result.packed("profile.json"), result.what("profile.json"))
    return times, (
        f"computeMs of {len(times)} iterations of trtexec after {warmup} of warm-up, batch 1, one stream: GPU time "
        "from the first kernel to the last, without copies to and from the GPU; layers are timed in a second pass"
    )


def _rb5_times(
    result: Result, timing: Path | None, iterations: int, warmup: str
) -> tuple[list[float], str, dict[str, str]]:
    paths = [timing] if timing else [result.folder / "time" / name for name in ("profile.csv", "profile.txt")]
    path = next((each for each in paths if each.is_file()), None)
    if path is None:
        where = timing or result.what("time/profile.csv")
        raise InputError(
            f"{where}: missing; make it with qnn-profile-viewer --input_log time/qnn-profiling-data_0.log --output "
            "FILE.csv, and give --timing FILE.csv"
        )
    what = str(timing) if timing else result.what(f"time/{path.name}")
    series = read_times(path.read_bytes() if timing else result.packed(f"time/{path.name}"), what)
    name = choose(series)
    found = re.match(r"[0-9]{1,6}", warmup)
    dropped = int(found[0]) if found else 0
    extra = {}
    if NETRUN in series and name != NETRUN:
        extra["NetRun, median ms"] = f"{np.median(series[NETRUN][-iterations:]):.3f}"
    if len(series[name]) == 1 and iterations + dropped > 1:
        return (
            series[name],
            f'"{name}" as qnn-profile-viewer prints it: the average of {iterations + dropped} executions, warm-up '
            "among them; an average has no median and no percentile",
            extra,
        )
    if len(series[name]) < iterations + dropped:
        raise InputError(f"{what}: {len(series[name])} of {iterations + dropped} executions; cut off, or another run's")
    # A profile that was there before is appended to: the last ones are this run's.
    return (
        series[name][-iterations:],
        f'"{name}" of {iterations} executions on the GPU after {warmup} of warm-up, batch 1, by {result.facts["tool"]}',
        extra,
    )


def device_name(result: Result) -> str:
    """What the board says it is."""
    facts = result.facts
    more = (
        [f"L4T {facts['l4t']}"]
        if "l4t" in facts
        else [facts[key] for key in ("soc", "system", "gpu") if facts.get(key)]
    )
    return ", ".join([facts["device"], *more])


def tool_versions(result: Result) -> dict[str, str]:
    """Versions on the board, and of the package that wrote the kit."""
    facts = result.facts
    found = {"edgezsad": result.kit.edgezsad}
    if result.board.name == "jetson":
        found |= {"tensorrt": facts["tool_version"], "l4t": facts.get("l4t", "")}
        if facts.get("cuda"):
            found["cuda"] = facts["cuda"]
        return found
    return found | {"onnxruntime-qnn" if facts["tool"] == "onnxruntime-qnn" else "qnn": facts["tool_version"]}
