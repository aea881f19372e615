"""Generated images: masks mark the change, every kind of defect works."""

import numpy as np
import pytest

from synthetic import families
from synthetic.defects import COMPONENT_KINDS, KINDS, with_defect
from synthetic.image import Address, _defective, _scene, defective_image, mask_of, normal_image
from synthetic.photograph import develop, expose


@pytest.mark.parametrize("name", families())
def test_masks_mark_the_change(name):
    address = Address(0, "test", name, "test", 0, (160, 128), True)
    image, mask = defective_image(address)
    _, _, without_defect, how = _defective(address)
    change = np.abs(image.astype(int) - develop(without_defect, how, address.random("defective noise"))).max(axis=2)
    assert image.shape == (160, 128, 3) and image.dtype == np.uint8
    assert mask.shape == (160, 128) and mask.any() and mask.mean() < 0.35
    assert change[mask].mean() > 3 * change[~mask].mean()


@pytest.mark.parametrize("kind", [*KINDS, *COMPONENT_KINDS])
def test_every_kind_changes_only_the_part(kind):
    scene, how = _scene(Address(1, "test", "dial", "test", 0, (160, 160), False), "defective")
    whole = scene.assembled()
    normal, gain = expose(whole, how)
    image, _ = expose(with_defect(kind, scene, np.random.default_rng(0), 1.0), how, gain)
    mask = mask_of(np.abs(image - normal).max(axis=2))
    assert mask.any()
    # Blur and soft shadow reach a little over the edge.
    assert (whole.region[mask] > 0.5).mean() > 0.7


def test_normal_images_differ_and_have_contrast():
    for name in ("wood", "gear", "woven_cloth", "brick"):
        first, second = (normal_image(Address(0, "t", name, "test", k, (96, 96), False)) for k in (0, 1))
        assert np.abs(first.astype(int) - second).mean() > 2
        assert 25 < first.mean() < 230 and first.std() > 2
