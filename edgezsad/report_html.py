"""Write predictions as one self-contained HTML file: thumbnails with heat maps, worst first, scores and provenance.

Each image's part of the page goes to a temporary file as it comes; `HtmlReport.write` puts them in order.
"""

import base64
import hashlib
import html
import io
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from edgezsad.errors import InputError, printable
from edgezsad.files import check_may_be_written, package_version, written_beside
from edgezsad.predict import Decision, Failure, Prediction
from edgezsad.show.maps import hot_region, outline, overlay

BINS = 48  # of the histogram
GROUP = 100  # images of a list; a browser lays out only the lists that are near the window
QUALITY = 75  # of the thumbnails, JPEG
OUTCOMES = {(True, False): "missed", (False, True): "false-alarm"}  # by label and decision
KINDS = {
    "defective": "defective",
    "normal": "normal",
    "uncalibrated": "uncalibrated",
    "missed": "missed defects",
    "false-alarm": "false alarms",
}
Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]  # caption, header, rows


def escaped(text: object) -> str:
    """Return text for HTML, also inside a quoted attribute, on one line."""
    return html.escape(printable(text))


class HtmlReport:
    """A report that is written to `path` when all results were added; nothing is left if that does not happen."""

    def __init__(self, path: Path):
        if path.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"{path}: not named like a report; give it a name that ends in .html")
        check_may_be_written(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._labelled = path, False
        self._cards = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        self._found: list[tuple[float, bool, int, int]] = []  # score, labelled or decided as defective, offset, length
        self._failures: list[list[str]] = []
        self._counts: Counter[str] = Counter()

    def add(self, result: Prediction | Failure, label: bool | None = None) -> None:
        """Add an image with its thumbnail (`predict_files(..., thumbnails=True)`); `label`: whether it is defective."""
        if isinstance(result, Failure):
            self._failures.append([result.reason])
            return
        outcome, truth = OUTCOMES.get((label, result.defective), ""), ""
        if label is not None:
            self._labelled, truth = True, f"labelled {'defective' if label else 'good'}"
        card = _card(result, outcome, truth).encode()
        bad = bool(result.defective if label is None else label)
        self._found.append((result.score, bad, self._cards.tell(), len(card)))
        self._cards.write(card)
        self._counts.update([result.verdict, outcome])

    def write(self, title: str, decisions: Mapping[str, Decision], tables: Sequence[Table] = ()) -> None:
        """Write the file; `decisions` by category, a single one under any name, `tables` of an evaluation."""
        total, failed = len(self._found), len(self._failures)
        kinds = [(key, name, self._counts[key]) for key, name in KINDS.items() if self._counts[key]]
        counts = [["images", str(total + failed)], *([name, str(count)] for _, name, count in kinds)]
        counts.append(["without a score", str(failed)])
        made = [["version", f"edgezsad {package_version()}"], ["command", shlex.join(["edgezsad", *sys.argv[1:]])]]
        made += [[f"detector {name}".strip(), one.detector] for name, one in decisions.items()]
        sections = [_section(*table, "numbers") for table in tables if table[2]]
        if failed:
            sections.append(_section("Images without a score", ("reason",), self._failures, ""))
        page = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
        filled = Template(page).substitute(
            title=escaped(title),
            subtitle=f"{total + failed} images, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            style_hash=_hash_of(page, "style"),
            script_hash=_hash_of(page, "script"),
            counts=_table("Counts", ("", "images"), counts, "numbers"),
            **self._histogram(sorted({one.threshold for one in decisions.values()} - {None})),
            basis="<br>".join(f"Verdicts: {escaped(basis)}" for basis in sorted({d.basis for d in decisions.values()})),
            tables="\n".join(sections),
            total=total,
            bins=BINS,
            filters=" ".join(
                f'<label><input type="radio" name="only" value="{key}"> {name.capitalize()} ({count})</label>'
                for key, name, count in kinds
                if count < total
            ),
            provenance=_table("How this report was made", (), made, "facts"),
        )
        head, _, tail = filled.partition("<!--cards-->\n")
        with written_beside(self.path) as temporary, temporary.open("wb") as stream, self._cards:
            stream.write(head.encode())
            for rank, (*_, offset, length) in enumerate(sorted(self._found, key=lambda each: -each[0]), 1):
                if rank % GROUP == 1 and rank > 1:
                    stream.write(b"</ol>\n<ol>\n")
                self._cards.seek(offset)
                stream.write(self._cards.read(length).replace(b"\0", str(rank).encode()))
            stream.write(tail.encode())

    def _histogram(self, limits: list[float]) -> dict[str, object]:
        """Return the parts of the SVG of scores: of good and defective images if labelled, else by verdict."""
        if not self._found:
            return {"bars": "", "most": 1, "low": "", "high": "", "summary": "No image has a score.", "keys": ""}
        scores, bad = np.array([each[0] for each in self._found]), np.array([each[1] for each in self._found])
        edges = np.histogram_bin_edges([*scores, *limits], BINS)
        low, high = edges[0], edges[-1]
        fine, both = (np.histogram(scores[rows], edges)[0] for rows in (~bad, slice(None)))
        most = int(both.max())
        # One unit is the width of a bar across, and an image upwards.
        shapes = [
            f'<rect class="{kind}" x="{column}" y="{most - top[column]}" width="0.9" height="{(top - base)[column]}"/>'
            for kind, base, top in (("bar-fine", 0 * fine, fine), ("bar-bad", fine, both))
            for column in np.flatnonzero(top - base)
        ]
        for at in (f"{(limit - low) / (high - low) * BINS:.2f}" for limit in limits):
            shapes.append(f'<line x1="{at}" x2="{at}" y1="0" y2="{most}"/>')
        summary = f"{len(scores)} scores, at most {most} in a bar"
        if limits:
            summary += f"; threshold{'s' * (len(limits) > 1)} (dashed) {', '.join(f'{one:.3g}' for one in limits)}"
        names = ("labelled good", "labelled defective") if self._labelled else ("below the threshold", "at or above it")
        keys = f'<span class="bar-fine">{names[0]}</span><span class="bar-bad">{names[1]}</span>'
        ends = {"low": f"{low:.3g}", "high": f"{high:.3g}", "keys": keys if limits or self._labelled else ""}
        return {"bars": "".join(shapes), "most": most, "summary": summary, **ends}


def _card(result: Prediction, outcome: str, truth: str) -> str:
    """Return the part of the page for one image, with NUL in place of its rank."""
    path, score, verdict, pixels = escaped(result.path.name), f"{result.score:+.3f}", result.verdict, result.thumbnail
    height, width = pixels.shape[:2]
    hot = hot_region(result.map, height, width, result.threshold, verdict == "defective")
    data = io.BytesIO()
    Image.fromarray(outline(overlay(pixels, result.map), hot)).save(data, "JPEG", quality=QUALITY)
    source = base64.b64encode(data.getvalue()).decode()
    spoken = ", ".join(filter(None, (f"Heat map of {path}", verdict, f"score {score}", truth)))
    return (
        f'<li class="{verdict} {outcome}" data-rank="\0"><figure><noscript>'
        f'<img alt="{spoken}" width="{width}" height="{height}" src="data:image/jpeg;base64,{source}"></noscript>'
        f'<figcaption><p><span>\0.</span> <span class="verdict">{verdict}</span> <span>{score}</span></p>'
        f"<span><b>{path}</b> <small>{escaped(result.path.parent)}</small></span>"
        f"<small>{truth}</small></figcaption></figure></li>\n"
    )


def _hash_of(page: str, element: str) -> str:
    """Return the hash by which the page's policy allows its own style or script, and no other."""
    text = page.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _section(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> str:
    return (
        f'<section><h2>{caption}</h2><div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f"{_table(caption, header, rows, style)}</div></section>"
    )


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> str:
    head = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in header)
    body = "\n".join(
        f'<tr><th scope="row">{escaped(first)}</th>{"".join(f"<td>{escaped(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    head = head and f"<thead><tr>{head}</tr></thead>"
    return f'<table class="{style}"><caption>{caption}</caption>{head}<tbody>\n{body}\n</tbody></table>'
