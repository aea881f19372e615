"""The whole run as a graph: which notebook, with which parameters, makes which file.

    snakemake --cores all                                        the mini profile
    snakemake --cores all --config profile=configs/folder.yaml data_root=PHOTOGRAPHS
    snakemake --cores all --config profile=configs/paper.yaml data_root=DATASETS limit=2      a rehearsal, in minutes
    snakemake --workflow-profile profiles/slurm --config profile=configs/paper.yaml data_root=DATASETS gpus=1    a cluster

Each rule is one notebook executed by papermill. A rule runs again when its notebook, its inputs, its part of the profile,
a source file that the notebook imports (directly or not) or a pinned package has changed.
"""

import json
import os
from pathlib import Path

from edgezsad.config import load_profile, save_profile
from edgezsad.data.layouts import fingerprint
from edgezsad.dependencies import notebook_library
from edgezsad.config import rehearse
from edgezsad.resources import asked, gpu_count, needs_of

# The environment variable is for folders whose names Snakemake's own command line cannot take.
profile = load_profile(
    config.get("profile", "configs/mini.yaml"), os.environ.get("EDGEZSAD_DATA") or config.get("data_root")
)
if limit := os.environ.get("EDGEZSAD_LIMIT") or config.get("limit"):
    profile = rehearse(profile, int(limit))
SETS = (*profile.data.source, *profile.data.targets)
FOLDERS = {item.name: profile.data.folder(item) for item in SETS}
RUN = profile.run.as_posix()
CONFIG = save_profile(profile, f"{RUN}/config.yaml").as_posix()
SEEDS = list(profile.seeds)
RUNTIMES = list(profile.evaluation.runtimes)
PRECISIONS = ["fp32", "fp16", "int8"]
GPUS = gpu_count(config.get("gpus", 0))
NEEDS = needs_of(profile)
HTML = "book/_build/html" if profile.profile == "mini" else f"{RUN}/book/html"


def needs(notebook):
    """The source files behind a notebook, what records how it was made, and the pins: what every rule depends on."""
    always = ["edgezsad/execute.py", "edgezsad/provenance.py", "requirements.lock"]
    return sorted({*notebook_library(f"notebooks/{notebook}.ipynb"), *[name for name in always if Path(name).exists()]})


# The lists that graphs are held against are data, which no notebook imports.
OPERATORS = sorted(path.as_posix() for path in Path("edgezsad/export/operators").glob("*.*"))


def part(*names):
    """The named parts of the profile, "model.size" style, as text: a rule runs again when its parts change."""

    def value(name):
        found = profile
        for step in name.split("."):
            found = getattr(found, step)
        return found

    return json.dumps({name: value(name) for name in names}, default=lambda item: item.model_dump(mode="json"))


def executed(name):
    """Where the executed copy of a notebook lies."""
    return f"{RUN}/notebooks/{name}.ipynb"


def scores(runtime):
    """The folder of a runtime's score files."""
    return f"{RUN}/scores/{runtime}"


def board_files(name):
    """What was ingested from a board: nothing, or its score files and latency record."""
    return sorted(path.as_posix() for path in Path(RUN, "boards", name).rglob("*") if path.is_file())


EXECUTE = "python -m edgezsad.execute {input.notebook:q} {output.notebook:q} config={CONFIG:q}"


rule all:
    default_target: True
    input:
        f"{HTML}/index.html",


rule data:
    message: "data: make or index the source and target sets"
    input:
        needs("01_data"),
        notebook="notebooks/01_data.ipynb",
    output:
        manifests=[f"{RUN}/manifests/{item.name}.csv" for item in SETS],
        derived=[
            f"{RUN}/manifests/{item.name}.derived.{ending}"
            for item in profile.data.source
            if item.derive
            for ending in ("csv", "json")
        ],
        # Generating a set ends with this file, so a deleted set is made again. `update` leaves it in place until then: a set
        # without it could be anybody's, and is not replaced.
        generated=[update((FOLDERS[item.name] / "generated.json").as_posix()) for item in SETS if item.generated],
        result=f"{RUN}/results/data.json",
        notebook=executed("01_data"),
    params:
        part("profile", "data", "rehearsal"),
        # Photographs that come or go, or change, make a new manifest.
        [fingerprint(FOLDERS[item.name]) for item in SETS if not item.generated],
    threads: NEEDS["data"].threads
    resources:
        **asked(NEEDS["data"], GPUS),
    shell:
        EXECUTE + " workers={threads}"


rule features:
    message: "features: the source through the frozen backbone, once for all seeds"
    input:
        needs("02_features"),
        rules.data.output.manifests,
        rules.data.output.derived,
        notebook="notebooks/02_features.ipynb",
    output:
        # A backbone that learns has no features to keep.
        cache=[]
        if profile.training.tuned_stages
        else [
            f"{RUN}/features/{name}"
            for name in ("features.json", "coverage.npy", *(f"stride{s:02d}.npy" for s in profile.model.strides))
        ],
        notebook=executed("02_features"),
    params:
        part("model.backbone", "model.weights", "model.size", "model.strides", "training.tuned_stages"),
    threads: NEEDS["features"].threads
    resources:
        **asked(NEEDS["features"], GPUS),
    shell:
        EXECUTE


rule train:
    message: "train: seed {wildcards.seed}"
    input:
        needs("03_training"),
        rules.features.output.cache,
        rules.data.output.manifests if profile.training.tuned_stages else [],
        rules.data.output.derived if profile.training.tuned_stages else [],
        notebook="notebooks/03_training.ipynb",
    output:
        checkpoint=f"{RUN}/seeds/{{seed}}/checkpoint.safetensors",
        metrics=f"{RUN}/seeds/{{seed}}/metrics.json",
        curve=f"{RUN}/seeds/{{seed}}/curve.csv",
        notebook=executed("03_training-seed{seed}"),
    params:
        part("model", "training"),
    threads: NEEDS["train"].threads
    resources:
        **asked(NEEDS["train"], GPUS),
    shell:
        EXECUTE + " seed={wildcards.seed}"


rule recipe:
    message: "recipe: the three seeds side by side, and the recorded ablations"
    input:
        needs("13_recipe"),
        expand(rules.train.output.metrics, seed=SEEDS),
        expand(rules.train.output.curve, seed=SEEDS),
        "benchmarks/results/ablations.json",
        notebook="notebooks/13_recipe.ipynb",
    output:
        result=f"{RUN}/results/training.json",
        notebook=executed("13_recipe"),
    threads: NEEDS["recipe"].threads
    resources:
        **asked(NEEDS["recipe"], GPUS),
    shell:
        EXECUTE


rule export:
    message: "export: every seed to ONNX, FP32, FP16 and INT8, with lint and parity"
    input:
        needs("04_export"),
        OPERATORS,
        expand(rules.train.output.checkpoint, seed=SEEDS),
        rules.data.output.manifests,
        notebook="notebooks/04_export.ipynb",
    output:
        graphs=expand(f"{RUN}/export/seed{{seed}}-{{precision}}.onnx", seed=SEEDS, precision=PRECISIONS),
        result=f"{RUN}/results/export.json",
        sensitivity=f"{RUN}/results/sensitivity.json",
        notebook=executed("04_export"),
    threads: NEEDS["export"].threads
    resources:
        **asked(NEEDS["export"], GPUS),
    shell:
        EXECUTE


def model_files(wildcards):
    """What a runtime scores with."""
    if wildcards.runtime == "pytorch":
        return expand(rules.train.output.checkpoint, seed=SEEDS)
    return rules.export.output.graphs


rule score:
    message: "score: all targets by {wildcards.runtime}"
    input:
        needs("05_scoring"),
        model_files,
        rules.data.output.manifests,
        notebook="notebooks/05_scoring.ipynb",
    output:
        scores=directory(scores("{runtime}")),
        notebook=executed("05_scoring-{runtime}"),
    params:
        lambda wildcards: part("evaluation.emulator") if wildcards.runtime == "qnn-htp-fp16" else "",
    threads: NEEDS["score"].threads
    resources:
        **asked(NEEDS["score"], GPUS),
    shell:
        EXECUTE + " runtime={wildcards.runtime}"


rule benchmarks:
    message: "benchmarks: the table of the targets"
    input:
        needs("06_benchmarks"),
        scores("pytorch"),
        notebook="notebooks/06_benchmarks.ipynb",
    output:
        result=f"{RUN}/results/benchmarks.json",
        notebook=executed("06_benchmarks"),
    params:
        part("evaluation.pixels"),
    threads: NEEDS["benchmarks"].threads
    resources:
        **asked(NEEDS["benchmarks"], GPUS),
    shell:
        EXECUTE


rule efficiency:
    message: "efficiency: the paper's graph, exported, linted and counted"
    input:
        needs("07_efficiency"),
        OPERATORS,
        "benchmarks/results/latency.json",
        notebook="notebooks/07_efficiency.ipynb",
    output:
        result=f"{RUN}/results/efficiency.json",
        latency=f"{RUN}/results/latency.json",
        notebook=executed("07_efficiency"),
    params:
        part("paper_graph"),
    threads: NEEDS["efficiency"].threads
    resources:
        **asked(NEEDS["efficiency"], GPUS),
    shell:
        EXECUTE


rule jetson_drift:
    message: "drift: FP16 on the host, and what the Jetson needs"
    input:
        needs("08_jetson_drift"),
        [scores(runtime) for runtime in RUNTIMES if runtime != "qnn-htp-fp16"],
        rules.export.output.graphs,
        rules.data.output.manifests,
        board_files("jetson"),
        notebook="notebooks/08_jetson_drift.ipynb",
    output:
        result=f"{RUN}/results/jetson_drift.json",
        notebook=executed("08_jetson_drift"),
    params:
        part("evaluation.pixels"),
    threads: NEEDS["jetson_drift"].threads
    resources:
        **asked(NEEDS["jetson_drift"], GPUS),
    shell:
        EXECUTE


rule rb5_drift:
    message: "drift: FP16 by the QNN emulator, and what the RB5 needs"
    input:
        needs("09_rb5_drift"),
        [scores(runtime) for runtime in RUNTIMES if runtime in ("pytorch", "qnn-htp-fp16")],
        rules.export.output.graphs,
        rules.data.output.manifests,
        board_files("rb5"),
        notebook="notebooks/09_rb5_drift.ipynb",
    output:
        result=f"{RUN}/results/rb5_drift.json",
        notebook=executed("09_rb5_drift"),
    params:
        part("evaluation.pixels"),
    threads: NEEDS["rb5_drift"].threads
    resources:
        **asked(NEEDS["rb5_drift"], GPUS),
    shell:
        EXECUTE


rule int8:
    message: "int8: drift, sizes, and which layers cost accuracy"
    input:
        needs("14_int8"),
        [scores(runtime) for runtime in RUNTIMES if runtime in ("pytorch", "onnx-fp16", "onnx-int8")],
        rules.export.output.sensitivity,
        rules.export.output.result,
        rules.efficiency.output.result,
        rules.efficiency.output.latency,
        notebook="notebooks/14_int8.ipynb",
    output:
        result=f"{RUN}/results/int8.json",
        notebook=executed("14_int8"),
    threads: NEEDS["int8"].threads
    resources:
        **asked(NEEDS["int8"], GPUS),
    shell:
        EXECUTE


rule gallery:
    message: "gallery: hits and misses"
    input:
        needs("10_gallery"),
        scores("pytorch"),
        expand(rules.train.output.metrics, seed=SEEDS),
        notebook="notebooks/10_gallery.ipynb",
    output:
        notebook=executed("10_gallery"),
    params:
        seed=SEEDS[0],
    threads: NEEDS["gallery"].threads
    resources:
        **asked(NEEDS["gallery"], GPUS),
    shell:
        EXECUTE + " seed={params.seed}"


rule speed:
    message: "speed: the recorded benchmarks"
    input:
        needs("12_speed"),
        [f"benchmarks/results/{name}.json" for name in ("metrics", "loading", "leak", "forward", "training_step")],
        notebook="notebooks/12_speed.ipynb",
    output:
        result=f"{RUN}/results/speed.json",
        notebook=executed("12_speed"),
    params:
        part("evaluation.pixels"),
    threads: NEEDS["speed"].threads
    resources:
        **asked(NEEDS["speed"], GPUS),
    shell:
        EXECUTE


rule photographs:
    message: "photographs: the recorded runs on sets left out"
    input:
        needs("15_photographs"),
        expand("benchmarks/results/{name}.json", name=["photographs", "cues", "photographs_ablations"]),
        # What scores the photographs that are shown, where they are given.
        "edgezsad/checkpoints/photographs.onnx",
        notebook="notebooks/15_photographs.ipynb",
    output:
        result=f"{RUN}/results/photographs.json",
        notebook=executed("15_photographs"),
    threads: NEEDS["photographs"].threads
    resources:
        **asked(NEEDS["photographs"], GPUS),
    shell:
        EXECUTE


rule claims:
    message: "claims: every claim and its status"
    input:
        needs("11_claims"),
        rules.data.output.result,
        rules.export.output.result,
        rules.benchmarks.output.result,
        rules.efficiency.output.result,
        rules.efficiency.output.latency,
        rules.jetson_drift.output.result,
        rules.rb5_drift.output.result,
        rules.int8.output.result,
        notebook="notebooks/11_claims.ipynb",
    output:
        result=f"{RUN}/results/claims.json",
        notebook=executed("11_claims"),
    threads: NEEDS["claims"].threads
    resources:
        **asked(NEEDS["claims"], GPUS),
    shell:
        EXECUTE


rule book:
    message: "book: render {output.page}"
    input:
        "_config.yml",
        "_toc.yml",
        # The pages' numbers come from recorded benchmarks too, and the reference from every docstring.
        sorted(path.as_posix() for path in Path("benchmarks/results").glob("*.json")),
        sorted(path.as_posix() for path in Path("edgezsad").rglob("*.py")),
        [path.as_posix() for path in Path("book").rglob("*") if path.is_file() and "_build" not in path.parts],
        # The page "Try it" carries the model.
        "edgezsad/checkpoints/photographs.onnx",
        notebooks=[
            rules.data.output.notebook,
            rules.features.output.notebook,
            *expand(rules.train.output.notebook, seed=SEEDS),
            rules.recipe.output.notebook,
            rules.export.output.notebook,
            *[executed(f"05_scoring-{runtime}") for runtime in RUNTIMES],
            rules.benchmarks.output.notebook,
            rules.efficiency.output.notebook,
            rules.jetson_drift.output.notebook,
            rules.rb5_drift.output.notebook,
            rules.int8.output.notebook,
            rules.gallery.output.notebook,
            rules.speed.output.notebook,
            rules.photographs.output.notebook,
            rules.claims.output.notebook,
        ],
    output:
        page=f"{HTML}/index.html",
    params:
        part("title"),
        html=HTML,
    threads: NEEDS["book"].threads
    resources:
        **asked(NEEDS["book"], GPUS),
    shell:
        "python -m edgezsad.book {CONFIG:q} {params.html:q} {input.notebooks:q}"
