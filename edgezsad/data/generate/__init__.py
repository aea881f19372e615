"""Generated data sets: surfaces and parts with defects, for a run without any download.

Read in this order: `scene` (layers), `fields` (random fields and shapes), `surfaces`, `parts` and `figures` (families),
`defects`, `photograph` (light and camera), `randomise` (distractors), `image` (one image and its mask), `sets` (a
folder of them). To use it::

    from edgezsad.config import load_profile
    from edgezsad.data.generate import generate_set
    data = load_profile("configs/mini.yaml").data
    for item in (*data.source, *data.targets):
        generate_set(item, data.folder(item), data.seed, workers=2)

The pixels depend on the versions of numpy and OpenCV: the data manifests of the generated sets say which were used.
"""

from edgezsad.data.generate import figures, parts, surfaces
from edgezsad.data.generate.registry import FAMILIES, Family, families
from edgezsad.data.generate.sets import generate_set

# Importing these three fills FAMILIES.
_ = (figures, parts, surfaces)

__all__ = ["FAMILIES", "Family", "families", "generate_set"]
