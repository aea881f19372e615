"""The list of families: each is a renderer of normal scenes and the kinds of defect that make sense on it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from edgezsad.errors import InputError
from synthetic.fields import Random
from synthetic.scene import Scene, Size

Renderer = Callable[[Random, Random, Size], Scene]
"""(style, each, size) -> scene. `style` gives what a category's images share, `each` what differs between them."""


@dataclass(frozen=True)
class Family:
    """One kind of surface or part.

    Attributes:
        name: its name in a configuration.
        render: makes a normal scene.
        defects: kinds of defect, as named in `synthetic.defects`.
    """

    name: str
    render: Renderer
    defects: tuple[str, ...]

    def __call__(self, style: Random, each: Random, size: Size) -> Scene:
        """A normal scene of `size` (height, width)."""
        return self.render(style, each, size)


FAMILIES: dict[str, Family] = {}
"""Name -> family; filled by the modules `surfaces` and `parts`."""


def family(*defects: str) -> Callable[[Renderer], Renderer]:
    """Register the function below as a family under its own name, with the kinds of `defects` it can have."""

    def register(render: Renderer) -> Renderer:
        FAMILIES[render.__name__] = Family(render.__name__, render, defects)
        return render

    return register


def families() -> tuple[str, ...]:
    """The names of all families, sorted."""
    return tuple(sorted(FAMILIES))


def find(name: str) -> Family:
    """The family of that name.

    Raises:
        InputError: there is none; the line names the nearest.
    """
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, FAMILIES, n=1, cutoff=0.3)
        raise InputError(
            f"unknown generated family {name!r}; " + (f"did you mean {near[0]}?" if near else "see families()")
        )
    return FAMILIES[name]
