"""The command lines of the boards' own tools, as lists of words: `trtexec` of TensorRT, `qnn-net-run` of QNN.

Nothing is run here. The words are NVIDIA's (samples/common/sampleOptions.cpp of TensorRT 10.3; the 11.0 guide on moving
from 10.x) and Qualcomm's (QAIRT tools reference, qnn-net-run).
"""

from pathlib import Path

from edgezsad.errors import InputError

Name = str | Path

FIRST_STRONGLY_TYPED = (11, 0)
"""From this TensorRT version on a network computes in the types of its graph, and `--fp16` is refused."""

PROFILING = ("basic", "detailed")


def trtexec_build(onnx: Name, engine: Name, version: tuple[int, int], timing_cache: Name | None = None) -> list[str]:
    """Build an FP16 engine and stop.

    Args:
        onnx: the FP32 graph for TensorRT 10.x, which rounds it by itself; the FP16 graph from 11.0 on.
        engine: the plan to write.
        version: of TensorRT, major and minor, for instance (10, 3).
        timing_cache: kept between builds: the second takes seconds instead of minutes.

    Raises:
        InputError: a TensorRT before 10.0, which this package does not know.
    """
    if version < (10, 0):
        raise InputError(f"TensorRT {version[0]}.{version[1]}: 10.0 or newer is needed; JetPack 6.2 has 10.3")
    words = ["trtexec", f"--onnx={onnx}", f"--saveEngine={engine}", "--skipInference"]
    if version < FIRST_STRONGLY_TYPED:
        words.append("--fp16")
    if timing_cache is not None:
        words.append(f"--timingCacheFile={timing_cache}")
    return words


def trtexec_run(
    engine: Name,
    inputs: dict[str, str],
    times: Name | None = None,
    profile: Name | None = None,
    output: Name | None = None,
    iterations: int = 100,
    warmup_ms: int = 500,
) -> list[str]:
    """Run an engine on one image and write what it gave and how long it took.

    The words are those of 10.3; none of them is among those that the guide to 11.0 says are gone. The defaults differ
    (11.x captures a CUDA graph, spins while it waits and leaves the transfers out), so compare on `computeMs` and keep
    the version beside the numbers.

    Args:
        engine: the plan.
        inputs: input name to a file of raw float32, as `ndarray.tofile` writes it.
        times: a JSON file to write, every iteration's times.
        profile: a JSON file to write, times by layer, measured in a second pass so as not to slow the first one.
        output: a JSON file to write, the values of the outputs.
        iterations: how many are timed; exactly so many, because no duration is asked for.
        warmup_ms: milliseconds before the first timed one.

    Raises:
        InputError: a file's name has a comma or colon, by which trtexec splits its list of inputs; or numbers below
            what can be run.
    """
    if iterations < 1 or warmup_ms < 0:
        raise InputError(f"{iterations} iterations after {warmup_ms} ms: at least 1 after 0 is needed")
    for name in (*inputs, *inputs.values()):
        if set(str(name)) & set(",:'"):
            raise InputError(f"{name}: trtexec takes no comma, colon or quote in the name of an input; rename it")
    words = ["trtexec", f"--loadEngine={engine}"]
    if inputs:
        words.append("--loadInputs=" + ",".join(f"{name}:{file}" for name, file in inputs.items()))
    words += [f"--iterations={iterations}", f"--warmUp={warmup_ms}", "--duration=0"]
    if times is not None:
        words.append(f"--exportTimes={times}")
    if profile is not None:
        words += [f"--exportProfile={profile}", "--separateProfileRun"]
    if output is not None:
        words.append(f"--exportOutput={output}")
    return words


def qnn_net_run(
    dlc: Name,
    input_list: Name,
    output_dir: Name,
    backend: Name = "libQnnGpu.so",
    profiling: str = "basic",
    config: Name | None = None,
) -> list[str]:
    """Run a DLC on every image of a list.

    It writes `output_dir`/Result_<i>/<tensor>.raw in float32, i counting the list's lines from 0, and
    `output_dir`/qnn-profiling-data_0.log.

    Args:
        dlc: a graph for Qualcomm's devices. The GPU computes in the types that it finds there unless `config` says
            otherwise (QnnGpuGraph.h: QNN_GPU_PRECISION_USER_PROVIDED is the default).
        input_list: a text file, one line an image: `image:=FILE`.
        output_dir: made if it is not there.
        backend: the library of a processor: libQnnGpu.so, libQnnHtp.so, libQnnCpu.so.
        profiling: "basic" or "detailed".
        config: a JSON file of the backend's own settings.

    Raises:
        InputError: another `profiling`.
    """
    if profiling not in PROFILING:
        raise InputError(f"profiling {profiling!r}: {' or '.join(PROFILING)} is needed")
    words = ["qnn-net-run", "--dlc_path", str(dlc), "--backend", str(backend), "--input_list", str(input_list)]
    words += ["--output_dir", str(output_dir), "--profiling_level", profiling]
    return words if config is None else [*words, "--config_file", str(config)]


def qnn_profile_viewer(log: Name, csv: Name) -> list[str]:
    """Turn the profile that `qnn_net_run` left into a table."""
    return ["qnn-profile-viewer", "--input_log", str(log), "--output", str(csv)]
