"""The run as a graph: which notebook, with which parameters, makes which file.

    snakemake --cores all                                        the mini profile
    snakemake --cores all --config profile=configs/folder.yaml data_root=PHOTOGRAPHS
    snakemake --cores all --config profile=configs/paper.yaml data_root=DATASETS limit=2      a rehearsal, in minutes
    snakemake --workflow-profile profiles/slurm --config profile=configs/paper.yaml data_root=DATASETS gpus=1    a cluster

Each rule executes one notebook with papermill. It runs again when the content of its notebook or of its input files, its
part of the profile, the code behind the notebook (comments and docstrings excepted) or a pinned package has changed:
`--rerun-triggers params input code`, as `make book` does, ignores time stamps. Files of the repository count by their hash
(`contents`), files of the run by the records of `edgezsad.files.verified`.
"""

import json
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from edgezsad.config import save_profile
from edgezsad.data.manifest import fingerprint
from edgezsad.execute import code_version
from edgezsad.files import sha256_of_bytes, sha256_of_file, start_records
from edgezsad.run import profile_of_graph

profile = profile_of_graph(config.get("profile", "configs/mini.yaml"), config.get("data_root"), config.get("limit"))
SETS = (*profile.data.source, *profile.data.targets)
FOLDERS = {item.name: profile.data.folder(item) for item in SETS}
RUN = profile.run.as_posix()
start_records(RUN)
CONFIG = save_profile(profile, f"{RUN}/config.yaml").as_posix()
SEEDS = list(profile.seeds)
RUNTIMES = list(profile.evaluation.runtimes)
GPUS = str(config.get("gpus", 0))
if GPUS not in ("0", "1"):
    raise WorkflowError(f"--config gpus={GPUS}: expected 0 or 1; for more, see torchrun on the page on clusters")
NEEDS = yaml.safe_load(Path("profiles/resources.yaml").read_text(encoding="utf-8"))
HTML = "book/_build/html" if profile.profile == "mini" else f"{RUN}/book/html"
TUNED = bool(profile.training.tuned_stages)


def part(*names):
    """Return the named parts of the profile ("model.size") as text: a rule runs again when they change."""

    def value(name):
        found = profile
        for step in name.split("."):
            found = getattr(found, step)
        return found

    return json.dumps({name: value(name) for name in names}, default=lambda item: item.model_dump(mode="json"))


def needs(rule):
    """Return what a rule asks of a machine (profiles/resources.yaml); without `gpu` where the run has none."""
    found = NEEDS["default"] | NEEDS["mini"].get(rule, {})
    if profile.profile == "paper" and not profile.rehearsal:
        found |= NEEDS["paper"].get(rule, {})
    elif profile.profile == "folder" and not profile.rehearsal:
        found |= {name: factor * found[name] for name, factor in NEEDS["folder"].items()}
    return {name: value for name, value in found.items() if name != "gpu" or GPUS == "1"}


def resources(rule):
    """Return the `resources:` of a rule; memory and time grow with each attempt."""
    asked = {name: int(value) for name, value in needs(rule).items() if name != "threads"}
    growing = {name: lambda wildcards, attempt, value=asked[name]: value * attempt for name in ("mem_mb", "runtime")}
    return asked | growing


def executed(name):
    return f"{RUN}/notebooks/{name}.ipynb"


def result(name):
    return f"{RUN}/results/{name}.json"


def recorded(*names):
    return [f"benchmarks/results/{name}.json" for name in names]


def scores(*runtimes):
    """Score files of these runtimes and their records; the emulator scores one seed."""
    emulated = [profile.evaluation.emulator.seed] if profile.evaluation.emulator else []
    return [
        f"{RUN}/scores/{runtime}/seed{seed}/{item.name}.{ending}"
        for runtime in runtimes
        if runtime in RUNTIMES
        for seed in (emulated if runtime == "qnn-htp-fp16" else SEEDS)
        for item in profile.data.targets
        for ending in ("npz", "json")
    ]


def contents(files):
    """Return a hash of the files that no rule makes: a rule runs again when their content changes."""
    made = f"{RUN}/"
    names = [name for name in files if not name.startswith(made) and name not in GENERATED and Path(name).is_file()]
    return sha256_of_bytes("".join(f"{name} {sha256_of_file(name)}\n" for name in names).encode())[:16]


def flat(names):
    """Return the names in nested lists."""
    return [names] if isinstance(names, str) else [name for each in names for name in flat(each)]


def board_files(name):
    """Score files and latency record ingested from a board, if any."""
    return sorted(path.as_posix() for path in Path(RUN, "boards", name).rglob("*") if path.is_file())


MANIFESTS = [f"{RUN}/manifests/{item.name}.csv" for item in SETS]
DERIVED = [
    f"{RUN}/manifests/{item.name}.derived.{ending}"
    for item in profile.data.source
    if item.derive
    for ending in ("csv", "json")
]
# A generated set ends with this file, so a deleted set is generated again. `update` keeps it until then: a folder without
# it could be anybody's and is not replaced.
GENERATED = [update((FOLDERS[item.name] / "generated.json").as_posix()) for item in SETS if item.generated]
# A trained backbone has no cached features.
FEATURES = [
    f"{RUN}/features/{name}"
    for name in ("features.json", "mask_fraction.npy", *(f"stride{stride:02d}.npy" for stride in profile.model.strides))
    if not TUNED
]
SEED = f"{RUN}/seeds/{{seed}}"
CHECKPOINTS = expand(f"{SEED}/checkpoint.safetensors", seed=SEEDS)
METRICS = expand(f"{SEED}/metrics.json", seed=SEEDS)
# The shipped detector's recipe, where it is compared: the same seeds and score files in a folder of their own.
COMPARED = f"{RUN}/shipped/" if profile.shipped else None
SHIPPED_SEED = [f"{COMPARED}seeds/{{seed}}/{name}" for name in ("checkpoint.safetensors", "metrics.json") if COMPARED]
SHIPPED_SEEDS = expand(SHIPPED_SEED, seed=SEEDS)
SHIPPED_SCORES = [name.replace(f"{RUN}/", COMPARED, 1) for name in scores("pytorch") if COMPARED]
GRAPHS = expand(f"{RUN}/export/seed{{seed}}-{{precision}}.onnx", seed=SEEDS, precision=["fp32", "fp16", "int8"])
OPERATORS = sorted(path.as_posix() for path in Path("edgezsad/export/operators").glob("*.*"))
REPORTED = "edgezsad/claims/reported.yaml"
SHIPPED = [f"edgezsad/checkpoints/{name}" for name in ("photographs.onnx", "photographs.safetensors", "references.onnx")]

# Rule: notebook, input files, output files, parts of the profile; optionally `arguments` of the notebook, `copies` (what
# a wildcard adds to the executed notebook's name) and `ignore` (code that does not count: only the presentation).
PRESENTATION = ("edgezsad/claims", "edgezsad/show", "edgezsad/execute.py", "edgezsad/cli.py")
# Generated images reach the later steps through the manifests, which carry their hashes.
AFTER_DATA = (*PRESENTATION, "synthetic")
JOBS = {
    "data": {
        "notebook": "01_data",
        "output": [*MANIFESTS, *DERIVED, *GENERATED, result("data")],
        "params": [
            part("profile", "data", "rehearsal"),
            # New, changed or deleted photographs change the manifest.
            [fingerprint(item, FOLDERS[item.name]) for item in SETS if not item.generated],
        ],
        "ignore": PRESENTATION,
    },
    "features": {
        "notebook": "02_features",
        "input": [MANIFESTS, DERIVED],
        "output": FEATURES,
        "params": part("model.backbone", "model.weights", "model.size", "model.strides", "training.tuned_stages"),
        "ignore": AFTER_DATA,
    },
    "train": {
        "notebook": "03_training",
        "input": [MANIFESTS, DERIVED] if TUNED else FEATURES,
        "output": [f"{SEED}/checkpoint.safetensors", f"{SEED}/metrics.json", f"{SEED}/curve.csv", *SHIPPED_SEED],
        "params": part("model", "training", "shipped"),
        "arguments": lambda wildcards: f"seed={wildcards.seed}",
        "copies": "-seed{seed}",
        "ignore": AFTER_DATA,
    },
    "recipe": {
        "notebook": "13_recipe",
        "input": [METRICS, expand(f"{SEED}/curve.csv", seed=SEEDS), recorded("ablations")],
        "output": result("training"),
    },
    "export": {
        "notebook": "04_export",
        "input": [OPERATORS, CHECKPOINTS, MANIFESTS],
        "output": [*GRAPHS, result("export"), result("sensitivity")],
        "ignore": AFTER_DATA,
    },
    **{
        f"score_{runtime.replace('-', '_')}": {
            "notebook": "05_scoring",
            "input": [[CHECKPOINTS, SHIPPED_SEEDS] if runtime == "pytorch" else GRAPHS, MANIFESTS],
            "output": scores(runtime) + SHIPPED_SCORES * (runtime == "pytorch"),
            "params": part("evaluation.emulator") if runtime == "qnn-htp-fp16" else "",
            "arguments": f"runtime={runtime}",
            "copies": f"-{runtime}",
            "ignore": AFTER_DATA,
            "needs": "score",
        }
        for runtime in RUNTIMES
    },
    "benchmarks": {
        "notebook": "06_benchmarks",
        "input": [scores("pytorch"), METRICS, SHIPPED_SCORES, SHIPPED_SEEDS, REPORTED],
        "output": result("benchmarks"),
        "params": part("evaluation.pixels"),
    },
    "efficiency": {
        "notebook": "07_efficiency",
        "input": [OPERATORS, recorded("latency"), REPORTED],
        "output": [result("efficiency"), result("latency")],
        "params": part("paper_graph"),
    },
    "jetson_drift": {
        "notebook": "08_jetson_drift",
        "input": [
            scores(*(name for name in RUNTIMES if name != "qnn-htp-fp16")),
            GRAPHS,
            MANIFESTS,
            board_files("jetson"),
            REPORTED,
        ],
        "output": result("jetson_drift"),
        "params": part("evaluation.pixels"),
    },
    "rb5_drift": {
        "notebook": "09_rb5_drift",
        "input": [scores("pytorch", "qnn-htp-fp16"), GRAPHS, MANIFESTS, board_files("rb5"), REPORTED],
        "output": result("rb5_drift"),
        "params": part("evaluation.pixels"),
    },
    "int8": {
        "notebook": "14_int8",
        "input": [
            scores("pytorch", "onnx-fp16", "onnx-int8"),
            [result(name) for name in ("sensitivity", "export", "efficiency", "latency")],
        ],
        "output": result("int8"),
    },
    "gallery": {
        "notebook": "10_gallery",
        "input": [MANIFESTS, SHIPPED],
        "output": [],
    },
    "speed": {
        "notebook": "12_speed",
        "input": recorded("metrics", "loading", "duplicates", "training_step"),
        "output": result("speed"),
        "params": part("evaluation.pixels"),
    },
    "photographs": {
        "notebook": "15_photographs",
        # The shipped checkpoint scores the photographs that are shown, where they are given.
        "input": [recorded("photographs"), SHIPPED],
        "output": result("photographs"),
    },
    "references": {
        "notebook": "16_references",
        "input": [MANIFESTS, SHIPPED, [name for name in recorded("references") if Path(name).is_file()]],
        "output": result("references"),
    },
    "claims": {
        "notebook": "11_claims",
        "input": [
            REPORTED,
            "edgezsad/claims/claims.yaml",
            [
                result(name)
                for name in (
                    *("data", "export", "benchmarks", "efficiency", "latency", "jetson_drift", "rb5_drift"),
                    *("training", "int8", "references"),
                )
            ],
        ],
        "output": result("claims"),
    },
}
PAGES = [
    executed(job["notebook"] + suffix)
    for job in JOBS.values()
    for suffix in (expand(job["copies"], seed=SEEDS) if "copies" in job else [""])
]
# The prose shows numbers from recorded benchmarks and profiles, and the reference every docstring.
BOOK = ["_config.yml", "_toc.yml", *SHIPPED] + sorted(
    path.as_posix()
    for folder, pattern in {"benchmarks/results": "*", "configs": "*", "edgezsad": "*.py", "book": "*", ".": "edgezsad/claims/*.yaml"}.items()
    for path in Path(folder).rglob(pattern)
    if path.is_file() and not {"_build", "__pycache__"} & {*path.parts}
)
# A deleted result is made again, not only the pages.
RESULTS = [name for job in JOBS.values() for name in flat(job["output"]) if name.startswith(f"{RUN}/results/")]


rule all:
    default_target: True
    input:
        f"{HTML}/index.html",
        RESULTS,
        scores(*RUNTIMES),


for name, job in JOBS.items():

    rule:
        name: name
        message: f"{name}: {job['notebook']}" + job.get("copies", "").replace("{", "{wildcards.")
        input:
            "requirements.lock",
            *job.get("input", []),
            notebook=f"notebooks/{job['notebook']}.ipynb",
        output:
            files=job["output"],
            notebook=executed(job["notebook"] + job.get("copies", "")),
        params:
            job.get("params", ""),
            contents=contents(["requirements.lock", f"notebooks/{job['notebook']}.ipynb", *flat(job.get("input", []))]),
            code=code_version(f"notebooks/{job['notebook']}.ipynb", job.get("ignore", ())),
            arguments=job.get("arguments", ""),
        threads: needs(job.get("needs", name))["threads"]
        resources:
            **resources(job.get("needs", name)),
        shell:
            # Evaluated when the job runs: it must not use the loop's variables.
            "python -m edgezsad.execute {input.notebook:q} {output.notebook:q} config={CONFIG:q} {params.arguments}"


rule book:
    message: "book: render {output.page}"
    input:
        BOOK,
        notebooks=PAGES,
    output:
        page=f"{HTML}/index.html",
        record=f"{RUN}/book.json",
    params:
        part("title"),
        contents=contents(BOOK),
        html=HTML,
    threads: needs("book")["threads"]
    resources:
        **resources("book"),
    shell:
        "python -m book._ext.build {CONFIG:q} {params.html:q} {input.notebooks:q}"
