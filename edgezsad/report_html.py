"""Write predictions as one self-contained HTML file: thumbnails with heat maps, worst first, scores and provenance.

Each image's part of the page goes to a temporary file as it comes; `HtmlReport.write` puts them in order.
"""

import base64
import hashlib
import html
import io
import math
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

BINS, WIDTH, HEIGHT, BELOW = 48, 720, 170, 40  # of the histogram: bars, and size of its plot in units of the SVG
GROUP = 100  # images of a list; a browser lays out only the lists that are near the window
QUALITY = 75  # of the thumbnails, JPEG
VERDICTS = ("defective", "normal", "uncalibrated")
OUTCOMES = {"missed": "Missed defects", "false-alarm": "False alarms"}  # filters if the labels are known
LEGEND = (
    "Colours: the anomaly map, on the same scale for all images. Outline: where the map, averaged over 2 x 2 cells, "
    "reaches the threshold; without a threshold, or if it does nowhere in a defective image, the highest 1%."
)
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
        self.path, self.failures = path, []
        self._cards = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        self._found: list[tuple[float, str, bool | None, int, int]] = []  # score, verdict, label, offset, length

    def add(self, result: Prediction | Failure, label: bool | None = None) -> None:
        """Add an image with its thumbnail (`predict_files(..., thumbnails=True)`); `label`: whether it is defective."""
        if isinstance(result, Failure):
            self.failures.append(result)
            return
        card = _card(result, label).encode()
        self._found.append((result.score, result.verdict, label, self._cards.tell(), len(card)))
        self._cards.write(card)

    def write(self, title: str, decisions: Mapping[str, Decision], tables: Sequence[Table] = ()) -> None:
        """Write the file; `decisions` by category, a single one under any name, `tables` of an evaluation."""
        verdicts = Counter(verdict for _, verdict, *_ in self._found)
        outcomes = Counter(_outcome(verdict, label) for _, verdict, label, *_ in self._found)
        counts = [["images", str(len(self._found) + len(self.failures))]]
        counts += [[name, str(verdicts[name])] for name in VERDICTS if verdicts[name]]
        counts += [[name.lower(), str(outcomes[key])] for key, name in OUTCOMES.items() if outcomes[key]]
        counts.append(["without a score", str(len(self.failures))])
        failures = [[str(failure.path), _reason(failure)] for failure in self.failures]
        found = [("Images without a score", ("file", "reason"), failures)] if failures else []
        filters = {name: (name.capitalize(), verdicts[name]) for name in VERDICTS}
        filters |= {key: (name, outcomes[key]) for key, name in OUTCOMES.items()}
        filters = {key: each for key, each in filters.items() if 0 < each[1] < len(self._found)}
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        page = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
        bases = sorted({one.basis for one in decisions.values()})
        limits = sorted({one.threshold for one in decisions.values() if one.threshold is not None})
        head, _, tail = (
            Template(page)
            .substitute(
                title=escaped(title),
                subtitle=f"{counts[0][1]} images, {now}",
                style_hash=_hash_of(page, "style"),
                script_hash=_hash_of(page, "script"),
                counts=_table("Counts", ("", "images"), counts, "numbers"),
                histogram=_histogram(self._found, limits),
                basis="<br>".join(f"Verdicts: {escaped(basis)}" for basis in bases),
                tables="\n".join(
                    f'<section><h2>{escaped(caption)}</h2><div class="scroll" tabindex="0" role="region" '
                    f'aria-label="{escaped(caption)}">{_table(caption, header, rows, style)}</div></section>'
                    for style, group in (("numbers", tables), ("", found))
                    for caption, header, rows in group
                ),
                legend=LEGEND,
                filters=_filters(filters, len(self._found)),
                provenance=_table("How this report was made", (), _provenance(decisions, now), "facts"),
            )
            .partition("<!--cards-->\n")
        )
        ordered = sorted(self._found, key=lambda each: -each[0])
        with written_beside(self.path) as temporary, temporary.open("wb") as stream, self._cards:
            stream.write(head.encode())
            for rank, (*_, offset, length) in enumerate(ordered, 1):
                if rank % GROUP == 1:
                    stream.write(b"</ol>\n<ol>\n" if rank > 1 else b"<ol>\n")
                self._cards.seek(offset)
                stream.write(self._cards.read(length).replace(b"\0", str(rank).encode()))
            stream.write(b"</ol>\n" if ordered else b"")
            stream.write(tail.encode())


def _card(result: Prediction, label: bool | None) -> str:
    """Return the part of the page for one image, with NUL in place of its rank."""
    path, score, verdict = escaped(result.path.name), f"{result.score:+.3f}", result.verdict
    truth = "" if label is None else f"labelled {'defective' if label else 'good'}"
    pixels = result.thumbnail
    height, width = pixels.shape[:2]
    hot = hot_region(result.map, height, width, result.threshold, verdict == "defective")
    data = io.BytesIO()
    Image.fromarray(outline(overlay(pixels, result.map), hot)).save(data, "JPEG", quality=QUALITY)
    source = base64.b64encode(data.getvalue()).decode()
    spoken = ", ".join(filter(None, (f"Heat map of {path}", verdict, f"score {score}", truth)))
    return (
        f'<li class="{verdict} {_outcome(verdict, label)}" data-rank="\0"><figure><noscript>'
        f'<img alt="{spoken}" width="{width}" height="{height}" src="data:image/jpeg;base64,{source}"></noscript>'
        f'<figcaption><p><span>\0.</span> <span class="verdict">{verdict}</span> <span>{score}</span></p>'
        f"<span><b>{path}</b> <small>{escaped(result.path.parent)}</small></span>"
        f"{f'<small>{truth}</small>' if truth else ''}</figcaption></figure></li>\n"
    )


def _outcome(verdict: str, label: bool | None) -> str:
    if label is None or verdict == "uncalibrated":
        return ""
    return {(True, "normal"): "missed", (False, "defective"): "false-alarm"}.get((label, verdict), "")


def _reason(failure: Failure) -> str:
    """Return why an image has no score, without the file's name in front."""
    return failure.reason.removeprefix(f"{printable(failure.path)}: ")


def _hash_of(page: str, element: str) -> str:
    """Return the hash by which the page's policy allows its own style or script, and no other."""
    text = page.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> str:
    head = "".join(f'<th scope="col">{escaped(name)}</th>' if name else "<td></td>" for name in header)
    body = "\n".join(
        f'<tr><th scope="row">{escaped(first)}</th>{"".join(f"<td>{escaped(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    head = head and f"<thead><tr>{head}</tr></thead>"
    return f'<table class="{style}"><caption>{escaped(caption)}</caption>{head}<tbody>\n{body}\n</tbody></table>'


def _filters(filters: Mapping[str, tuple[str, int]], count: int) -> str:
    """Return the choice of images to show, which the script enables."""
    if not filters:
        return ""
    choices = {"all": ("All", count), **filters}
    buttons = (
        f'<label><input type="radio" name="only" value="{key}"{" checked" if key == "all" else ""}> '
        f"{name} ({number})</label>"
        for key, (name, number) in choices.items()
    )
    return f"<fieldset data-script hidden><legend>Show</legend>{' '.join(buttons)}</fieldset>"


def _provenance(decisions: Mapping[str, Decision], now: str) -> list[list[str]]:
    rows = [["version", f"edgezsad {package_version()}"], ["date", now]]
    rows.append(["command", shlex.join(["edgezsad", *sys.argv[1:]])])
    for name, decision in decisions.items():
        about = f" of {name}" if len(decisions) > 1 else ""
        limit = "" if decision.threshold is None else f"{decision.threshold:.6g}; "
        rows += [[f"detector{about}", decision.detector], [f"threshold{about}", f"{limit}{decision.basis}"]]
    return rows


def _histogram(found: Sequence[tuple[float, str, bool | None, int, int]], limits: Sequence[float]) -> str:
    """Return the distribution of the scores as SVG: of good and defective images if labelled, else by verdict."""
    if not found:
        return "<p>No image has a score.</p>"
    scores = np.array([each[0] for each in found])
    labelled = any(each[2] is not None for each in found)
    bad = np.array([each[2] if labelled else each[1] == "defective" for each in found], bool)
    ends = [*scores.tolist(), *limits]
    low, high = min(ends), max(ends)
    step = (high - low) / (BINS - 1) or 1.0
    # A single threshold is the edge of a bar.
    start = limits[0] - step * math.ceil((limits[0] - low) / step) if len(limits) == 1 else low
    edges = start + step * np.arange(BINS + 1)
    groups = [np.histogram(np.clip(scores[rows], edges[0], edges[-1]), edges)[0] for rows in (~bad, bad)]
    most = int((groups[0] + groups[1]).max())
    across, up = WIDTH / BINS, (HEIGHT - 24) / most
    bars, base = [], np.zeros(BINS)
    for kind, group in zip(("fine", "bad"), groups, strict=True):
        for column in np.flatnonzero(group):
            top = HEIGHT - (base[column] + group[column]) * up
            size = f'width="{across - 1:.1f}" height="{group[column] * up:.1f}"'
            bars.append(f'<rect class="bar-{kind}" x="{column * across:.1f}" y="{top:.1f}" {size}/>')
        base = base + group
    at = lambda value: (value - edges[0]) / (edges[-1] - edges[0]) * WIDTH  # noqa: E731
    for limit in limits:
        bars.append(f'<line class="limit" x1="{at(limit):.1f}" x2="{at(limit):.1f}" y1="14" y2="{HEIGHT}"/>')
    if len(limits) == 1:
        side = ("end", -6) if at(limits[0]) > WIDTH * 0.75 else ("start", 6)
        text = f'x="{at(limits[0]) + side[1]:.1f}" y="24" text-anchor="{side[0]}"'
        bars.append(f"<text {text}>threshold {limits[0]:.3g}</text>")
    spacing = _spacing(edges[-1] - edges[0])
    for number in range(math.ceil(edges[0] / spacing), math.floor(edges[-1] / spacing) + 1):
        text = f'x="{at(number * spacing):.1f}" y="{HEIGHT + 17}" text-anchor="middle"'
        bars.append(f"<text {text}>{number * spacing:.6g}</text>")
    names = ("labelled good", "labelled defective") if labelled else ("below the threshold", "at or above it")
    summary = f"{len(found)} scores from {scores.min():.3g} to {scores.max():.3g}"
    if limits:
        summary += f"; {'threshold' if len(limits) == 1 else 'thresholds'} {', '.join(f'{one:.3g}' for one in limits)}"
    keys = " ".join(
        f'<span class="key"><svg aria-hidden="true" viewBox="0 0 1 1"><rect class="bar-{kind}" width="1" height="1"/>'
        f"</svg>{name}</span>"
        for kind, name in zip(("fine", "bad"), names, strict=True)
    )
    shown = f"{summary}. Highest bar: {most} image{'s' if most > 1 else ''}."
    return (
        f'<figure><svg role="img" aria-label="Histogram: {escaped(summary)}" viewBox="0 0 {WIDTH} {HEIGHT + BELOW}">'
        f'{"".join(bars)}<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
        f'<text x="{WIDTH // 2}" y="{HEIGHT + 35}" text-anchor="middle">score (higher is more anomalous)</text></svg>'
        f"<figcaption><p>{keys if labelled or limits else ''}</p><p>{shown}</p></figcaption></figure>"
    )


def _spacing(length: float) -> float:
    """Return the distance between marks of an axis, 1, 2 or 5 times a power of ten: about six marks."""
    power = 10 ** math.floor(math.log10(length / 6))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= length / 6)
