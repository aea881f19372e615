"""Generated images of surfaces and parts with defects, so that a run needs no download.

Read in this order: `scene`, `fields`, `surfaces`, `parts`, `assemblies`, `defects`, `photograph`, `randomise`, `image`,
`sets`. For example::

    from synthetic import SetSpec, generate_set

    spec = SetSpec("tiny", "mvtec", ("tiles", "dial"), train_normal=5, test_normal=5, test_defective=5)
    generate_set(spec, "runs/tiny", seed=0, workers=2)

The pixels depend on the versions of NumPy and OpenCV.
"""

from synthetic import assemblies, parts, surfaces
from synthetic.scene import FAMILIES, Family, families
from synthetic.sets import SetSpec, generate_set

_ = (assemblies, parts, surfaces)  # their import fills FAMILIES

__all__ = ["FAMILIES", "Family", "SetSpec", "families", "generate_set"]
