"""What a kit holds, as `kit.json` in it says. The board hands the file back with its result, untouched."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]

IMAGES, CANARIES, RECORD, SUMS = "images.tsv", "canaries.tsv", "kit.json", "SHA256SUMS"
RESULT_SUFFIX = "-result.tar"


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KitModel(Strict):
    """A model file of the kit, and for whom it is."""

    file: str
    sha256: Sha256


class KitTarget(Strict):
    """The images of one target, in the manifest's order."""

    name: Name
    manifest_sha256: Sha256
    """Of the images that are in the kit."""
    images: Annotated[int, Field(gt=0)]


class KitRecord(Strict):
    """A kit."""

    schema_version: Literal[1] = 1
    edgezsad: str
    board: Literal["jetson", "rb5"]
    profile: str
    seed: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(gt=0)]
    """Input height and width in pixels."""
    map_shape: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    """Height and width of the anomaly map."""
    detector_sha256: str
    """Of the weights in every one of the models."""
    models: dict[Literal["fp32", "fp16", "dlc"], KitModel]
    targets: tuple[KitTarget, ...] = Field(min_length=1)
    images_per_target: Annotated[int, Field(gt=0)] | None = None
    """About so many of each target, spread evenly; all when left out."""
    images_sha256: Sha256
    """Of the list of images."""
    canaries_sha256: Sha256
    """Of the list of the pictures that guard the order of results."""

    @model_validator(mode="after")
    def _targets_differ(self) -> "KitRecord":
        names = [target.name for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError("a target is there twice")
        return self
