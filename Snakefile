"""The whole run as a graph: which notebook, with which parameters, makes which file.

    snakemake --cores all                                        the mini profile
    snakemake --cores all --config profile=configs/folder.yaml data_root=PHOTOGRAPHS

Each rule is one notebook executed by papermill. A rule runs again when its notebook, its inputs, its part of the profile
or the part of the library behind it has changed.
"""

import json

from edgezsad.config import load_profile, save_profile

profile = load_profile(config.get("profile", "configs/mini.yaml"), config.get("data_root"))
RUN = str(profile.run)
CONFIG = save_profile(profile, f"{RUN}/config.yaml").as_posix()
SEEDS = list(profile.seeds)
RUNTIMES = list(profile.evaluation.runtimes)
HTML = "book/_build/html" if profile.profile == "mini" else f"{RUN}/book/html"


def library(*parts):
    """Source files of the given parts of the library."""
    import glob

    return sorted(path for part in parts for path in glob.glob(f"edgezsad/{part}/**/*.py", recursive=True))


def part(*names):
    """The named parts of the profile as text: a rule that depends on them runs again when they change."""
    return json.dumps({name: getattr(profile, name) for name in names}, default=lambda value: value.model_dump(mode="json"))


def executed(name):
    """Where the executed copy of a notebook lies."""
    return f"{RUN}/notebooks/{name}.ipynb"


EXECUTE = "python -m edgezsad.execute {input.notebook} {output.notebook} config={CONFIG}"


rule all:
    default_target: True
    input:
        f"{HTML}/index.html",


rule data:
    message: "data: make or index the source and target sets"
    input:
        library("data"),
        notebook="notebooks/01_data.ipynb",
    output:
        manifests=[f"{RUN}/manifests/{item.name}.csv" for item in (*profile.data.source, *profile.data.targets)],
        result=f"{RUN}/results/data.json",
        notebook=executed("01_data"),
    params:
        part("profile", "data"),
    threads: workflow.cores
    shell:
        EXECUTE + " workers={threads}"


rule features:
    message: "features: the source through the frozen backbone, once for all seeds"
    input:
        library("model"),
        "edgezsad/training/features.py",
        rules.data.output.manifests,
        notebook="notebooks/02_features.ipynb",
    output:
        features=f"{RUN}/features/features.json",
        notebook=executed("02_features"),
    params:
        part("model"),
    threads: 1
    shell:
        EXECUTE


rule train:
    message: "train: seed {wildcards.seed}"
    input:
        library("training"),
        rules.features.output.features,
        notebook="notebooks/03_training.ipynb",
    output:
        checkpoint=f"{RUN}/seeds/{{seed}}/checkpoint.safetensors",
        notebook=executed("03_training-seed{seed}"),
    params:
        part("model", "training"),
    threads: 1
    shell:
        EXECUTE + " seed={wildcards.seed}"


rule export:
    message: "export: every seed to ONNX, FP32 and FP16, with lint and parity"
    input:
        library("export"),
        expand(rules.train.output.checkpoint, seed=SEEDS),
        notebook="notebooks/04_export.ipynb",
    output:
        graphs=expand(f"{RUN}/export/seed{{seed}}-{{precision}}.onnx", seed=SEEDS, precision=["fp32", "fp16"]),
        result=f"{RUN}/results/export.json",
        notebook=executed("04_export"),
    threads: 1
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
        library("scoring"),
        model_files,
        rules.data.output.manifests,
        notebook="notebooks/05_scoring.ipynb",
    output:
        scores=directory(f"{RUN}/scores/{{runtime}}"),
        notebook=executed("05_scoring-{runtime}"),
    params:
        part("evaluation"),
    threads: 1
    shell:
        EXECUTE + " runtime={wildcards.runtime}"


rule benchmarks:
    message: "benchmarks: the table of the six targets"
    input:
        library("metrics"),
        "edgezsad/reported.py",
        executed("05_scoring-pytorch"),
        notebook="notebooks/06_benchmarks.ipynb",
    output:
        result=f"{RUN}/results/benchmarks.json",
        notebook=executed("06_benchmarks"),
    params:
        part("evaluation"),
    threads: 1
    shell:
        EXECUTE


rule efficiency:
    message: "efficiency: the paper's graph, exported, linted and counted"
    input:
        library("model", "export"),
        "edgezsad/reported.py",
        notebook="notebooks/07_efficiency.ipynb",
    output:
        result=f"{RUN}/results/efficiency.json",
        notebook=executed("07_efficiency"),
    params:
        part("paper_graph"),
    threads: 1
    shell:
        EXECUTE


rule jetson_drift:
    message: "drift: FP16 on the host, and what the Jetson needs"
    input:
        library("devices", "metrics"),
        "edgezsad/reported.py",
        [executed(f"05_scoring-{runtime}") for runtime in RUNTIMES if runtime != "qnn-htp-fp16"],
        notebook="notebooks/08_jetson_drift.ipynb",
    output:
        result=f"{RUN}/results/jetson_drift.json",
        notebook=executed("08_jetson_drift"),
    threads: 1
    shell:
        EXECUTE


rule rb5_drift:
    message: "drift: FP16 by the QNN emulator, and what the RB5 needs"
    input:
        library("devices", "metrics"),
        "edgezsad/reported.py",
        [executed(f"05_scoring-{runtime}") for runtime in RUNTIMES if runtime in ("pytorch", "qnn-htp-fp16")],
        notebook="notebooks/09_rb5_drift.ipynb",
    output:
        result=f"{RUN}/results/rb5_drift.json",
        notebook=executed("09_rb5_drift"),
    threads: 1
    shell:
        EXECUTE


rule gallery:
    message: "gallery: hits and misses"
    input:
        library("plots"),
        executed("05_scoring-pytorch"),
        notebook="notebooks/10_gallery.ipynb",
    output:
        notebook=executed("10_gallery"),
    threads: 1
    shell:
        EXECUTE


rule claims:
    message: "claims: every claim and its status"
    input:
        "edgezsad/claims.py",
        "edgezsad/reported.py",
        rules.data.output.result,
        rules.export.output.result,
        rules.benchmarks.output.result,
        rules.efficiency.output.result,
        rules.jetson_drift.output.result,
        rules.rb5_drift.output.result,
        notebook="notebooks/11_claims.ipynb",
    output:
        notebook=executed("11_claims"),
    threads: 1
    shell:
        EXECUTE


rule book:
    message: "book: render {output.page}"
    input:
        "_config.yml",
        "_toc.yml",
        "edgezsad/book.py",
        [path for path in __import__("glob").glob("book/**/*", recursive=True) if "_build" not in path],
        rules.data.output.notebook,
        rules.features.output.notebook,
        expand(rules.train.output.notebook, seed=SEEDS),
        rules.export.output.notebook,
        [executed(f"05_scoring-{runtime}") for runtime in RUNTIMES],
        rules.benchmarks.output.notebook,
        rules.efficiency.output.notebook,
        rules.jetson_drift.output.notebook,
        rules.rb5_drift.output.notebook,
        rules.gallery.output.notebook,
        rules.claims.output.notebook,
    output:
        page=f"{HTML}/index.html",
    params:
        html=HTML,
        notebooks=f"{RUN}/notebooks",
    threads: 1
    shell:
        "python -m edgezsad.book {CONFIG} {params.notebooks} {params.html}"
