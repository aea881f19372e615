"""Files of the page "Try it": the shipped graphs, ONNX Runtime Web, example images and the heat map's colours.

The page's scripts are in `book/_static/tryit`; `files.json` next to them lists what they load, with size and hash.
ONNX Runtime Web comes from npm; `book/tryit/package-lock.json` pins its hash.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from PIL import Image

from edgezsad import references
from edgezsad.files import read_json, write_json, written_beside
from edgezsad.metrics import calibration
from edgezsad.model import GRAPH, REFERENCES
from edgezsad.show.maps import HEAT_RANGE, heat_colours
from synthetic.image import Address, defective_image, normal_image

PINS = Path("book/tryit")
PACKAGE = "onnxruntime-web"
RUNTIME = {"script": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}

# (family, index, defective), chosen to show misses and false alarms too.
EXAMPLES = (("button", 0, False), ("button", 0, True), ("wood", 1, True), ("washer", 0, True))
GOOD = tuple(("button", index, False) for index in range(1, 5))


def fetch_runtime(folder: Path) -> None:
    """Copy the runtime from npm to a folder, unless it is there, within five minutes; else the page says so."""
    if all((folder / name).is_file() for name in RUNTIME.values()):
        return
    with tempfile.TemporaryDirectory(prefix="edgezsad-npm.") as name:
        for pin in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy2(PINS / pin, name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1"]
        try:
            subprocess.run(command, cwd=name, capture_output=True, check=True, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"book: npm: {error}; the page 'Try it' cannot score without its runtime", file=sys.stderr)
            return
        for file in RUNTIME.values():
            with written_beside(folder / file) as temporary:
                shutil.copyfile(Path(name) / "node_modules" / PACKAGE / "dist" / file, temporary)


def stage_files(prose: Path, cache: Path) -> dict[str, Any]:
    """Copy what the page "Try it" loads into a staged book and return the values for its text."""
    version = read_json(PINS / "package.json", "restore it")["dependencies"][PACKAGE]
    cache = cache / version
    fetch_runtime(cache)
    folder = prose / "_static" / "tryit"
    folder.mkdir(parents=True, exist_ok=True)
    # The licence asks for its text. The npm package has neither file, the Python package of ONNX Runtime both.
    for name in ("LICENSE", "ThirdPartyNotices.txt"):
        shutil.copy2(distribution("onnxruntime").locate_file(f"onnxruntime/{name}"), folder / f"onnxruntime-{name}")
    files = {}
    paths = {"single": GRAPH, "references": REFERENCES} | {use: cache / file for use, file in RUNTIME.items()}
    for use, path in paths.items():
        if path.is_file():
            data, name = path.read_bytes(), "runtime" if use in RUNTIME else "model"
            digest = "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode()
            files[use] = {"name": name, "url": path.name, "bytes": len(data), "integrity": digest}
            shutil.copy2(path, folder)
    heat = {"colours": heat_colours().tobytes().hex(), "range": list(HEAT_RANGE)}
    known = vars(references) | vars(calibration)
    method = {name: value for name, value in known.items() if name.isupper() and isinstance(value, int | float)}
    method["texts"] = [calibration.estimate_text(count, 0.05) for count in range(11)]  # at most ten images
    write_json(folder / "files.json", {"files": files, "heat": heat, "references": method})
    return {
        "megabytes": sum(file["bytes"] for file in files.values()) / 1e6,
        "size": references.Describer().size,
        "version": version,
        "examples": [write_example(folder, *example) for example in EXAMPLES],
        "good": [write_example(folder, *example) for example in GOOD],
    }


def write_example(folder: Path, family: str, index: int, defective: bool) -> dict[str, str]:
    """Generate an example as JPEG and return its file and name; the image is the same each time."""
    address = Address(0, "try-it", family, "test", index, (384, 384), False)
    image = defective_image(address)[0] if defective else normal_image(address)
    file = f"{family}-{'defective' if defective else 'normal'}-{index}.jpg"
    with written_beside(folder / file) as temporary:
        Image.fromarray(image).save(temporary, quality=88)
    return {"file": file, "name": f"{family.capitalize()}, {'with' if defective else 'without'} a defect"}
