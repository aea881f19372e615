"""Render the book of a run: `python -m book._ext.build CONFIG HTML NOTEBOOK...`, or with `--only` these pages alone.

The prose of `book/`, the executed notebooks, a reference, `_config.yml` and `_toc.yml` are staged in one folder, built
by Jupyter Book with warnings as errors, checked for missing pages, and moved into place.
"""

import base64
import hashlib
import json
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer.main
import yaml
from typer.testing import CliRunner

import edgezsad
from book._ext.figures import place_figures
from book._ext.fill import fill, sources
from book._ext.footer import add_footer
from book._ext.tryit import stage_files
from edgezsad.cli import app
from edgezsad.errors import CheckError, EdgeZSADError
from edgezsad.execute import share_lock
from edgezsad.files import read_json, write_json, write_text
from edgezsad.run import Run, open_run

# Accessibility of the theme: the logo is outside every landmark, a role is obsolete, an arrow has no name.
LOGO = re.compile(r'<a class="navbar-brand logo".*?</a>', re.DOTALL)
ARROW = '<summary><span class="toctree-toggle"'
# The theme loads its icons twice: by this script (1.5 MB) and by the style sheet's fonts, which suffice.
ICON_SCRIPT = re.compile(r"<(?:script|link)[^>]*fontawesome\.js[^>]*>(?:</script>)?")
# Only the search page needs the index, which grows with every word of the book.
SEARCH_INDEX = re.compile(r"<script[^>]*searchindex\.js[^>]*></script>")
# The character set must come first in a page.
CHARSET = re.compile(r'<meta charset="utf-8" ?/?>')
# Inline scripts of the theme: all in a page's head, but for those of the search page and of two buttons.
SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
HANDLERS = ("toggleFullScreen()", "window.print()")
# The page "Try it" compiles WebAssembly, and imports its runtime from memory after checking the hash.
TRYIT = " 'wasm-unsafe-eval' blob:"
REDIRECT = re.compile(r'<meta http-equiv="Refresh" content="0; url=(?P<first>[^"]+)" ?/>')


def stage(prose: Path, notebooks: list[Path], run: Run, folder: Path) -> list[str]:
    """Assemble prose and executed notebooks in `folder`, which is emptied first; return the names of the pages."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prose, folder / "book", ignore=shutil.ignore_patterns("_build", "_ext", "__pycache__"))
    names = sources(run) | {"tryit": stage_files(folder / "book", run.folder / "onnxruntime-web")}
    for page in sorted((folder / "book").rglob("*.md")):
        where = prose / page.relative_to(folder / "book")
        write_text(page, fill(page.read_text(encoding="utf-8"), names, where.as_posix()))
    write_reference(folder / "book")
    config = yaml.safe_load((prose.parent / "_config.yml").read_text(encoding="utf-8"))
    return _stage_notebooks(prose.parent, config, notebooks, run, folder)


def stage_alone(root: Path, notebooks: list[Path], run: Run, folder: Path) -> list[str]:
    """Assemble executed notebooks in `folder`, which is emptied first, without the prose; return the pages' names."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / "book", folder / "book", ignore=shutil.ignore_patterns("*.md", "_ext", "__pycache__"))
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    pages = _stage_notebooks(root, config, notebooks, run, folder)
    write_text(
        folder / "_toc.yml",
        yaml.safe_dump(
            {"format": "jb-article", "root": pages[0]}
            | ({"sections": [{"file": page} for page in pages[1:]]} if pages[1:] else {})
        ),
    )
    return pages


def _stage_notebooks(root: Path, config: dict[str, Any], notebooks: list[Path], run: Run, folder: Path) -> list[str]:
    for notebook in notebooks:
        content = read_json(notebook, "run `make book`")
        first = content["cells"][0]
        title, _, rest = "".join(first["source"]).partition("\n")
        if parameter := notebook.stem.partition("-")[2]:
            # "Training: one seed" executed as 03_training-seed0 becomes "Training: seed 0".
            title = f"{title.partition(':')[0]}: {re.sub(r'^seed(?=[0-9])', 'seed ', parameter)}"
        if detector := first["metadata"].get("detector", "").format(run=detector_name(run)):
            title += f"\n\n{{bdg-secondary-line}}`Detector: {detector.replace(';', ',')}`"
        first["source"] = f"{title}\n{rest}"
        for tags in (cell["metadata"].get("tags", []) for cell in content["cells"]):
            tags += ["hide-cell"] * ("injected-parameters" in tags)
        place_figures(content, notebook.name)
        add_footer(content, notebook, run, config, folder)
        write_text(folder / "notebooks" / notebook.name, json.dumps(content, ensure_ascii=False))
    shutil.copy2(root / "_toc.yml", folder)
    write_text(folder / "_config.yml", yaml.safe_dump(config | {"title": run.profile.title}, allow_unicode=True))
    pages = [*(folder / "book").rglob("*.md"), *(folder / "notebooks").rglob("*.ipynb")]
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in pages)


def detector_name(run: Run) -> str:
    """Return the detector that a run trains."""
    model, kind = run.profile.model, run.profile.model.readout.kind
    name = "EdgeGLR" if kind == "edgeglr" else "shipped detector's recipe"
    return f"{name} on {model.backbone} (profile {run.profile.profile})"


def write_reference(folder: Path) -> None:
    """Write `reference-cli.md` from `--help`, and `reference-root.md` and `reference-PACKAGE.md` from docstrings."""
    modules = sorted(item.name for item in pkgutil.walk_packages(edgezsad.__path__, "edgezsad."))
    packages: dict[str, list[str]] = {}
    for name in modules:
        parts = name.split(".")
        is_package = any(other.startswith(name + ".") for other in modules)
        packages.setdefault(parts[1] if len(parts) > 2 or is_package else "root", []).append(name)
    for package, names in packages.items():
        title = "edgezsad" if package == "root" else f"edgezsad.{package}"
        blocks = [f"# `{title}`\n"]
        for name in names:
            heading = "" if name == title else f"## `{name.removeprefix(title + '.')}`\n\n"
            blocks.append(f"{heading}```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n")
        write_text(folder / f"reference-{package}.md", "\n".join(blocks))
    sections = ["# Command line\n", *_help(typer.main.get_command(app), [])]
    write_text(folder / "reference-cli.md", "\n".join(sections))


def _help(command: Any, path: list[str]) -> list[str]:
    """Return the help text of a command, or of each of a group's commands, as Markdown sections."""
    if inner := getattr(command, "commands", None):
        return [section for name, item in inner.items() for section in _help(item, [*path, name])]
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="edgezsad", env={"COLUMNS": "100", "TERM": "dumb"})
    return [f"## `edgezsad {' '.join(path)}`\n\n```text\n{shown.stdout.strip()}\n```\n"]


def fix_pages(html: Path) -> None:
    """Fix accessibility and weight of every built page, in place, and add a content security policy."""
    for path in sorted(html.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        if path != html / "search.html":
            text = SEARCH_INDEX.sub("", text)
        text = LOGO.sub(r'<nav aria-label="Start page">\g<0></nav>', ICON_SCRIPT.sub("", text))
        text = text.replace('role="doc-biblioentry"', 'role="listitem"')
        text = text.replace(ARROW, ARROW.replace("<summary", '<summary aria-label="The pages below"'))
        write_text(path, add_policy(text, path == html / "search.html"))
    start = html / "index.html"
    if redirect := REDIRECT.search(start.read_text(encoding="utf-8")):
        head = f'<head><meta charset="utf-8"><title>EdgeZSAD</title><link rel="icon" href="data:,">{redirect[0]}</head>'
        body = f'<body><main><h1>EdgeZSAD</h1><p><a href="{redirect["first"]}">To the first page</a></p></main></body>'
        write_text(start, add_policy(f'<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'))


def add_policy(text: str, search: bool = False) -> str:
    """Insert a content security policy: only the theme's scripts run, and nothing is loaded from another server."""
    inline = [*HANDLERS, *SCRIPT.findall(text if search else text.partition("</head>")[0])]
    hashes = {base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in inline}
    scripts = " ".join(f"'sha256-{one}'" for one in sorted(hashes)) + (TRYIT if 'id="tryit"' in text else "")
    policy = (
        f"default-src 'self'; script-src 'self' 'unsafe-hashes' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'"
    )
    return CHARSET.sub(rf'\g<0><meta http-equiv="Content-Security-Policy" content="{policy}">', text, count=1)


def build(config: Path | str, html: Path | str, notebooks: list[Path], only: bool = False) -> Path:
    """Build the book of a run, or `only` these notebooks' pages, into `html` and return its start page.

    A CheckError if a page warns (of the whole book) or is missing.
    """
    run, html = open_run(config), Path(html)
    staging = run.folder / (".pages-staging" if only else ".book-staging")
    pages = stage_alone(Path(), notebooks, run, staging) if only else stage(Path("book"), notebooks, run, staging)
    # The program next to this interpreter: the environment need not be activated.
    command = [Path(sys.executable).with_name("jupyter-book"), "build"]
    # Pages alone link to others.
    command += [] if only else ["--warningiserror", "--nitpick", "--keep-going"]
    done = subprocess.run([*command, staging], capture_output=True, text=True, check=False)
    built = staging / "_build" / "html"
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise CheckError(f"{staging}: jupyter-book warned or failed (output above); fix the page it names")
    if missing := [page for page in pages if not (built / f"{page}.html").is_file()]:
        raise CheckError(f"{built}: pages missing: {', '.join(missing)}; list them in _toc.yml")
    fix_pages(built)
    html.parent.mkdir(parents=True, exist_ok=True)
    old = html.with_name(html.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.replace(old)
    built.replace(html)
    shutil.rmtree(old, ignore_errors=True)
    if not only:
        # Its record names the notebooks and results that the pages show.
        write_json(run.folder / "book.json", {"pages": pages})
    return html / (f"{pages[0]}.html" if only else "index.html")


if __name__ == "__main__":
    try:
        share_lock()
        words = [word for word in sys.argv[1:] if word != "--only"]
        pages = [Path(item) for item in words[2:]]
        print("book:", build(words[0], words[1], pages, "--only" in sys.argv), file=sys.stderr)
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
