"""The second look at an image: turned by 180 degrees, so that the backbone sees it anew.

A convolution answers another way where its input is turned, and its strides and padding fall elsewhere: what both looks
agree on is the image's, and what they do not is the backbone's. Turning by gathering rows and columns, since devices
differ in whether a slice may run backwards.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Looks = tuple[list[Tensor], list[Tensor] | None]
"""Feature maps of images, one for each stride; and those of the images turned, as they are, or None."""


def turn(maps: Tensor) -> Tensor:
    """(B, C, h, w) turned by 180 degrees."""
    for axis in (2, 3):
        maps = maps.index_select(axis, _backwards(maps.shape[axis], maps.device))
    return maps


def turn_places(places: Tensor) -> Tensor:
    """The same of (B, C, h * w)."""
    return places.index_select(2, _backwards(places.shape[2], places.device))


def look(backbone: Callable[[Tensor], list[Tensor]], image: Tensor, turned: bool) -> Looks:
    """Features of (B, 3, S, S) images; with those of the images turned where `turned` says so, in one pass of both."""
    if not turned:
        return backbone(image), None
    count = image.shape[0]
    both = backbone(torch.cat([image, turn(image)]))
    return [one[:count] for one in both], [one[count:] for one in both]


def _backwards(length: int, device: torch.device) -> Tensor:
    return torch.arange(length - 1, -1, -1, device=device)
