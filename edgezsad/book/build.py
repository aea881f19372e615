"""Render the book: bring its sources together, let Jupyter Book build them, mend what comes out.

The prose of `book/`, the executed notebooks of one run and the top-level `_config.yml` and `_toc.yml` come together in
a staging folder, built by jupyter-book with warnings as errors, checked for every page, and only then moved into place.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from edgezsad.book.access import mend
from edgezsad.book.figures import place_figures
from edgezsad.book.fill import fill, sources
from edgezsad.book.footer import add_footer
from edgezsad.book.runtime import Runtime, find_runtime
from edgezsad.book.tryit import bring_together
from edgezsad.book.weight import lighten
from edgezsad.errors import CheckError, InputError
from edgezsad.files import write_text
from edgezsad.run import Run, open_run

PAGES = (".md", ".ipynb")


def stage(prose: Path, notebooks: list[Path], run: Run, folder: Path, runtime: Runtime) -> list[str]:
    """Bring a book's sources together in `folder`; returns the pages, without endings, that must come out of it.

    Args:
        prose: the folder `book/`, with `_config.yml` and `_toc.yml` beside it.
        notebooks: executed notebooks; only these become pages, whatever else an earlier run has left.
        run: whose book it is; its results fill the numbers in (see `edgezsad.book.fill`), its profile has the title.
        folder: receives everything; what was in it is deleted.
        runtime: of the page "Try it".

    Raises:
        InputError: a notebook is missing, or a number that a page asks for.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prose, folder / "book", ignore=shutil.ignore_patterns("_build"))
    names = sources(run) | {"tryit": bring_together(folder / "book", runtime)}
    for page in sorted((folder / "book").rglob("*.md")):
        where = (prose / page.relative_to(folder / "book")).as_posix()
        write_text(page, fill(page.read_text(encoding="utf-8"), names, where))
    config = yaml.safe_load((prose.parent / "_config.yml").read_text(encoding="utf-8"))
    for notebook in notebooks:
        if not notebook.is_file():
            raise InputError(f"{notebook}: no such executed notebook; run `make book`")
        content = titled(notebook)
        add_footer(content, notebook, run, config, folder)
        write_text(folder / "notebooks" / notebook.name, json.dumps(content, ensure_ascii=False))
    shutil.copy2(prose.parent / "_toc.yml", folder)
    write_text(folder / "_config.yml", yaml.safe_dump(config | {"title": run.profile.title}, allow_unicode=True))
    found = [path for part in ("book", "notebooks") for path in (folder / part).rglob("*") if path.suffix in PAGES]
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in found)


def titled(notebook: Path) -> dict[str, Any]:
    """An executed notebook's content, figures ready for the page; one of several copies has its parameter in its title.

    `03_training-seed0.ipynb`, whose title ends in ": one seed", becomes ": seed 0".
    """
    content = json.loads(notebook.read_text(encoding="utf-8"))
    _, dash, parameter = notebook.stem.partition("-")
    if dash:
        first = content["cells"][0]
        title, _, rest = "".join(first["source"]).partition("\n")
        parameter = re.sub(r"^(seed)(\d+)$", r"\1 \2", parameter)
        first["source"] = f"{title.partition(':')[0]}: {parameter}\n{rest}"
    place_figures(content, notebook.name)
    return content


def build(config: Path | str, html: Path | str, notebooks: list[Path]) -> Path:
    """Build the book of a run into `html`; returns its start page.

    Raises:
        CheckError: jupyter-book warned or failed (its report is printed), or a page is missing.
    """
    run = open_run(config)
    html = Path(html)
    staging = run.folder / "book-staging"
    runtime = find_runtime(Path("book/tryit"), run.folder / "onnxruntime-web")
    pages = stage(Path("book"), notebooks, run, staging, runtime)
    # The command beside this interpreter: an environment that is not activated still builds with its own packages.
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "--warningiserror", "--nitpick", "--keep-going"]
    done = subprocess.run([*command, staging], capture_output=True, text=True, check=False)
    built = staging / "_build" / "html"
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise CheckError(f"{staging}: jupyter-book warned or failed, see above; mend the page it names")
    missing = [page for page in pages if not (built / f"{page}.html").is_file()]
    if missing:
        raise CheckError(f"{built}: pages missing: {', '.join(missing)}; list them in _toc.yml")
    mend(built)
    lighten(built)
    html.parent.mkdir(parents=True, exist_ok=True)
    old = html.with_name(html.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.replace(old)
    built.replace(html)
    shutil.rmtree(old, ignore_errors=True)
    return html / "index.html"
