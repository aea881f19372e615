"""A profile holds everything a run depends on: read from YAML (`configs/`), checked key by key."""

import difflib
import itertools
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from edgezsad.errors import InputError, one_line
from edgezsad.files import parse_yaml, write_text

Layout = Literal["mvtec", "visa", "btad", "mpdd", "ksdd2", "dagm", "dtd", "real_iad"]
Runtime = Literal["pytorch", "onnx-fp32", "onnx-fp16", "onnx-int8", "qnn-htp-fp16"]
Positive = Annotated[int, Field(gt=0)]
Percent = Annotated[int, Field(ge=0, le=100)]
Channels = Annotated[int, Field(gt=0, le=1024)]


class Strict(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Generated(Strict):
    """Numbers of images to generate for a data set, per category; one category for each family (see `synthetic`)."""

    families: tuple[str, ...] = Field(min_length=1)
    train_normal: int = Field(0, ge=0)
    test_normal: int = Field(ge=0)
    test_defective: int = Field(ge=0)
    size: tuple[Positive, Positive] = (320, 320)  # height, width in pixels
    randomise: bool = False  # strong domain randomisation; for a source, not for a target


class Derive(Strict):
    """A source list derived from a data set (see `edgezsad.source.derive`); shares are whole percents."""

    images: Positive  # rows of the list
    whole: Percent = 55  # share of whole images
    defect_crop: Percent = 20  # share of crops around a defect
    normal_crop: Percent = 10  # share of crops without a defect
    paste: Percent = 15  # share of normal images with a defect pasted from another image
    synthetic: Percent = 0  # share of normal images, whole or cropped, with a synthetic defect
    defects: tuple[str, ...] | None = Field(None, min_length=1)  # kinds of synthetic defects, equally likely; or all
    scales: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field((25, 40, 60, 80), min_length=1)  # crops, in percent

    @model_validator(mode="after")
    def _shares_add_up(self) -> "Derive":
        total = self.whole + self.defect_crop + self.normal_crop + self.paste + self.synthetic
        if total != 100:
            raise ValueError(f"whole, defect_crop, normal_crop, paste and synthetic add up to {total}, expected 100")
        return self


class DataSet(Strict):
    """One data set on disk: its folder, its layout and, for a generated one, how to make it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    layout: Layout
    root: Path
    categories: tuple[str, ...] | None = None  # all by default
    stands_for: str | None = None  # its benchmark in the tables, for instance "MVTec-AD"
    generated: Generated | None = None
    derive: Derive | None = None  # train on a list derived from the images; for a source only
    share: float | None = Field(None, gt=0)  # relative share of a source in a training step, for all sources or none


class Data(Strict):
    """Source and targets; `root` is the folder above every data set's own relative root."""

    root: Path | None
    generated_root: Path | None = None  # above generated sets instead, where `root` is not writable
    seed: int = 0
    source: tuple[DataSet, ...] = Field(min_length=1)
    targets: tuple[DataSet, ...] = Field(min_length=1)

    @property
    def shares(self) -> dict[str, float] | None:
        """The sources' shares of a batch by name; None if they have none."""
        return {item.name: item.share for item in self.source if item.share is not None} or None

    @model_validator(mode="after")
    def _sets_fit_together(self) -> "Data":
        names = [item.name for item in (*self.source, *self.targets)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"data set named twice: {', '.join(twice)}")
        if len({item.share is None for item in self.source}) > 1:
            raise ValueError("share is given for some sources only; give it for all of them or for none")
        for key in ("share", "derive"):
            if wrong := [item.name for item in self.targets if getattr(item, key) is not None]:
                raise ValueError(f"{key} is for the source only; remove it from {', '.join(wrong)}")
        families = [
            {family for item in items if item.generated for family in item.generated.families}
            for items in (self.source, self.targets)
        ]
        for source, target in itertools.product(self.source, self.targets):
            chosen = [set(item.categories or ()) for item in (source, target)]
            if self._folder(source) == self._folder(target) and (not all(chosen) or chosen[0] & chosen[1]):
                raise ValueError(f"{source.name} and {target.name} are the same folder; a target must be unseen")
        # Content hashes cannot show this: the same family generated with another seed has other bytes.
        if both := sorted(families[0] & families[1]):
            raise ValueError(f"families in the source and in a target: {', '.join(both)}; a target must be unseen")
        return self

    def _folder(self, item: DataSet) -> str:
        above = self.generated_root if item.generated and self.generated_root is not None else self.root
        return os.path.normpath((above or Path()) / item.root)

    def folder(self, item: DataSet) -> Path:
        """Return the folder of a data set."""
        if item.generated and self.generated_root is not None:
            return self.generated_root / item.root
        if self.root is None:
            raise InputError("data.root is not set; give it in the profile, or run `make book DATA=FOLDER`")
        return self.root / item.root


class ReadoutConfig(Strict):
    """Settings of both kinds of readout."""

    local_channels: Channels = 32  # hidden channels of the spatial head
    noise: float = Field(0.5, ge=0)  # on the features in training, in standard deviations of each channel
    context: int = Field(0, ge=0, le=8)  # blocks of context aggregation over all strides; 0: each stride on its own
    # Strides at which the spatial head also reads the dissimilarity of each patch to the rest; needs `context`.
    self_similarity: tuple[Literal[8, 16, 32], ...] = ()
    correction_limit: float = Field(4.0, ge=0)  # the map moves the image score by less than this, in logits


class EdgeGLRConfig(ReadoutConfig):
    """The paper's readout (see `edgezsad.model.edgeglr`)."""

    kind: Literal["edgeglr"] = "edgeglr"
    correction_gain: float | None = Field(None, ge=0)  # of the correction by the map's peak; learned if left out


class SelfReferenceConfig(ReadoutConfig):
    """The readout of the shipped checkpoint (see `edgezsad.model.self_reference`); needs strides 8, 16 and 32."""

    kind: Literal["self_reference"] = "self_reference"
    correction_gain: float = Field(ge=0)  # of the correction by the map's peak
    map_rarity: float = Field(0.0, ge=0)  # logits added to the map per unit of rarity
    map_ranking: float = Field(0.0, ge=0)  # share of the global score added to the map, to compare maps of images
    clip: float | None = Field(None, gt=0)  # limit of channels where patches are compared, in standard deviations


READOUTS: dict[str, type[ReadoutConfig]] = {"edgeglr": EdgeGLRConfig, "self_reference": SelfReferenceConfig}


def _kind(readout: Any) -> str:
    return readout.get("kind", "edgeglr") if isinstance(readout, dict) else getattr(readout, "kind", "edgeglr")


Readout = Annotated[
    Annotated[EdgeGLRConfig, Tag("edgeglr")] | Annotated[SelfReferenceConfig, Tag("self_reference")],
    Discriminator(_kind, custom_error_type="kind", custom_error_message="kind must be edgeglr or self_reference"),
]


class Model(Strict):
    """Backbone and readout."""

    backbone: str
    weights: Literal["package", "hub", "random"] = "hub"  # of a pip package, timm's download, or none (for costs)
    size: int = Field(256, gt=0, le=1024)  # input height and width in pixels; images are resized to a square
    strides: tuple[Literal[4, 8, 16, 32], ...] = Field((8, 16, 32), min_length=1)
    tta: Literal["none", "rot180"] = "none"  # test-time augmentation: average over the image and its rotation
    readout: Readout = EdgeGLRConfig()

    @model_validator(mode="after")
    def _strides_fit(self) -> "Model":
        if list(self.strides) != sorted(set(self.strides)):
            raise ValueError(f"strides {self.strides} must ascend, each once")
        if self.size % self.strides[-1]:
            raise ValueError(f"size {self.size} must be a multiple of the coarsest stride, {self.strides[-1]}")
        readout = self.readout
        if missing := sorted(set(readout.self_similarity) - set(self.strides)):
            raise ValueError(f"readout.self_similarity: stride {missing[0]} is not among strides {self.strides}")
        if readout.self_similarity and not readout.context:
            raise ValueError("readout.self_similarity needs readout.context; set it to 1 or more")
        if readout.kind == "self_reference" and self.strides != (8, 16, 32):
            raise ValueError(f"readout.kind: self_reference needs strides (8, 16, 32), got {self.strides}")
        return self


class Training(Strict):
    """The training recipe (see `edgezsad.training.losses`)."""

    steps: Positive = 300
    batch: int = Field(64, ge=2, multiple_of=2)  # images per step over all devices; half normal, half defective
    learning_rate: float = Field(2e-3, gt=0, le=10)
    weight_decay: float = Field(0.05, ge=0)
    warmup: int = Field(50, ge=0)  # steps; a run shorter than twice as many warms up for half of its steps
    ema: float = Field(0.98, ge=0, lt=1)  # decay of the moving average of the weights, the result; 0: the last weights
    validation: float = Field(0.15, ge=0, lt=1)  # share of the source for validation and for the threshold
    ranking_weight: float = Field(1.0, ge=0)
    map_weight: float = Field(1.0, ge=0)
    global_weight: float = Field(0.5, ge=0)
    tuned_stages: int = Field(0, ge=0)  # the backbone's last stages that learn; 0: frozen, with cached features
    backbone_rate: float = Field(0.05, gt=0, le=1)  # of the backbone's last stage, in units of `learning_rate`
    layer_decay: float = Field(0.7, gt=0, le=1)  # learning rate of each stage, in units of the next one's
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # `auto`: bf16 on a GPU that has it; weights stay FP32
    device: Literal["auto", "cpu", "gpu"] = "auto"
    workers: Positive = 2  # threads that read images; no effect on what is trained
    save_every: Positive = 100  # steps between saved states, from which a run continues; no effect on what is trained


class Shipped(Strict):
    """The shipped detector's recipe, trained on the run's own source and features to compare it with the profile's."""

    tta: Literal["none", "rot180"] = "none"
    readout: SelfReferenceConfig
    training: Training


class Emulator(Strict):
    """The QNN HTP emulator is slow (seconds an image): it scores a subset."""

    images_per_target: Positive = 16
    seed: int = 0  # which trained seed it runs


class Evaluation(Strict):
    """How scores become numbers."""

    pixels: Positive = 128  # maps are enlarged and masks reduced to this height and width
    runtimes: tuple[Runtime, ...] = ("pytorch", "onnx-fp32", "onnx-fp16", "onnx-int8", "qnn-htp-fp16")
    emulator: Emulator = Emulator()

    @model_validator(mode="after")
    def _pytorch_is_there(self) -> "Evaluation":
        if "pytorch" not in self.runtimes or len(set(self.runtimes)) != len(self.runtimes):
            raise ValueError("runtimes needs pytorch, which everything is compared with, and each runtime once")
        return self


class Profile(Strict):
    """Everything a run depends on."""

    profile: Literal["mini", "folder", "paper"]
    title: str
    run: Path  # the folder that receives everything the run makes
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field((0, 1, 2), min_length=1)
    data: Data
    model: Model
    training: Training = Training()
    shipped: Shipped | None = None
    evaluation: Evaluation = Evaluation()
    rehearsal: Positive | None = None  # set by `edgezsad.run.rehearse` only: the numbers of such a run mean nothing
    paper_graph: Model = Model(
        backbone="tiny_vit_21m_512",
        weights="random",
        size=512,
        strides=(16, 32),
        # The published GFLOPs leave room for a readout of 9 MFLOPs at most.
        readout=EdgeGLRConfig(local_channels=4),
    )
    """The paper's graph, exported and counted without trained weights in every profile."""

    @model_validator(mode="after")
    def _seeds_fit(self) -> "Profile":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: a seed is listed twice, got {self.seeds}")
        if self.evaluation.emulator.seed not in self.seeds:
            raise ValueError(f"evaluation.emulator.seed {self.evaluation.emulator.seed} is not one of seeds")
        if self.shipped and self.training.tuned_stages + self.shipped.training.tuned_stages:
            raise ValueError("shipped needs cached features; set tuned_stages to 0 or remove it")
        return self

    def below(self, root: Path) -> "Profile":
        """Return the profile with its relative folders below `root`."""
        folders = {"root": self.data.root, "generated_root": self.data.generated_root}
        folders = {name: folder and root / folder for name, folder in folders.items()}
        return self.model_copy(update={"run": root / self.run, "data": self.data.model_copy(update=folders)})


def load_profile(path: Path | str, data_root: Path | str | None = None) -> Profile:
    """Read and check a profile, a YAML file; `data_root` replaces `data.root` when given."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such configuration; see configs/ for the profiles")
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: invalid YAML: {one_line(error)}; fix the file") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: not a profile (no keys); start from configs/mini.yaml")
    if data_root is not None and isinstance(raw.get("data"), dict):
        raw["data"]["root"] = str(data_root)
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {format_validation_errors(error)}") from None


def save_profile(profile: Profile, path: Path | str) -> Path:
    """Write a resolved profile as YAML, leaving an equal file untouched so that its time stamp stays."""
    path = Path(path)
    text = yaml.safe_dump(json.loads(profile.model_dump_json()), sort_keys=False, allow_unicode=True)
    if not (path.is_file() and path.read_text(encoding="utf-8") == text):
        write_text(path, text)
    return path


def format_validation_errors(error: ValidationError) -> str:
    """Format validation errors on one line, each prefixed by its key path."""
    problems = []
    for item in error.errors()[:10]:
        # A list whose only element is invalid is also reported as too short.
        if item["type"] == "too_short" and item["input"]:
            continue
        # The tag of a union is part of the location, but no key of the file.
        where = ".".join(str(part) for part in item["loc"] if part not in READOUTS) or "profile"
        if item["type"] == "extra_forbidden":
            keys = _keys(Strict) - {item["loc"][-1]}
            near = difflib.get_close_matches(str(item["loc"][-1]), keys, n=1)
            problems.append(f"unknown key {where}" + (f" (did you mean {near[0]}?)" if near else ""))
        elif item["type"] == "missing":
            problems.append(f"{where} is missing")
        else:
            problems.append(f"{where}: {item['msg'].removeprefix('Value error, ')}, got {item['input']!r:.80}")
            if item["type"] == "string_type" and not isinstance(item["input"], (dict, list)):
                problems[-1] += " (put it in quotation marks)"
    return "; ".join(problems)


def _keys(model: type[BaseModel]) -> set[str]:
    """Return the keys of a model and of all models derived from it."""
    return set(model.model_fields).union(*map(_keys, model.__subclasses__()))
