"""The HTML report: what it shows, in which order, and that nothing in it leads out of the file."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad import __version__
from edgezsad.errors import InputError
from edgezsad.predict import Decision, Failure, predict_files
from edgezsad.report_html import HtmlReport
from edgezsad.show.maps import hot_region, thumbnail

HOSTILE = '"><img src=x onerror=alert(1)>\n.png'


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements, self.text = [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


class Brightness:
    """The score is the mean pixel value; the map is the image's red channel."""

    size = 8

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.mean()), image[:, :, 0].astype(np.float32)


def write_images(folder: Path, levels: list[int], names: list[str] | None = None) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in names or [f"{number}.png" for number in range(len(levels))]]
    for path, level in zip(paths, levels, strict=True):
        Image.fromarray(np.full((12, 16, 3), level, np.uint8)).save(path)
    return paths


def report_of(paths: list[Path], target: Path, threshold: float | None) -> Page:
    report = HtmlReport(target)
    for result in predict_files(Brightness(), threshold, paths, thumbnails=True):
        report.add(result)
    decision = Decision(threshold, "at most 5% of good parts flagged", "part.onnx, SHA-256 abc")
    report.write("Inspection report", {"": decision})
    return Page(target)


def test_images_are_in_order_with_counts_threshold_and_provenance(tmp_path: Path) -> None:
    paths = [*write_images(tmp_path / "in", [10, 200, 90]), tmp_path / "nowhere.png"]
    page = report_of(paths, tmp_path / "r.html", 100)
    cards = page.all("li")
    assert [card["data-rank"] for card in cards] == ["1", "2", "3"]
    assert [card["class"].strip() for card in cards] == ["defective", "normal", "normal"]
    spoken = [image["alt"] for image in page.all("img")]
    assert spoken[0] == "Heat map of 1.png, defective, score +200.000"
    assert [text.split()[3] for text in spoken] == ["1.png,", "2.png,", "0.png,"]
    text = " ".join(page.text)
    for expected in (
        "All (3)",
        "Defective (1)",
        "Normal (2)",
        "no such image",
        "nowhere.png",
        "threshold (dashed) 100",
    ):
        assert expected in text
    for expected in ("at most 5% of good parts flagged", "part.onnx, SHA-256 abc", f"edgezsad {__version__}+", "UTC"):
        assert expected in text
    assert len(page.all("line")) == 1 and page.all("rect")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["r.html"]


def test_without_a_threshold_there_is_neither_verdict_nor_filter(tmp_path: Path) -> None:
    page = report_of(write_images(tmp_path / "in", [10]), tmp_path / "r.html", None)
    assert page.all("li")[0]["class"].strip() == "uncalibrated" and [
        each["value"] for each in page.all("input")[:-1]
    ] == ["all"]
    assert "threshold " not in " ".join(page.text).partition("Images, worst first")[0]
    nothing = report_of([tmp_path / "nowhere.png"], tmp_path / "n.html", 1)
    assert not nothing.all("li") and "No image has a score." in " ".join(nothing.text)


def test_names_stay_text_and_nothing_leads_out_of_the_file(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "in", [10, 20], [HOSTILE, "b.png"])
    (tmp_path / "in" / f"bad{HOSTILE}").write_text("text")
    page = report_of([*paths, tmp_path / "in" / f"bad{HOSTILE}"], tmp_path / "r.html", 15)
    assert len(page.all("img")) == 2 and not any("onerror" in names for _, names in page.elements)
    assert '"><img src=x onerror=alert(1)>\\n.png' in " ".join(page.text)
    assert len(page.all("script")) == len(page.all("style")) == 1 and not page.all("link") and not page.all("a")
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not re.search(r"https?:|url\(|@import|srcset|//[a-z]", re.sub(r'src="data:[^"]*"', "", page.source))
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy


def test_two_hundred_images_and_one_score(tmp_path: Path) -> None:
    page = report_of(write_images(tmp_path / "in", [90] * 200), tmp_path / "r.html", 90)
    assert len(page.all("li")) == 200 and page.all("li")[-1]["data-rank"] == "200"
    assert (tmp_path / "r.html").stat().st_size < 200 * 20_000


def test_an_interrupted_report_leaves_nothing(tmp_path: Path) -> None:
    report = HtmlReport(tmp_path / "r.html")
    report.add(Failure(tmp_path / "a.png", "damaged"))
    for result in predict_files(Brightness(), 1, write_images(tmp_path / "in", [10]), thumbnails=True):
        report.add(result)
    del report
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    with pytest.raises(InputError, match=r"ends in \.html"):
        HtmlReport(tmp_path / "r.png")


def test_the_outline_is_around_what_reaches_the_threshold() -> None:
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[4:8, 4:8] = 5
    found = hot_region(anomaly_map, 100, 200, 2.5, True)
    assert found.shape == (100, 200) and found[30, 60] and 0.03 < found.mean() < 0.06
    assert not hot_region(anomaly_map, 100, 200, 9, False).any()
    assert 0 < hot_region(anomaly_map, 100, 200, 9, True).mean() <= 0.05
    # A single cell is no reason.
    single = np.zeros((20, 20), np.float32)
    single[3, 3] = 5
    assert not hot_region(single, 100, 200, 2.5, False).any()


def test_a_thumbnail_keeps_the_shape() -> None:
    assert thumbnail(np.zeros((600, 1200, 3), np.uint8)).shape == (120, 240, 3)
    assert thumbnail(np.zeros((1, 2000, 3), np.uint8)).shape == (1, 240, 3)
    assert thumbnail(np.zeros((8, 4, 3), np.uint8)).shape == (240, 120, 3)


def test_the_command_writes_a_report_of_a_compared_folder(
    tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    paths = write_images(tmp_path / "in", [10, 20, 30, 40])
    code, _, errors = command("predict", *paths, "--compare", "--report", tmp_path / "out" / "r.html")
    assert code == 0, errors
    text = " ".join(Page(tmp_path / "out" / "r.html").text)
    assert "standard deviations above the mean" in text and "references.onnx, SHA-256" in text


def test_an_evaluation_has_its_confusion_and_metrics(tmp_path: Path, command: Callable[..., tuple[int, str, str]]):
    for defect, levels in (("good", [40, 60]), ("spot", [50, 200])):
        (tmp_path / "set" / "cap" / "test").mkdir(parents=True, exist_ok=True)
        write_images(tmp_path / "set" / "cap" / "test" / defect, levels)
    scores = tmp_path / "s.csv"
    code, _, errors = command("evaluate", tmp_path / "set", "--threshold", "-99", "--scores", scores)
    assert code == 0, errors
    values = {line.split(",")[1]: float(line.split(",")[4]) for line in scores.read_text().splitlines()[1:]}
    limit = np.mean(sorted(values.values())[1:3])
    code, _, errors = command("evaluate", tmp_path / "set", "--threshold", limit, "--report", tmp_path / "r.html")
    assert code == 0, errors
    page = Page(tmp_path / "r.html")
    missed = sum("spot" in name and value < limit for name, value in values.items())
    row = re.search(r'<tr><th scope="row">[^<]*</th><td>cap</td>(.*?)</tr>', page.source).group(1)
    assert re.findall(r"<td>([^<]*)</td>", row)[:4] == [str(n) for n in (2 - missed, missed, 2 - missed, missed)]
    classes = [card["class"].split() for card in page.all("li")]
    assert [("missed" in names, "false-alarm" in names) for names in classes].count((True, False)) == missed
    text = " ".join(page.text)
    assert "labelled defective" in text and "Verdicts and labels" in text and "AUROC" in text
