"""Write the metadata that archives and catalogues read.

    python benchmarks/publish_metadata.py              codemeta.json and .zenodo.json, from CITATION.cff
    python benchmarks/publish_metadata.py runs/mini    croissant.json and ro-crate-metadata.json of a run

Croissant describes the generated images of a run: one record per image, in a CSV file per set. The RO-Crate
lists the files of the run, their hashes, and the package and profile that they were made with.
"""

import json
import sys
from pathlib import Path
from typing import Any

import mlcroissant as mlc
import yaml
from recording import run_script
from rocrate.model.contextentity import ContextEntity
from rocrate.model.softwareapplication import SoftwareApplication
from rocrate.rocrate import ROCrate

from edgezsad import __version__
from edgezsad.files import sha256_of_file, write_json, write_text
from edgezsad.run import Run, open_run

ROOT = Path(__file__).resolve().parents[1]
CITATION = ROOT / "CITATION.cff"
LICENCE = "https://spdx.org/licenses/Apache-2.0"
PROCESS_RUN = "https://w3id.org/ro/wfrun/process/0.5"
# Folders of a run that a crate describes; caches and intermediate features are left out.
DESCRIBED = ("manifests", "seeds", "export", "scores", "results", "notebooks")
COLUMNS = {"label": mlc.DataType.INTEGER, "width": mlc.DataType.INTEGER, "height": mlc.DataType.INTEGER}


def read_citation() -> dict[str, Any]:
    """Return CITATION.cff with the version of the package."""
    return yaml.safe_load(CITATION.read_text(encoding="utf-8")) | {"version": __version__}


def codemeta(cff: dict[str, Any]) -> dict[str, Any]:
    """Return CodeMeta 2.0, which Software Heritage and others index."""
    (paper,) = cff["references"]
    return {
        "@context": "https://doi.org/10.5063/schema/codemeta-2.0",
        "@type": "SoftwareSourceCode",
        "name": cff["title"],
        "description": cff["abstract"].strip(),
        "version": cff["version"],
        "license": LICENCE,
        "author": [{"@type": "Organization", "name": author["name"]} for author in cff["authors"]],
        "keywords": cff["keywords"],
        "programmingLanguage": "Python",
        "referencePublication": {
            "@type": "ScholarlyArticle",
            "name": paper["title"],
            "url": paper["url"],
            "author": [
                {"@type": "Person", "givenName": each["given-names"], "familyName": each["family-names"]}
                for each in paper["authors"]
            ],
        },
    }


def zenodo(cff: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a deposit at Zenodo."""
    (paper,) = cff["references"]
    return {
        "upload_type": "software",
        "title": cff["title"],
        "description": cff["abstract"].strip(),
        "version": cff["version"],
        "license": cff["license"],
        "creators": [{"name": author["name"]} for author in cff["authors"]],
        "keywords": cff["keywords"],
        "related_identifiers": [
            {
                "identifier": paper["identifiers"][0]["value"],
                "scheme": "arxiv",
                "relation": "isSupplementTo",
                "resource_type": "publication-preprint",
            }
        ],
    }


def croissant(run: Run) -> dict[str, Any]:
    """Write the records of the run's generated sets, `croissant-SET.csv`; return their Croissant JSON-LD.

    The records are those of the manifests, whose last line is a checksum.
    """
    sets = [item for item in (*run.profile.data.source, *run.profile.data.targets) if item.generated]
    files, records = [], []
    for item in sets:
        name = f"croissant-{item.name}.csv"
        header, *lines, _ = run.manifest_path(item.name).read_text(encoding="utf-8").splitlines()
        path = write_text(run.folder / name, "\n".join([header, *lines, ""]))
        files.append(
            mlc.FileObject(
                id=f"{item.name}-records",
                name=name,
                content_url=name,
                encoding_formats=["text/csv"],
                sha256=sha256_of_file(path),
            )
        )
        fields = [
            mlc.Field(
                id=f"{item.name}/{column}",
                name=column,
                data_types=[COLUMNS.get(column, mlc.DataType.TEXT)],
                source=mlc.Source(file_object=f"{item.name}-records", extract=mlc.Extract(column=column)),
            )
            for column in header.split(",")
        ]
        records.append(
            mlc.RecordSet(
                id=item.name,
                name=item.name,
                description=f"Images of {run.profile.data.folder(item).as_posix()}; `mask` is empty without one.",
                fields=fields,
            )
        )
    metadata = mlc.Metadata(
        name="EdgeZSAD-generated-images",
        description="Rendered images of surfaces and parts with defects and masks, made by the package `synthetic`.",
        license=[LICENCE],
        version=__version__,
        cite_as=f"EdgeZSAD contributors: {read_citation()['title']}, version {__version__}",
        url=read_citation()["references"][0]["url"],
        creators=[mlc.Organization(name=author["name"]) for author in read_citation()["authors"]],
        data_limitations=["Synthetic: accuracy on these images says nothing about photographs of parts."],
        distribution=files,
        record_sets=records,
    )
    return metadata.to_json()


def crate(run: Run) -> ROCrate:
    """Return the RO-Crate (profile Process Run Crate) of a run."""
    cff, found = read_citation(), ROCrate()
    found.name, found.license = f"EdgeZSAD: {run.profile.title}", LICENCE
    found.description = (
        f"A run of the profile {run.profile.profile!r}: manifests, checkpoints, graphs, scores, results."
    )
    found.root_dataset["conformsTo"] = found.add(ContextEntity(found, PROCESS_RUN, {"@type": "CreativeWork"}))
    found.root_dataset["author"] = [
        found.add(ContextEntity(found, f"#author{index}", {"@type": "Organization", "name": author["name"]}))
        for index, author in enumerate(cff["authors"])
    ]
    instrument = SoftwareApplication(found, "#edgezsad", {"name": "edgezsad", "softwareVersion": __version__})
    found.add(instrument)
    listed = (path for name in DESCRIBED for path in sorted((run.folder / name).rglob("*")) if path.is_file())
    paths = [path for path in listed if not path.name.startswith(".") and not path.name.endswith(".cache.json")]
    entities = []
    for path in (run.folder / "config.yaml", *paths):
        properties = {"sha256": sha256_of_file(path), "contentSize": str(path.stat().st_size)}
        entities.append(found.add_file(path, path.relative_to(run.folder).as_posix(), properties=properties))
    made = {"instrument": instrument, "object": entities[0], "result": entities[1:]}
    found.add_action(**made, properties={"@type": "CreateAction", "name": f"make book CONFIG={entities[0].id}"})
    return found


def main(folder: Path | None = None) -> None:
    """Write the files of the repository, or those of the run in `folder`."""
    if folder is None:
        cff = read_citation()
        write_json(ROOT / "codemeta.json", codemeta(cff))
        write_json(ROOT / ".zenodo.json", zenodo(cff))
        return
    run = open_run(folder / "config.yaml")
    write_text(run.folder / "croissant.json", json.dumps(croissant(run), indent=2, default=str))
    crate(run).metadata.write(run.folder)


if __name__ == "__main__":
    run_script(lambda: main(*map(Path, sys.argv[1:2])))
