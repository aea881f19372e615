"""Detectors of a part, on small generated parts: parity with NumPy, defects, rotations, promises, invalid input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from edgezsad import references
from edgezsad.data.images import load
from edgezsad.export.onnx_append import appended
from edgezsad.metrics.image_metrics import auroc
from edgezsad.model import GRAPH, REFERENCES
from edgezsad.predict import Detector, compare_images, load_scorer
from edgezsad.references import Describer, Description, adapt, compare, compare_with, rotate, split_references
from synthetic import SetSpec, generate_set

Command = Callable[..., tuple[int, str, str]]
SIZE = 320


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Categories `cap` and `medal` in MVTec layout."""
    spec = SetSpec("parts", "mvtec", ("cap", "medal"), train_normal=8, test_normal=16, test_defective=8)
    return generate_set(spec, tmp_path_factory.mktemp("generated") / "parts", 0, 1)


def good(parts: Path, category: str = "cap") -> list[Path]:
    return sorted(parts.glob(f"{category}/train/good/*.png"))


def labelled(parts: Path, category: str = "cap") -> tuple[list[Path], np.ndarray]:
    """Images, and whether they are defective."""
    found = sorted(parts.glob(f"{category}/test/*/*.png"))
    return found, np.array([path.parent.name != "good" for path in found], dtype=np.int8)


@pytest.fixture(scope="session")
def part(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detector of four caps."""
    return adapt(good(parts)[:4], tmp_path_factory.mktemp("part") / "cap.onnx", rotations="none").path


def scores(detector: Path, paths: list[Path]) -> np.ndarray:
    scorer, _ = load_scorer(checkpoint=detector)
    return np.array([scorer.score(load(path, SIZE))[0] for path in paths])


@pytest.mark.slow
def test_the_graph_scores_as_numpy(parts: Path, part: Path) -> None:
    model = onnx.load(part)
    tensors = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    bank, offset = tensors["bank.fp16"][:, :, 0, 0], tensors["offset"]
    describer, found = Describer(), labelled(parts)[0][::4]
    expected = [compare_with([describer.describe(load(path, SIZE))], bank, offset) for path in found]
    expected = np.array(expected) * tensors["scale"].item() + tensors["shift"].item()
    measured = scores(part, found)
    np.testing.assert_allclose(measured, expected, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
def test_defects_score_higher(count: int, parts: Path, tmp_path: Path) -> None:
    found, label = labelled(parts)
    detector = Detector.adapt(good(parts)[:count], tmp_path / "cap.onnx", rotations="none")
    results = [detector.predict(path) for path in found]
    assert auroc(label, np.array([result.score for result in results])) > 0.9
    if count <= 2:  # all of their patches are kept
        itself = max(detector.predict(path).score for path in good(parts)[:count])
        assert itself < min(result.score for result in results) - 3
    if count == 1:
        assert {result.verdict for result in results} == {"uncalibrated"}
    else:
        flagged = np.array([result.defective for result in results])
        assert flagged[label == 1].mean() > 0.5 and flagged[label == 0].mean() < 0.3


@pytest.mark.slow
def test_parts_in_any_orientation_need_rotated_references(parts: Path, tmp_path: Path) -> None:
    random, found = np.random.default_rng(0), good(parts, "medal")[:4]
    turned = []
    for path in found:
        angle = int(random.integers(20, 340))
        turned.append(tmp_path / path.name)
        Image.fromarray(rotate(load(path, SIZE), angle)).save(turned[-1])
    with_copies = adapt(turned, tmp_path / "turned.onnx")
    assert with_copies.rotated and with_copies.patches == 2 * references.MOST_PATCHES
    assert not adapt(found, tmp_path / "upright.onnx").rotated
    assert adapt(found[:1], tmp_path / "one.onnx", rotations="8").rotated
    assert "rotated in steps of 45 degrees, 1,600 patches" in with_copies.as_text()
    # The limits hold for the largest part file.
    assert with_copies.path.stat().st_size < 12e6
    assert operations(with_copies.path) < 1.5 * operations(GRAPH)


def operations(path: Path) -> int:
    """Multiplications of convolutions and matrix products."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    shapes = {
        item.name: [axis.dim_value for axis in item.type.tensor_type.shape.dim] for item in model.graph.value_info
    }
    shapes |= {item.name: [*item.dims] for item in model.graph.initializer}
    count = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            count += int(np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:]))
        elif node.op_type == "MatMul":
            count += int(np.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1])
    return count


def test_many_images_are_divided_between_references_and_threshold() -> None:
    paths = [Path(f"{number}.png") for number in range(200)]
    assert split_references(paths[:19], ()) == (paths[:19], [])
    for count, references_wanted in ((20, 10), (200, 16)):
        chosen, held_out = split_references(paths[:count], ())
        assert len(chosen) == references_wanted and sorted(chosen + held_out) == sorted(paths[:count])
        assert chosen[0] == paths[0] and chosen[-1] == paths[count - 1]
    chosen, held_out = split_references(paths[:19], paths[100:])
    assert len(chosen) == 16 and held_out[:100] == paths[100:] and len(held_out) == 103


@pytest.mark.slow
def test_what_the_command_promises(parts: Path, tmp_path: Path, command: Command) -> None:
    folder, output = parts / "cap" / "train" / "good", tmp_path / "cap.onnx"
    code, text, errors = command("adapt", folder, "--output", output, "--rotations", "none")
    assert code == 0, errors
    first, second = text.splitlines()
    assert first.startswith(f"{output}: 8 reference images, 800 patches, 8.") and first.endswith(" MB")
    promise = "an estimate from 8 references, each compared with the others: between 5% and 10% of good parts flagged"
    assert second.startswith("threshold: ") and promise in second
    assert "no guarantee; 5% with 95% confidence needs 59 more good images" in second
    options = ("--calibrate", parts / "cap" / "test" / "good", "--false-alarms", "0.2", "--rotations", "none")
    code, text, _ = command("adapt", folder, "--output", output, *options)
    assert code == 0 and "at most 20% of good parts flagged, with 95% confidence (from 16 good images)" in text
    assert "estimate" not in text
    code, text, errors = command("predict", folder / "000.png", "--checkpoint", output)
    assert code == 0 and text.startswith("normal ") and "verdicts: at most 20% of good parts" in errors
    metadata = load_scorer(checkpoint=output)[0].metadata
    assert len(json.loads(metadata["references"])) == 8 and metadata["base_sha256"]
    code, text, _ = command("evaluate", parts / "cap", "--references", "train/good", "--json")
    report = json.loads(text)
    assert code == 0 and promise in report["thresholds"]["cap/cap"]
    cap = report["rows"][0]
    assert cap["image_auroc"] > 90 and cap["pixel_auroc"] > 75 and cap["missed"] <= 4 and cap["false_alarms"] <= 5


@pytest.mark.slow
def test_invalid_references(parts: Path, tmp_path: Path, command: Command) -> None:
    first, second, *_ = good(parts)
    wide, torn, text = tmp_path / "wide.png", tmp_path / "torn.png", tmp_path / "text.png"
    Image.open(first).resize((320, 160)).save(wide)
    torn.write_bytes(first.read_bytes()[:5000])
    text.write_text("not found")
    copy = Path(shutil.copy(first, tmp_path / "copy.png"))
    out = ("--output", tmp_path / "x.onnx")
    cases = (
        ((first, second, wide, *out), "wide.png: another shape than the other references"),
        ((first, copy, *out), "copy.png: the same image as"),
        ((first, "--calibrate", copy, *out), "copy.png: the same image as"),
        ((first, torn, *out), "torn.png: truncated or damaged"),
        ((first, text, *out), "text.png: contains text, not an image"),
        ((first, tmp_path / "none.png", *out), "none.png: no such image"),
        ((first, "--output", tmp_path / "x.pt"), "must end with .onnx"),
        ((first, "--output", tmp_path), "must end with .onnx"),
        ((first, "--rotations", "nonsense", *out), "--rotations nonsense: expected auto, none, 8"),
    )
    for arguments, message in cases:
        code, _, errors = command("adapt", *arguments)
        last = errors.splitlines()[-1]
        assert (code, last[:7]) == (2, "error: ") and message in last, arguments
    assert not (tmp_path / "x.onnx").exists()
    tested = parts / "cap" / "test" / "good"
    code, _, errors = command("evaluate", parts / "cap", "--references", "test/good")
    assert code == 2 and f"{tested / '000.png'}: also the test image" in errors
    code, _, errors = command("evaluate", parts / "cap", "--references", "train/bad")
    assert code == 2 and "no such folder; give for instance --references train/good" in errors


@pytest.mark.slow
def test_a_defective_or_foreign_reference_is_a_reason_to_warn(parts: Path, tmp_path: Path) -> None:
    assert adapt(good(parts), tmp_path / "x.onnx", rotations="none").warnings == []
    damaged = tmp_path / "damaged.png"
    pixels = load(good(parts)[5], SIZE)
    cv2.line(pixels, (100, 120), (220, 200), (250, 40, 40), 14)
    Image.fromarray(pixels).save(damaged)
    for stranger in (damaged, good(parts, "medal")[0]):
        (warning,) = adapt([*good(parts)[:4], stranger], tmp_path / "x.onnx", rotations="none").warnings
        assert warning.startswith(f"{stranger}: unlike the other references (score +")


@pytest.mark.slow
def test_a_changed_part_file_is_rejected(part: Path, tmp_path: Path, command: Command) -> None:
    image, data = tmp_path / "a.png", part.read_bytes()
    Image.new("RGB", (64, 64)).save(image)
    at = data.index(b"bank.fp16", REFERENCES.stat().st_size) + 5000
    seal = references.sealed(b"x")[1:]
    assert references.sealed(data[: -len(seal)]) == data
    other_base = data[: -len(seal)].replace(references.sha256_of_file(REFERENCES).encode(), b"0" * 64)
    cases = {
        "byte": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "threshold": appended(data, metadata={"threshold": "99"}),
        "key": data.replace(b"references", b"preferences"[:10]),
        "truncated": data[:-40],
        "half": data[: len(data) // 2],
        "base": references.sealed(other_base),
    }
    for name, changed in cases.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(changed)
        code, text, errors = command("predict", image, "--checkpoint", path)
        last = errors.splitlines()[-1]
        assert code == (2 if name in ("truncated", "half", "base") else 1), (name, last)
        assert text == "" and last.startswith(f"error: {path}: "), name


@pytest.mark.slow
@pytest.mark.parametrize("defective", [1, 2, 6])
def test_defective_images_of_a_folder_stand_out(defective: int, parts: Path) -> None:
    found, label = labelled(parts)
    chosen = [*np.array(found)[label == 0], *np.array(found)[label == 1][:defective]]
    scorer, decision, order = compare_images(chosen, None)
    # Six of 22 are close to the share above which a folder cannot be judged.
    assert order == chosen and (decision.warnings == [] or defective == 6)
    values = np.array([scorer.score(np.empty(0))[0] for _ in order])
    assert auroc(np.arange(len(chosen)) >= 16, values) > 0.9
    flagged = values >= decision.threshold
    assert flagged[16:].mean() >= 0.5 and flagged[:16].mean() <= 0.2


@pytest.mark.slow
def test_folders_that_cannot_be_compared(parts: Path, command: Command, tmp_path: Path) -> None:
    caps, medals = labelled(parts)[0][:16], labelled(parts, "medal")[0][:16]
    code, _, errors = command("predict", *caps[:3], "--compare")
    assert code == 2 and "--compare: 3 images; give at least 4" in errors
    code, _, errors = command("predict", *caps[:8], "--compare")
    assert code == 0 and "warning: 8 images are few" in errors
    for mixed in ((caps[:8], medals[:8]), (caps[:14], medals[:4])):
        _, _, errors = command("predict", *mixed[0], *mixed[1], "--compare")
        assert "the images differ much from one another" in errors


def test_comparing_needs_time_in_proportion_to_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    found = [
        Description(
            random.normal(size=(400, 8)).astype(np.float32), np.zeros(400, np.float32), np.ones(400, np.float32)
        )
        for _ in range(60)
    ]
    found[7].patches[:20] += 9
    pairs: list[Any] = []
    plain = Description.distances
    monkeypatch.setattr(Description, "distances", lambda *given: (pairs.append(1), plain(*given))[1])
    result = compare(found, most=8)
    assert len(pairs) == 2 * 8 * 60
    assert result.scores.argmax() == 7 and result.scores[7] > result.threshold
    assert result.maps.shape == (60, 20, 20) and (result.maps[7].ravel().argsort()[-20:] < 20).all()
    assert result.warnings == []
    for one in found[10:34]:
        one.patches[:20] += 9 * random.normal(size=8).astype(np.float32)
    assert "of the images stand out; more than a third" in compare(found, most=8).warnings[-1]
