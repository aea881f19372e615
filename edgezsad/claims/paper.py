"""What the paper states, row by row, and what has to be complete before a number of ours may bear it out."""

from collections.abc import Callable

from edgezsad import reported
from edgezsad.claims.claim import ANY, CPU, Claim
from edgezsad.claims.readers import Value, listed, not_as_published, number, result, results, test_images
from edgezsad.devices.boards import BOARDS
from edgezsad.files import read_json
from edgezsad.run import Run

_TITLES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "pixel_aupro": "PRO"}
_SHORT = {"jetson": "Jetson", "rb5": "RB5"}

COST = ("07_efficiency", "paper_graph")


def _targets(run: Run, benchmark: str) -> list[str]:
    """Targets of the profile that stand for a benchmark."""
    return [item.name for item in run.profile.data.targets if item.stands_for == benchmark]


def _seeds(run: Run) -> int:
    """Seeds that scored every target."""
    rows = results(run, "06_benchmarks", "seeds")
    wanted = {item.name for item in run.profile.data.targets}
    seeds = {row["seed"] for row in rows}
    return sum({row["target"] for row in rows if row["seed"] == seed} >= wanted for seed in seeds)


def _other_model(run: Run) -> str:
    """How this run's model differs from the paper's in what is published of it; empty when it does not."""
    model, papers = run.profile.model, run.profile.paper_graph
    if (model.backbone, model.size) == (papers.backbone, papers.size):
        return ""
    return f"another model: {model.backbone} at {model.size} px, not {papers.backbone} at {papers.size} px"


def _incomplete(benchmark: str, metric: str) -> Callable[[Run], str]:
    """What an accuracy lacks: images that the published set has, categories that its mean leaves out, seeds."""

    def missing(run: Run) -> str:
        if other := _other_model(run):
            return other
        names = _targets(run, benchmark)
        if wrong := not_as_published(run, names):
            return wrong
        undefined = results(run, "06_benchmarks", "undefined")
        if left_out := [category for name in names for category in undefined[name].get(metric, [])]:
            return f"the mean leaves out {listed(left_out)}"
        seeds = _seeds(run)
        return "" if seeds >= reported.RUNS else f"{seeds} of {reported.RUNS} seeds"

    return missing


def _accuracy(benchmark: str, metric: str, value: float) -> Claim:
    return Claim(
        f"{benchmark} {_TITLES[metric]}",
        f"{_TITLES[metric][0].upper()}{_TITLES[metric][1:]} on {benchmark}, target unseen, mean of three seeds",
        "paper",
        value,
        "equals",
        1.0,
        "%",
        ("paper",),
        result("06_benchmarks", "by_benchmark", benchmark, metric, "mean", unless=_incomplete(benchmark, metric)),
        f"the paper profile: Real-IAD, {benchmark} and a GPU",
        "06_benchmarks",
    )


def _steps(run: Run) -> float | str:
    """Steps of every seed; they must be the same."""
    remedy = "run notebook 03_training for this seed"
    steps = {read_json(run.seed_folder(seed) / "metrics.json", remedy)["steps"] for seed in run.profile.seeds}
    return steps.pop() if len(steps) == 1 else f"incomplete: seeds of {', '.join(map(str, sorted(steps)))} steps"


def _benchmarks_scored(run: Run) -> float:
    """Benchmarks with a defined image AUROC whose sets are as published."""
    stands = {item.stands_for: item.name for item in run.profile.data.targets if item.stands_for}
    found = results(run, "06_benchmarks", "by_benchmark")
    return sum(
        found.get(benchmark, {}).get("image_auroc", {}).get("mean") is not None and not not_as_published(run, [name])
        for benchmark, name in stands.items()
    )


def _board_drift(name: str, page: str) -> Claim:
    """Drift on a board: the claim holds if every benchmark, whole, passes the test of equivalence."""
    board, title = BOARDS[name], _SHORT[name]

    def value(run: Run) -> float | str | None:
        below = number(run, page, "board", "drift_points_below")
        found = results(run, page, "board")
        if found["status"] == "not run":
            return None
        if other := _other_model(run):
            return f"incomplete: {other}"
        if found["status"] == "suspicious":
            return "suspicious: a drift of exactly zero, as a silent fallback to the host gives; run the board again"
        if found["missing"]:
            return f"incomplete: needs the board's scores of {listed(found['missing'])}"
        if len(run.profile.data.targets) < reported.BENCHMARKS:
            return f"incomplete: {len(run.profile.data.targets)} of {reported.BENCHMARKS} benchmarks"
        whole = test_images(run)
        if cut := [row["target"] for row in found["rows"] if row["images"] < whole.get(row["target"], 0)]:
            return f"incomplete: the board scored only some images of {listed(cut)}"
        if wrong := not_as_published(run, [item.name for item in run.profile.data.targets]):
            return f"incomplete: {wrong}"
        verdicts = found["verdicts"]
        # A set too small to tell bears a claim neither out nor down.
        if below is None or (verdicts["undecided"] and not verdicts["not equivalent"]):
            more = f": needs about {found['images_needed']:,} images of a set" if found["images_needed"] else ""
            return f"undecided, sets are too small{more}"
        return below

    return Claim(
        f"{title} drift",
        f"Image-AUROC drift on all six benchmarks, {board.reported.runtime}: each lies below the bound by a test of "
        "equivalence at 5% (ours: the farthest end of the 90% intervals, over the seeds that it scored)",
        "paper",
        reported.DRIFT_POINTS,
        "at most",
        0.0,
        "points",
        ("paper",),
        value,
        f"{board.reported.needs} and the paper's data sets",
        page,
    )


def _board_latency(name: str, page: str) -> Claim:
    """Time of an image on a board."""
    board, title = BOARDS[name], _SHORT[name]
    return Claim(
        f"{title} latency",
        f"{board.reported.runtime} on {board.reported.device}, median time of an image",
        "paper",
        board.reported.milliseconds,
        "at most",
        0.05 * board.reported.milliseconds,
        "ms",
        # A mini model's time is no repetition of the paper's.
        ("paper",),
        result(page, "board_latency", "median_ms", unless=_other_model),
        board.reported.needs,
        page,
    )


def _recipe(name: str, statement: str, value: float, unit: str, read: Value, needs: str, page: str) -> Claim:
    """A number of the experiment's own: exact, and to be had in the paper profile alone."""
    return Claim(name, statement, "paper", value, "equals", 0.0, unit, ("paper",), read, needs, page)


PAPER: tuple[Claim, ...] = (
    *(
        _accuracy(benchmark, metric, value)
        for benchmark, row in reported.EDGEZSAD.items()
        for metric, value in (
            ("image_auroc", row.image_auroc),
            ("pixel_auroc", row.pixel_auroc),
            ("pixel_aupro", row.pixel_pro),
        )
        if value is not None
    ),
    _recipe(
        "benchmarks",
        "Benchmarks that one checkpoint of each seed is tested on, all unseen (which four beside MVTec-AD and VisA is "
        "our choice)",
        reported.BENCHMARKS,
        "benchmarks",
        _benchmarks_scored,
        "the paper profile: Real-IAD and six data sets",
        "06_benchmarks",
    ),
    _recipe(
        "runs",
        "Independent runs behind each number",
        reported.RUNS,
        "seeds",
        _seeds,
        "the paper profile: Real-IAD and a GPU",
        "06_benchmarks",
    ),
    _recipe(
        "steps",
        "Steps of training on Real-IAD-DR",
        reported.SOURCE_STEPS,
        "steps",
        _steps,
        "the paper profile: Real-IAD and a GPU",
        "13_recipe",
    ),
    _recipe(
        "source images",
        "Images derived from Real-IAD (how is our reading; the number is asked for, so this says that the whole set "
        "yielded as many)",
        reported.SOURCE_IMAGES,
        "images",
        result(
            "01_data",
            "derived_images",
            unless=lambda run: not_as_published(run, [item.name for item in run.profile.data.source]),
        ),
        "the paper profile: Real-IAD",
        "01_data",
    ),
    Claim(
        "GFLOPs",
        "The paper's graph costs 53.77 GFLOPs at 512 x 512 (the backbone alone, a multiply-add as two operations)",
        "paper",
        reported.GFLOPS,
        "equals",
        0.01,
        "GFLOPs",
        ANY,
        result(*COST, "backbone_gflops"),
        CPU,
        "07_efficiency",
    ),
    Claim(
        "GFLOPs with readout",
        "The same with our readout, should the published figure count the paper's",
        "paper",
        reported.GFLOPS,
        "equals",
        0.01,
        "GFLOPs",
        ANY,
        result(*COST, "detector_gflops"),
        CPU,
        "07_efficiency",
    ),
    Claim(
        "parameters",
        "The backbone TinyViT-21M has the 21 million parameters of its name (without its classifier)",
        "paper",
        reported.BACKBONE_MILLIONS,
        "equals",
        0.5,
        "million",
        ANY,
        result(*COST, "backbone_parameters_millions"),
        CPU,
        "07_efficiency",
    ),
    Claim(
        "ViT-L parameters",
        "The ViT-L backbones of other methods have about 300 million (recorded count of the image tower of "
        "CLIP ViT-L/14)",
        "paper",
        reported.VIT_L_PARAMETERS_MILLIONS,
        "equals",
        10.0,
        "million",
        ANY,
        result("07_efficiency", "tower_parameters_millions", name="latency"),
        CPU,
        "07_efficiency",
    ),
    Claim(
        "DINOv2-L on the RB5",
        "Operators of DINOv2-L's graph that QNN's GPU backend rejects: the Resize of its embedding stage",
        "paper",
        1,
        "at least",
        0.0,
        "operator",
        (),
        lambda run: None,
        f"{reported.RB5.needs} and DINOv2-L's weights; QNN's own list has a cubic Resize on the GPU since 2.46 only",
        "07_efficiency",
    ),
    _board_latency("jetson", "08_jetson_drift"),
    _board_latency("rb5", "09_rb5_drift"),
    _board_drift("jetson", "08_jetson_drift"),
    _board_drift("rb5", "09_rb5_drift"),
)
