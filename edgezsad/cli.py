"""The command line: invalid input ends with exit code 2, a failed check with 1, both with one line of error."""

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgezsad import __version__
from edgezsad.config import DataSet
from edgezsad.errors import CheckError, EdgeZSADError, InputError, printable, system_error
from edgezsad.files import check_may_be_written, write_csv
from edgezsad.run import open_run

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
claims_app = typer.Typer(help="The claims table.", no_args_is_help=True)
data_app = typer.Typer(help="Check and index copies of the public data sets.", no_args_is_help=True)
export_app = typer.Typer(help="Files for the boards, from an exported ONNX graph.", no_args_is_help=True)
device_app = typer.Typer(help="Boards: write a kit, ingest its result.", no_args_is_help=True)
GROUPS = {"claims": claims_app, "data": data_app, "export": export_app, "device": device_app}
for name, group in GROUPS.items():
    app.add_typer(group, name=name)

# Packages of the extra [train], which only some commands need.
TRAIN = ("filelock", "lightning_fabric", "onnx", "pandas", "safetensors", "scipy", "sklearn", "timm", "torch")

Config = Annotated[Path, typer.Option(help="Profile whose run is read.")]
AnyCheckpoint = Annotated[Path | None, typer.Option(help="A .safetensors or .onnx file; default: the shipped graph.")]
Graph = Annotated[Path | None, typer.Option(help="An exported graph instead of the run's, such as a part file.")]
BoardImages = Annotated[Path | None, typer.Option(help="A folder of images instead of a run's; needs --checkpoint.")]
Threshold = Annotated[float | None, typer.Option(help="Defective from this score on.", show_default="PART.onnx's")]
FalseAlarms = Annotated[float, typer.Option(min=0.001, max=0.5, help="Largest share of good parts to be flagged.")]
Tiles = Annotated[str, typer.Option(help="Score overlapping tiles: a number along the longer side, or auto.")]
Roi = Annotated[Path | None, typer.Option(exists=True, help="Score where this mask is not black; or a folder.")]
Ignore = Annotated[Path | None, typer.Option(exists=True, help="Leave out where this mask is not black; or a folder.")]
Bits = Annotated[int | None, typer.Option(min=8, max=16, help="Of the camera in 16-bit files.", show_default="16")]
Seed = Annotated[int, typer.Option(min=0, help="A seed of the profile.")]
Table = Annotated[Path | None, typer.Option("--csv", help="Write the results to this file too.")]
Report = Annotated[Path | None, typer.Option(help="Write an HTML page with heat maps, worst first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
MINI = Path("configs/mini.yaml")


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgezsad {__version__}")
        raise typer.Exit


@app.callback()
def about(version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True)] = False) -> None:
    """Zero-shot anomaly detection on edge devices."""


@app.command()
def predict(
    images: Annotated[list[Path] | None, typer.Argument(help="Images, folders, @LIST.")] = None,
    checkpoint: AnyCheckpoint = None,
    threshold: Threshold = None,
    heatmap: Annotated[bool, typer.Option("--heatmap", help="Write NAME.heatmap.png next to each image.")] = False,
    heatmaps: Annotated[Path | None, typer.Option(help="Write the heat maps into this folder instead.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Compare the images with one another.")] = False,
    tiles: Tiles = "",
    roi: Roi = None,
    ignore: Ignore = None,
    bits: Bits = None,
    table: Table = None,
    as_json: AsJson = False,
    report: Report = None,
    watch: Annotated[Path | None, typer.Option(help="Score images as they arrive in this folder; for --csv.")] = None,
) -> None:
    """Score images: higher is more anomalous. Verdicts need a detector adapted to the part, --compare or --threshold.

    Masks (ground_truth next to test) are left out. Images that cannot be scored are listed at the end, exit code 1.
    """
    from edgezsad import predict as prediction
    from edgezsad import results
    from edgezsad.data.images import Reading
    from edgezsad.report_html import HtmlReport
    from edgezsad.scoring.tiles import Regions

    if watch and (images or compare or report or not (table or as_json)):
        raise InputError("--watch: goes with --csv FILE or --json, without images, --compare and --report")
    if compare and (checkpoint or tiles):
        raise InputError("--compare: uses the shipped detector; leave out --checkpoint and --tiles")
    if not (images or watch):
        raise InputError("no images; give files or folders, or --watch FOLDER")
    if table:
        prediction.check_csv(table)
    page, regions, maps, chosen = HtmlReport(report) if report else None, Regions(roi, ignore), None, _find(images)
    if heatmap or heatmaps:
        maps = prediction.HeatMaps(heatmaps, watch) if watch else prediction.HeatMaps.of(chosen, heatmaps)
    if compare:
        scorer, decision, chosen = prediction.compare_images(chosen, threshold, bits, regions)
    else:
        scorer, decision = prediction.load_scorer(checkpoint, threshold, tiles, regions)
    reading = Reading(prediction.choose_bits(bits, scorer))
    if watch:
        results.watch(watch, scorer, decision, table, as_json, maps, reading)
    else:
        stream = prediction.predict_files(scorer, decision.threshold, chosen, maps, page is not None, reading)
        results.print_results(stream, decision, len(chosen), table, as_json, page, reading)


def _find(given: list[Path] | None) -> list[Path]:
    """Find images, and say how many masks are left out."""
    from edgezsad.predict import find_images

    found, masks = find_images(given) if given else ([], 0)
    if masks:
        typer.echo(f"left out: {masks} mask{'s' if masks > 1 else ''}", err=True)
    return found


@app.command("adapt")
def adapt_to_part(
    images: Annotated[list[Path], typer.Argument(help="Images of good parts: files, folders.")],
    output: Annotated[Path, typer.Option(help="The part's detector, an ONNX file.")] = Path("part.onnx"),
    calibrate: Annotated[list[Path] | None, typer.Option(help="More images of good parts, for the threshold.")] = None,
    false_alarms: FalseAlarms = 0.05,
    rotations: Annotated[str, typer.Option(help="auto, none, or 8: also rotated references.")] = "auto",
    tiles: Tiles = "",
    roi: Roi = None,
    ignore: Ignore = None,
    bits: Bits = None,
) -> None:
    """Adapt the detector to a part by images of good parts, and calibrate a threshold; takes seconds."""
    from edgezsad.references import adapt
    from edgezsad.scoring.tiles import Regions

    options = (false_alarms, rotations, bits, tiles, Regions(roi, ignore))
    for line in adapt(_find(images), output, _find(calibrate), *options).as_text().splitlines():
        typer.echo(printable(line))
    typer.echo(f"use it: edgezsad predict IMAGES --checkpoint {printable(output)}", err=True)


@app.command("evaluate")
def evaluate_folders(
    folders: Annotated[list[Path], typer.Argument(help="Folders in MVTec layout: of categories, or a single one.")],
    checkpoint: AnyCheckpoint = None,
    threshold: Threshold = None,
    references: Annotated[str, typer.Option(help="Adapt to good images in this folder of each category.")] = "",
    false_alarms: FalseAlarms = 0.05,
    tiles: Tiles = "",
    roi: Roi = None,
    ignore: Ignore = None,
    heatmaps: Annotated[Path | None, typer.Option(help="Write a heat map of each image into this folder.")] = None,
    bits: Bits = None,
    table: Table = None,
    scores: Annotated[Path | None, typer.Option(help="Write each image's label and score to this CSV file.")] = None,
    as_json: AsJson = False,
    report: Report = None,
) -> None:
    """Print the metrics of each category and their mean, in percent, and the decisions of the threshold.

    Images that cannot be scored are excluded and listed at the end, with exit code 1.
    """
    from edgezsad.evaluate import REPORT_COLUMNS, adapted_by_category, evaluate, find_test_images
    from edgezsad.predict import check_csv, choose_bits, load_scorer
    from edgezsad.report_html import HtmlReport
    from edgezsad.results import require_all
    from edgezsad.scoring.tiles import Regions

    for path in filter(None, (table, scores)):
        check_csv(path)
    page, regions = HtmlReport(report) if report else None, Regions(roi, ignore)
    manifests = find_test_images(folders)
    if references:
        if checkpoint:
            raise InputError("--references: adapts the shipped detector; leave out --checkpoint")
        options = {"false_alarms": false_alarms, "bits": bits, "tiles": tiles, "regions": regions}
        detector_of = adapted_by_category(references, threshold, **options)
    else:
        opened = load_scorer(checkpoint, threshold, tiles, regions)
        detector_of, bits = lambda *_: opened, choose_bits(bits, opened[0])
    found = evaluate(detector_of, manifests, heatmaps, page, bits)
    if table:
        write_csv(table, found.rows, REPORT_COLUMNS)
    if scores:
        write_csv(scores, found.scores, ("folder", "image", "category", "label", "score"))
    typer.echo(json.dumps(found.as_json(), indent=2) if as_json else found.as_text())
    require_all(found.skipped, found.problems, len(found.scores) + len(found.skipped))


@app.command("train")
def train_seed(config: Config = MINI, seed: Seed = 0) -> None:
    """Train one seed of a run with prepared data; under `torchrun`, on one device per process."""
    from edgezsad.model.backbone import Backbone
    from edgezsad.training.inputs import training_inputs
    from edgezsad.training.trainer import train

    run = open_run(config)
    if seed not in run.profile.seeds:
        raise InputError(f"--seed {seed}: {config} has the seeds {str(run.profile.seeds)[1:-1]}; add it there")
    model = run.profile.model
    backbone = Backbone(model.backbone, model.weights, model.strides)
    trained = train(run.profile, training_inputs(run, backbone), backbone, seed, run.seed_folder(seed))
    if int(os.environ.get("RANK", 0)) == 0:
        typer.echo(f"{trained.checkpoint}: validation AUROC {trained.metrics['validation_auroc_score']:.2f} %")


@claims_app.command("check")
def claims_check(config: Config = MINI) -> None:
    """Print every claim with its status; exit code 1 if one fails."""
    from edgezsad.claims.evaluation import check_claims, require_claims
    from edgezsad.show.tables import claim_lines

    verdicts = check_claims(open_run(config))
    typer.echo("\n".join(claim_lines(verdicts)))
    require_claims(verdicts)


@app.command("verify")
def verify_files(run: Annotated[Path, typer.Argument(help="The folder of a run, for instance runs/mini.")]) -> None:
    """Check that every file of a run is as its step wrote it, and every image as indexed; exit code 1 if one is not."""
    from edgezsad.verify import verify_run

    found = verify_run(open_run(run / "config.yaml"))
    for problem in found.problems:
        typer.echo(problem)
    found.require_intact()
    typer.echo(f"{run}: {found.files:,} files and {found.images:,} images verified; fingerprint {found.fingerprint}")


Name = Annotated[str, typer.Argument(help='A data set, for instance MVTec-AD; "any" for a folder in MVTec layout.')]
Root = Annotated[Path, typer.Argument(help="The folder that it was unpacked into.")]


@data_app.command("check")
def data_check(
    name: Name,
    root: Root,
    quick: Annotated[bool, typer.Option("--quick", help="Compare names only; open no image.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check whether a copy is complete and undamaged; exit code 1 if it is not."""
    from edgezsad.data.check import check_dataset

    report = check_dataset(name, root, quick, os.cpu_count() or 1)
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())
    report.require_complete()


@data_app.command("index")
def data_index(
    name: Name,
    root: Root,
    out: Annotated[Path | None, typer.Option(help="The manifest.", show_default="NAME.csv; FOLDER.csv for any")] = None,
) -> None:
    """Write the manifest, with the hash of every file; a second run reads only changed files."""
    from edgezsad.data.descriptors import ANY, find_descriptor
    from edgezsad.data.manifest import index_dataset, write_manifest

    descriptor = find_descriptor(name)
    name, layout = (descriptor.name, descriptor.layout) if descriptor else (ANY, "mvtec")
    out = out or Path(f"{name if descriptor else root.resolve().name or ANY}.csv")
    check_may_be_written(out)  # before the hours that a large set takes
    manifest = index_dataset(DataSet(name=name, layout=layout, root=root), root, out, os.cpu_count() or 1)
    write_manifest(manifest, out)
    defective = sum(entry.label for entry in manifest.entries)
    masks = sum(bool(entry.mask) for entry in manifest.entries)
    counts = f"{len(manifest.entries):,} images, {defective:,} defective, {masks:,} with a mask"
    typer.echo(f"{out}: {counts}; manifest hash {manifest.sha256}")


@device_app.command("kit")
def device_kit(
    board: Annotated[Literal["jetson", "rb5"], typer.Argument()],
    config: Config = MINI,
    seed: Seed = 0,
    images_per_target: Annotated[int | None, typer.Option(min=1, help="About so many; default: all.")] = None,
    dlc: Annotated[Path | None, typer.Option(help="For the RB5: the model as a DLC.")] = None,
    output: Annotated[Path | None, typer.Option(help="The archive.", show_default="RUN/kits/NAME.tar")] = None,
    checkpoint: Graph = None,
    images: BoardImages = None,
    precision: Annotated[Literal["fp16", "int8"], typer.Option(help="Of the run's model on the board.")] = "fp16",
) -> None:
    """Write all that a board needs to repeat the device experiment into one archive.

    With --checkpoint and --images it needs no run: `--checkpoint cap.onnx --images FOLDER`.
    """
    from edgezsad.devices import BOARDS
    from edgezsad.devices.kit import make_kit
    from edgezsad.predict import load_scorer

    # Opening it rejects an edited file.
    if checkpoint and load_scorer(checkpoint=checkpoint)[0].size is None:
        raise InputError(f"{checkpoint}: boards score whole images; run `edgezsad adapt` without --tiles")
    options = (seed, images_per_target, dlc, output, checkpoint, precision, images)
    path = make_kit(None if images else open_run(config), BOARDS[board], *options)
    typer.echo(f"{path}: {path.stat().st_size / 1e6:,.0f} MB; copy it to the board and unpack it; there: sh run.sh")


@device_app.command("ingest")
def device_ingest(
    result: Annotated[Path, typer.Argument(help="The archive that run.sh packed on the board.")],
    config: Config = MINI,
    output: Annotated[Path | None, typer.Option(help="A folder.", show_default="RUN/boards/BOARD")] = None,
    timing: Annotated[Path | None, typer.Option(help="For the RB5: the CSV of qnn-profile-viewer.")] = None,
    checkpoint: Graph = None,
    images: BoardImages = None,
    page: Annotated[bool, typer.Option("--page", help="Render the board's page too.")] = False,
) -> None:
    """Turn a board's result into score files, a latency record and its drift; exit code 1 if a part is rejected."""
    from edgezsad.devices.ingest import ingest

    done = ingest(result, None if images else open_run(config), output, timing, checkpoint, images)
    typer.echo(done.as_text())
    if page:
        device_report(config, done.board)
    done.require_all()


@device_app.command("report")
def device_report(
    config: Config = MINI,
    board: Annotated[Literal["jetson", "rb5"] | None, typer.Option(show_default="both")] = None,
) -> None:
    """Render the boards' pages alone (RUN/boards/pages); the run must have been scored."""
    from edgezsad.devices import BOARDS
    from edgezsad.execute import report

    for path in report(config, {name: BOARDS[name].page for name in ([board] if board else BOARDS)}):
        typer.echo(f"page: {path}")


@export_app.command()
def dlc(
    graph: Annotated[Path, typer.Argument(help="An ONNX file, for instance runs/mini/export/seed0-fp16.onnx.")],
    out: Annotated[Path, typer.Argument(help="The DLC; its record is stored next to it.")],
) -> None:
    """Write a DLC for Qualcomm's boards (Linux x86-64, onnxruntime-qnn); exit code 1 if not all of the graph fits."""
    from edgezsad.export.dlc import write_dlc
    from edgezsad.export.lint import summarise

    record = write_dlc(graph, out)
    facts = f"{out.stat().st_size / 1e6:.1f} MB, {record.precision}, {sum(record.operations.values())} operations"
    typer.echo(f"{out}: {facts}; findings of the GPU's operator list: {summarise(record.gpu_findings)}")


@export_app.command()
def tensorrt(
    graph: Annotated[Path, typer.Argument(help="An ONNX file: FP32 for TensorRT 10.x, FP16 from 11.0 on.")],
    out: Annotated[Path, typer.Argument(help="The engine.")],
) -> None:
    """Build an FP16 engine for the NVIDIA GPU of this machine."""
    from edgezsad.export.tensorrt_engine import build_engine, tensorrt_package

    package = tensorrt_package()
    build_engine(graph, out, package)
    typer.echo(f"{out}: for this machine's GPU and TensorRT {package.__version__}, which alone run it")


@app.command("lint")
def lint_graph(graph: Annotated[Path, typer.Argument(help="An ONNX file.")]) -> None:
    """Check an ONNX file against the operator lists of TensorRT, QNN GPU and QNN HTP; exit code 1 if one rejects it."""
    from edgezsad.export.lint import backend_table, check_lint, windowed_attentions

    check_lint(graph)
    typer.echo(f"{graph}: every operator is on the allow-list")
    table = backend_table({str(graph): graph})
    for row in table.to_dict("records"):
        typer.echo(printable(f"{row['backend']}, findings: {row['what']} [{row['source']}]"))
    if count := windowed_attentions(graph):
        report = "a public report (qualcomm/aimet issue 4086) says that it rejects them when quantised; not run"
        typer.echo(f"QNN HTP (Hexagon), INT8: {count} windowed attentions: {report}")
    if table["findings"].any():
        raise CheckError(f"{graph}: rejected by an operator list (see above); change the model, export again")


def main() -> None:
    """Entry point: errors of this package become one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names may hold bytes that are not text.
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM):
        # As an exception, so that the command says what it leaves behind.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    code = EdgeZSADError.exit_code
    try:
        app()
    except EdgeZSADError as error:
        text, code = str(error), error.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAIN:
            raise
        command = " ".join(sys.argv[1 : 3 if sys.argv[1] in GROUPS else 2])
        text = f"edgezsad {command} needs the extra [train]: pip install 'edgezsad[train]'"
    except OSError as error:
        text = system_error(error)
    except MemoryError:
        text = "out of memory; use fewer workers, or smaller images"
    else:
        return
    typer.echo(f"error: {printable(text)}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
