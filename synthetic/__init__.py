"""Generated data sets: surfaces and parts with defects, for a run without any download.

Read in this order: `scene` (layers), `fields` (random fields and shapes), `surfaces`, `parts` and `figures` (families),
`defects`, `photograph` (light and camera), `randomise` (distractors), `image` (one image and its mask), `sets` (a
folder of them). To use it::

    from synthetic import SetSpec, generate_set

    spec = SetSpec("tiny", "mvtec", ("tiles", "dial"), train_normal=5, test_normal=5, test_defective=5)
    generate_set(spec, "runs/tiny", seed=0, workers=2)

The pixels depend on the versions of numpy and OpenCV: the data manifests of the generated sets say which were used.
"""

from synthetic import figures, parts, surfaces
from synthetic.registry import FAMILIES, Family, families
from synthetic.sets import SetSpec, generate_set

# Importing these three fills FAMILIES.
_ = (figures, parts, surfaces)

__all__ = ["FAMILIES", "Family", "SetSpec", "families", "generate_set"]
