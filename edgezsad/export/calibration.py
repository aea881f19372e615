"""Which images INT8 is made with: some of the source for the ranges, others of the source to see what it costs.

A target must stay unseen, also by the ranges: one whose images are in the source is refused here, and `to_int8` refuses
images of any source but the one that the graph was trained on.
"""

from dataclasses import dataclass

import numpy as np

from edgezsad.data.duplicates import shared_files
from edgezsad.data.loading import split_source, subsample_evenly
from edgezsad.data.manifest import read_run_manifest, read_source_manifests
from edgezsad.errors import InputError
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.source.source_images import source_images

CALIBRATION = 64
HELD_OUT = 16
REHEARSED = 2
"""Images for either purpose in a rehearsal: the paper's graph takes minutes for each in a sweep of all its layers."""


@dataclass(frozen=True, eq=False)
class SourceSample:
    """Images of a run's source.

    Attributes:
        calibration: (S, S, 3) uint8 RGB each; of those that were trained on.
        held_out: likewise; of those that training held out, where it held any out, and never of the former.
        source_sha256: of the whole source.
    """

    calibration: list[np.ndarray]
    held_out: list[np.ndarray]
    source_sha256: str


def source_sample(run: Run, calibration: int = CALIBRATION, held_out: int = HELD_OUT) -> SourceSample:
    """Read some images of a run's source, spread evenly over its sets and categories.

    Args:
        run: with its manifests.
        calibration: images for the ranges, at most.
        held_out: other images, at most.

    Raises:
        InputError: an image of a target lies in the source; or a manifest or an image is missing or damaged.
    """
    both = shared_files(read_source_manifests(run), [read_run_manifest(run, item) for item in run.profile.data.targets])
    if both:
        raise InputError(f"{both[0][1]}: an image of a target, and in the source; calibrate on the source alone")
    source = source_images(run)
    if run.profile.rehearsal is not None:
        calibration, held_out = min(calibration, REHEARSED), min(held_out, REHEARSED)
    fitted, held = split_source(source.label, source.group, source.parent, run.profile.training.validation)
    if len(held) < 2:
        fitted, held = fitted[::2], fitted[1::2]
    rows = [*subsample_evenly(fitted, calibration), *subsample_evenly(held, held_out)]
    size = run.profile.model.size
    images = [source.read(int(row), size).pixels for row in progress(rows, "source images for INT8")]
    count = len(subsample_evenly(fitted, calibration))
    return SourceSample(images[:count], images[count:], source.sha256)
