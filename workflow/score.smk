"""Score any number of images in shards: one job for each list of images, one table at the end.

    snakemake --snakefile workflow/score.smk --cores all --config images=FOLDER out=runs/scores
    snakemake --snakefile workflow/score.smk --workflow-profile profiles/slurm --config images=list.txt out=runs/scores

`images` is a folder, a text file with one path a line, or a manifest (`edgezsad data index`) together with `root`, the
folder that its paths start from. `options` are those of `edgezsad predict`, such as `--checkpoint part.onnx`; `shard` is
the number of images of a job. A run that was stopped continues with the same command: only the shards that were at work
are scored again. An image that cannot be read is a row with its reason. Delete OUT/lists to list the images again.
"""

import csv
import itertools
from pathlib import Path

from edgezsad.files import write_text, written_beside
from edgezsad.predict import find_images

IMAGES, OUT = Path(config["images"]), config.get("out", "runs/scores")
SHARD = int(config.get("shard", 50_000))


def listed():
    """Yield the path of every image."""
    if IMAGES.is_dir():
        yield from map(str, find_images([IMAGES])[0])
        return
    with IMAGES.open(newline="", encoding="utf-8") as stream:
        if IMAGES.suffix == ".csv":
            names = (row["id"] for row in csv.DictReader(stream) if not row["id"].startswith("# "))
            yield from (str(Path(config.get("root", "."), name)) for name in names)
        else:
            yield from (line.rstrip("\n") for line in stream if line.strip())


def tables(wildcards):
    lists = Path(checkpoints.lists.get().output[0])
    return [f"{OUT}/shards/{path.stem}.csv" for path in sorted(lists.glob("*.txt"))]


localrules:
    scores,
    lists,


rule scores:
    default_target: True
    message: "scores: {output}"
    input:
        tables,
    output:
        f"{OUT}/scores.csv",
    run:
        with written_beside(output[0]) as temporary, temporary.open("wb") as merged:
            for number, name in enumerate(input):
                with open(name, "rb") as stream:
                    header = stream.readline()
                    merged.writelines(stream if number else itertools.chain([header], stream))


checkpoint lists:
    message: "lists: the images of {IMAGES} in lists of {SHARD}"
    output:
        directory(f"{OUT}/lists"),
    run:
        names = listed()
        for number in itertools.count():
            if not (part := list(itertools.islice(names, SHARD))):
                break
            write_text(Path(output[0], f"{number:06}.txt"), "\n".join([*part, ""]))


rule shard:
    message: "shard {wildcards.shard}: {output}"
    input:
        f"{OUT}/lists/{{shard}}.txt",
    output:
        f"{OUT}/shards/{{shard}}.csv",
    log:
        f"{OUT}/logs/{{shard}}.txt",
    params:
        options=config.get("options", ""),
    threads: 2
    resources:
        mem_mb=2000,
        runtime=240,
    shell:
        # Exit code 1: some images could not be read; the table, written after the last image, has them.
        "python -m edgezsad.cli predict @{input:q} {params.options} --csv {output:q} >{log:q} 2>&1 || test $? -eq 1"
