"""The command line: `edgezsad predict`, `train`, `claims check`, `data check|index|replica`, `export dlc|tensorrt`,
`device kit|ingest|status`, `profile`, `lint`.

Wrong input ends with exit code 2, a failed check with 1; either way in one line on standard error.
"""

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgezsad.data.commands import data_app
from edgezsad.devices.commandline import device_app
from edgezsad.errors import EdgeZSADError, InputError
from edgezsad.export.commands import export_app

app = typer.Typer(
    help="Zero-shot anomaly detection on edge devices.", no_args_is_help=True, pretty_exceptions_enable=False
)
claims_app = typer.Typer(help="The claims table.", no_args_is_help=True)
app.add_typer(claims_app, name="claims")
app.add_typer(data_app, name="data")
app.add_typer(export_app, name="export")
app.add_typer(device_app, name="device")

Config = Annotated[Path, typer.Option(help="The profile whose run is read.")]


@app.command()
def predict(
    photographs: Annotated[list[Path], typer.Argument(help="Image files, of any size.")],
    config: Config = Path("configs/mini.yaml"),
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint; the run's first seed when left out.")] = None,
    heatmap: Annotated[bool, typer.Option("--heatmap", help="Write NAME.heatmap.png beside each image.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Score photographs: higher is more anomalous; at or above the threshold the image is called defective."""
    from edgezsad.predict import check_photographs, load_model, predict_files

    detector, threshold = load_model(config, checkpoint)
    chosen = check_photographs(photographs, heatmap)
    if left_out := len(photographs) - len(chosen):
        typer.echo(f"{left_out} heat map(s) of an earlier call left out", err=True)
    predictions = predict_files(detector, threshold, chosen, heatmap)
    if as_json:
        typer.echo(json.dumps([prediction.as_json() for prediction in predictions], indent=2))
        return
    for prediction in predictions:
        typer.echo(prediction.as_text())


@app.command()
def train(
    config: Config = Path("configs/mini.yaml"),
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights, the order and the noise.")] = 0,
    reproduce: Annotated[
        bool,
        typer.Option("--reproduce", help="Only compute again the loss and gradient of the step that was not finite."),
    ] = False,
) -> None:
    """Train one seed of a run whose data is there; under `torchrun`, on as many devices as it starts processes."""
    from edgezsad.model.backbone import Backbone
    from edgezsad.run import open_run
    from edgezsad.training.inputs import training_inputs
    from edgezsad.training.train import reproduce as again
    from edgezsad.training.train import train as fit

    run = open_run(config)
    if seed not in run.profile.seeds:
        raise InputError(
            f"--seed {seed}: {config} has the seeds {', '.join(map(str, run.profile.seeds))}; add it there"
        )
    model = run.profile.model
    backbone = Backbone(model.backbone, model.weights, model.strides)
    work = (run.profile, training_inputs(run, backbone), backbone, seed, run.seed_folder(seed))
    if reproduce:
        value, norm = again(*work)
        numbers = {"total": value.total.item(), **{name: term.item() for name, term in value.terms.items()}}
        typer.echo(", ".join(f"{name} {number:g}" for name, number in {**numbers, "gradient": norm}.items()))
        return
    trained = fit(*work)
    if int(os.environ.get("RANK", 0)) == 0:
        typer.echo(f"{trained.checkpoint}: validation AUROC {trained.metrics['validation_auroc_score']:.2f} %")


@claims_app.command("check")
def claims_check(config: Config = Path("configs/mini.yaml")) -> None:
    """Print every claim with its status; exit code 1 if one fails."""
    from edgezsad.claims import check, require
    from edgezsad.run import open_run

    verdicts = check(open_run(config))
    for verdict in verdicts:
        claim = verdict.claim
        ours = "-" if verdict.ours is None else f"{verdict.ours:.4g}"
        bound = f"{claim.comparison} {claim.reported:g} {claim.unit}"
        typer.echo(f"{verdict.status:8}  {claim.name}: {ours} ({claim.by}: {bound})  {verdict.reason}".rstrip())
    require(verdicts)


@app.command()
def profile(
    config: Annotated[Path, typer.Argument(help="A profile, for instance configs/mini.yaml.")],
    data_root: Annotated[str, typer.Option(envvar="EDGEZSAD_DATA", help="Replaces data.root of the profile.")] = "",
) -> None:
    """Check a profile before a run: its keys, its values, and that its folders are there."""
    from edgezsad.config import load_profile

    checked = load_profile(config, data_root or None)
    for item in (*checked.data.source, *checked.data.targets):
        folder = checked.data.folder(item)
        if not item.generated and not folder.is_dir():
            raise InputError(f"{folder}: no such folder ({item.name} in {config}); mend data in the profile, or DATA")
    names = [", ".join(item.name for item in items) for items in (checked.data.source, checked.data.targets)]
    typer.echo(f"{checked.title}: trained on {names[0]}; tested on {names[1]}; everything goes to {checked.run}")


@app.command()
def lint(graph: Annotated[Path, typer.Argument(help="An ONNX file.")]) -> None:
    """Check an ONNX file against the operator lists of TensorRT, QNN GPU and QNN HTP; exit code 1 if one refuses it."""
    from edgezsad.export.backends import BACKENDS, check_backends, findings, source, summary
    from edgezsad.export.lint import check_lint

    check_lint(graph)
    typer.echo(f"{graph}: every operator is on the allow-list")
    for backend in BACKENDS:
        origin = source(backend)
        what = summary(findings(graph, backend))
        typer.echo(f"{origin.title}, findings: {what} [{origin.list}; read {origin.read}]")
    check_backends(graph)


def main() -> None:
    """Entry point: errors of this package become one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may hold bytes that are no text; work that is done must not fail as it is reported.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except EdgeZSADError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # A full disk, a name too long, a folder that may not be read: the file and the system's reason say enough.
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        typer.echo(f"error: {name}{error.strerror or error}; mend it and try again", err=True)
        sys.exit(EdgeZSADError.exit_code)
    except MemoryError:
        typer.echo("error: out of memory; use fewer workers, or smaller images", err=True)
        sys.exit(EdgeZSADError.exit_code)


if __name__ == "__main__":
    main()
