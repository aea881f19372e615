"""One file holds everything a run depends on: a profile, read from YAML and checked key by key.

The same notebooks and the same graph run in every profile (`configs/mini.yaml`, `folder.yaml`, `paper.yaml`).
Relative paths in a profile count from the project's root (see `edgezsad.run.open_run`).
"""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edgezsad.errors import InputError
from edgezsad.files import write_text

Layout = Literal["mvtec", "visa", "btad", "mpdd", "ksdd2", "dagm", "dtd", "real_iad"]
Runtime = Literal["pytorch", "onnx-fp32", "onnx-fp16", "onnx-int8", "qnn-htp-fp16", "tensorrt-fp16"]
Positive = Annotated[int, Field(gt=0)]
Percent = Annotated[int, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Generated(Strict):
    """How many images of which generated families to make for a data set (see `synthetic`).

    Counts are per category; one category is made for each family. `size` is (height, width) in pixels.
    """

    families: tuple[str, ...] = Field(min_length=1)
    train_normal: int = Field(0, ge=0)
    test_normal: int = Field(ge=0)
    test_defective: int = Field(ge=0)
    size: tuple[Positive, Positive] = (320, 320)
    randomise: bool = False
    """Strong domain randomisation (light, colour, blur, noise, geometry): for a source, not for a target."""


class Randomise(Strict):
    """Domain randomisation of a derived source (see `edgezsad.source.randomise`): how strong each change may be.

    The paper says nothing of any of them; every value is ours.
    """

    chance: Share = 0.5
    """How likely each of the changes of light, colour, blur and noise is, one by one."""
    gain: Share = 0.3
    """Brightness is multiplied by 1 - gain to 1 + gain."""
    gradient: Share = 0.3
    """The light falls off across the image by up to this share of its brightness."""
    white_balance: Share = 0.1
    """Each channel is multiplied by 1 - white_balance to 1 + white_balance."""
    saturation: Share = 0.3
    """The distance from grey is multiplied by 1 - saturation to 1 + saturation."""
    blur: float = Field(1.0, ge=0, le=10)
    """Largest Gaussian blur, as its standard deviation in pixels of an image of 512 x 512."""
    noise: float = Field(5.0, ge=0, le=100)
    """Largest Gaussian noise, as its standard deviation in levels of 255."""
    background: Share = 0.2
    """How likely the background is replaced, where one can be told from the part."""
    turn: bool = True
    """Mirror the image and turn it by right angles."""


class Derive(Strict):
    """A source list derived from a data set's images: Real-IAD-DR as we read it (see `edgezsad.source.derive`).

    Of the paper's recipe only the name and the number of images are published: the kinds, their shares and every other
    value here are ours. Whole numbers throughout, so that a list is the same on every machine.
    """

    images: Positive
    """Rows of the list."""
    whole: Percent = 55
    """Share of whole images, percent."""
    defect_crop: Percent = 20
    """Share of crops around a defect, percent."""
    normal_crop: Percent = 10
    """Share of crops at a normal place, percent."""
    paste: Percent = 15
    """Share of normal images with a defect pasted from another image, percent."""
    synthetic: Percent = 0
    """Share of normal images, whole or cropped, with a synthetic defect, percent."""
    defects: tuple[str, ...] | None = Field(None, min_length=1)
    """Kinds of synthetic defects, equally likely; by default all kinds with their own weights
    (`edgezsad.source.synthetic_defects`)."""
    scales: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field((25, 40, 60, 80), min_length=1)
    """Height and width of crops, in percent of the image's."""
    least_of_defect: Annotated[int, Field(ge=1, le=100)] = 50
    """A crop around a defect holds at least this share of the image's defective pixels, percent, ..."""
    least_of_crop: Annotated[int, Field(ge=1, le=100)] = 5
    """... or, where the defect is larger than the crop, at least this share of the crop is defective, percent."""
    paste_shift: Percent = 6
    """A pasted defect lies at most this far from where it was, in percent of the image's height and width."""
    randomise: Randomise = Randomise()

    @model_validator(mode="after")
    def _shares_add_up(self) -> "Derive":
        total = self.whole + self.defect_crop + self.normal_crop + self.paste + self.synthetic
        if total != 100:
            raise ValueError(
                f"whole, defect_crop, normal_crop, paste and synthetic add up to {total}; they are percent"
            )
        return self


class DataSet(Strict):
    """One data set on disk: its folder, its layout and, for a generated one, how to make it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    layout: Layout
    root: Path
    categories: tuple[str, ...] | None = None
    """Only these categories; all that are found when left out."""
    stands_for: str | None = None
    """The benchmark whose place this set takes in the tables, for instance "MVTec-AD"."""
    generated: Generated | None = None
    derive: Derive | None = None
    """Train on a list derived from the images, not on the images as they are; for a source only."""
    share: float | None = Field(None, gt=0)
    """How many of the images of a training step come from this source, in proportion to the other sources' shares, its
    categories being equally likely. Where it is left out, each of its categories is as likely as any other category of
    a set without a share; it is given for all sources or for none."""


class Data(Strict):
    """Source and targets. `root` is put before every data set's own relative root."""

    root: Path | None
    generated_root: Path | None = None
    """Put before the root of generated sets instead, where the others lie in a folder that is not to be written to."""
    seed: int = 0
    source: tuple[DataSet, ...] = Field(min_length=1)
    targets: tuple[DataSet, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Data":
        names = [item.name for item in (*self.source, *self.targets)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"data set named twice: {', '.join(twice)}")
        if len({item.share is None for item in self.source}) > 1:
            raise ValueError("share is given for some sources alone; give it for all of them or for none")
        if shared := [item.name for item in self.targets if item.share is not None]:
            raise ValueError(f"share is for the source only; take it out of {', '.join(shared)}")
        stands = [item.stands_for for item in self.targets if item.stands_for]
        if len(set(stands)) != len(stands):
            raise ValueError("two targets stand for the same benchmark; each may be named once in stands_for")
        if derived := [item.name for item in self.targets if item.derive]:
            raise ValueError(f"derive is for the source only; take it out of {', '.join(derived)}")
        families = [
            {family for item in items if item.generated for family in item.generated.families}
            for items in (self.source, self.targets)
        ]
        # Content hashes cannot show this: the same family drawn with another seed has other bytes.
        if both := sorted(families[0] & families[1]):
            raise ValueError(f"families in the source and in a target: {', '.join(both)}; a target must be unseen")
        return self

    def folder(self, item: DataSet) -> Path:
        """Where a data set lies on disk."""
        if item.generated and self.generated_root is not None:
            return self.generated_root / item.root
        if self.root is None:
            raise InputError("data.root is not set; give it in the profile, or run `make book DATA=FOLDER`")
        return self.root / item.root


class Readout(Strict):
    """EdgeGLR's size (see `edgezsad.model.readout`)."""

    local_channels: Positive = 32
    """Hidden channels of the spatial head at each stride."""
    global_channels: Positive = 64
    """Hidden width of the global head."""
    context: int = Field(0, ge=0, le=8)
    """How many times each place of the map looks around itself, all strides together (see `edgezsad.model.context`); 0:
    each stride draws a share of the map place by place."""
    self_similarity: tuple[Literal[8, 16, 32], ...] = ()
    """Strides at which each place is compared with the rest of its own image (see `edgezsad.model.similarity`); the
    comparison grows with the fourth power of the image's side. It needs `context`."""
    ranking: Literal["features", "cues"] = "features"
    """What the global head reads: features where the map points, and learns by descent; or a few cues of the image
    against itself, which all count alike (see `edgezsad.model.cues`) and take strides 8, 16 and 32."""
    correction_limit: float = Field(4.0, ge=0)
    """The spatial head moves the image score by less than this (in logits), where the ranking leads; at 0 it does not
    move it."""
    correction_gain: float | None = Field(None, ge=0)
    """How strongly the map's peak corrects the ranking; learned where it is left out. Cues need it: how large their sum
    is differs from part to part by more than a defect adds, so that no gain can be learned across parts."""
    map_rarity: float = Field(0.0, ge=0)
    """How many logits the map gains for each unit of rarity (see `edgezsad.model.cues`); needs cues."""
    map_ranking: float = Field(0.0, ge=0)
    """How much of the image's ranking every place of its map gains, so that maps of different images can be compared;
    needs cues."""
    ranking_limit: float | None = Field(None, ge=0)
    """Where it is left out, the global head's ranking leads and the map corrects it. A number turns them round: the
    score is the map's peak, by a learned gain and offset, and the ranking moves it by less than the number; at 0 it
    does not move it."""
    clip: float | None = Field(None, gt=0)
    """Where cues compare places, no channel differs from its image's mean by more than this, in units of its spread
    over the source; without a limit where it is left out. Unseen parts drive single channels far beyond it."""
    noise: float = Field(0.5, ge=0)
    """Gaussian noise on the features while training, in units of each channel's spread: cached features allow no
    augmentation of images, and without it a readout learns its source by heart."""


class Model(Strict):
    """Backbone and readout."""

    backbone: str
    weights: Literal["package", "hub", "random"] = "hub"
    """`package`: inside a pip package; `hub`: timm's own download; `random`: none, for counting costs."""
    size: Positive = 256
    """Input height and width in pixels; images are resized to a square."""
    strides: tuple[Literal[4, 8, 16, 32], ...] = Field((8, 16, 32), min_length=1)
    tta: Literal["none", "rot180"] = "none"
    """Test-time augmentation: `rot180` also runs the backbone on the image rotated by 180 degrees, at twice the cost.
    The map combines both passes; the image-level ranking uses the first pass only."""
    readout: Readout = Readout()

    @model_validator(mode="after")
    def _strides_fit(self) -> "Model":
        if list(self.strides) != sorted(set(self.strides)):
            raise ValueError(f"strides {self.strides} must ascend, each once")
        if missing := sorted(set(self.readout.self_similarity) - set(self.strides)):
            raise ValueError(
                f"readout.self_similarity at stride {missing[0]}, which is not among strides {self.strides}"
            )
        if self.readout.self_similarity and not self.readout.context:
            raise ValueError(
                "readout.self_similarity is read by the head with context; set readout.context to 1 or more"
            )
        if self.readout.ranking == "cues" and self.strides != (8, 16, 32):
            raise ValueError(f"readout.ranking: cues need strides 8, 16 and 32, not {self.strides}")
        if self.readout.ranking == "cues" and (
            self.readout.correction_gain is None or self.readout.ranking_limit is not None
        ):
            raise ValueError("readout.ranking: cues lead, with a correction_gain and without a ranking_limit")
        of_cues = (self.readout.map_rarity, self.readout.map_ranking, self.readout.clip)
        if self.readout.ranking != "cues" and any(of_cues):
            raise ValueError("readout.map_rarity, readout.map_ranking and readout.clip: need ranking: cues")
        if self.size % self.strides[-1]:
            raise ValueError(f"size {self.size} must be a multiple of the coarsest stride, {self.strides[-1]}")
        return self


class Training(Strict):
    """The source-side recipe (see `edgezsad.training.recipe`)."""

    steps: Positive = 300
    batch: int = Field(64, ge=2, multiple_of=2)
    """Images of a step, over all devices together; half of them normal, half defective. Ours: the ranking loss compares
    all pairs of a step, and 64 images at 512 pixels are meant to fit one GPU; not ablated."""
    learning_rate: float = Field(2e-3, gt=0, le=10)
    weight_decay: float = Field(0.05, ge=0)
    warmup: int = Field(50, ge=0)
    """Steps; a run shorter than twice as many warms up for half of its steps."""
    ema: float = Field(0.98, ge=0, lt=1)
    """Share of the moving average of the weights that a step keeps; the average is the result. 0: the last weights."""
    validation: float = Field(0.15, ge=0, lt=1)
    """Share of the source held out to follow training and to set the threshold. Ours: most is left to learn from, and
    the threshold rests on some hundred images; not ablated."""
    ranking_weight: float = Field(1.0, ge=0)
    map_weight: float = Field(1.0, ge=0)
    global_weight: float = Field(0.5, ge=0)
    tuned_stages: int = Field(0, ge=0)
    """How many of the backbone's last stages learn. 0: it is frozen, and its features are computed once and cached."""
    backbone_rate: float = Field(0.05, gt=0, le=1)
    """Learning rate of the backbone's last stage, in units of `learning_rate`."""
    layer_decay: float = Field(0.7, gt=0, le=1)
    """Learning rate of each stage of the backbone, in units of the next one's."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 on a GPU that has it, FP32 elsewhere. bf16 and fp16 are mixed: weights stay FP32."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    workers: Positive = 2
    """Threads that read images; of no effect on what is trained."""
    save_every: Positive = 100
    """Steps between saved states, from which an interrupted run continues; of no effect on what is trained."""


class Emulator(Strict):
    """The QNN HTP emulator is slow (seconds an image): it scores a subset."""

    images_per_target: Positive = 16
    seed: int = 0
    """Which trained seed it runs."""


class Evaluation(Strict):
    """How scores become numbers."""

    pixels: Positive = 128
    """Pixel metrics: maps are enlarged and masks reduced to this height and width."""
    runtimes: tuple[Runtime, ...] = ("pytorch", "onnx-fp32", "onnx-fp16", "onnx-int8", "qnn-htp-fp16")
    emulator: Emulator = Emulator()

    @field_validator("runtimes")
    @classmethod
    def _host_is_there(cls, runtimes: tuple[Runtime, ...]) -> tuple[Runtime, ...]:
        if "pytorch" not in runtimes or len(set(runtimes)) != len(runtimes):
            raise ValueError("needs pytorch, which everything is compared with, and each runtime once")
        return runtimes


class Profile(Strict):
    """Everything a run depends on."""

    profile: Literal["mini", "folder", "paper"]
    title: str
    run: Path
    """The folder that receives everything the run makes."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field((0, 1, 2), min_length=1)
    data: Data
    model: Model
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    rehearsal: Positive | None = None
    """Set by `rehearse` only: the numbers of such a run mean nothing."""
    paper_graph: Model = Model(
        backbone="tiny_vit_21m_512",
        weights="random",
        size=512,
        strides=(16, 32),
        # The published GFLOPs leave room for a readout of 9 MFLOPs at most.
        readout=Readout(local_channels=4),
    )
    """The paper's graph, exported and counted without trained weights in every profile."""

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds

    @model_validator(mode="after")
    def _emulated_seed_is_trained(self) -> "Profile":
        if self.evaluation.emulator.seed not in self.seeds:
            raise ValueError(f"evaluation.emulator.seed {self.evaluation.emulator.seed} is not one of seeds")
        return self

    def below(self, root: Path) -> "Profile":
        """Return the profile with its relative folders below `root`."""
        if root == Path():
            return self
        data = {
            name: folder if folder is None else root / folder
            for name, folder in (("root", self.data.root), ("generated_root", self.data.generated_root))
        }
        return self.model_copy(update={"run": root / self.run, "data": self.data.model_copy(update=data)})


def load_profile(path: Path | str, data_root: Path | str | None = None) -> Profile:
    """Read and check a profile.

    Args:
        path: a YAML file.
        data_root: replaces `data.root` when given.

    Raises:
        InputError: the file is missing, is not YAML, or has an unknown key or a wrong value; one line names the file,
            the key and, for a misspelt key, the nearest right one.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such configuration; see configs/ for the profiles") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give a YAML file from configs/") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend the file") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: not a profile (no keys); start from configs/mini.yaml")
    if data_root is not None and isinstance(raw.get("data"), dict):
        raw["data"]["root"] = str(data_root)
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error)}") from None


def save_profile(profile: Profile, path: Path | str) -> Path:
    """Write a resolved profile as YAML, leaving an equal file untouched so that its time stamp stays."""
    path = Path(path)
    text = yaml.safe_dump(json.loads(profile.model_dump_json()), sort_keys=False, allow_unicode=True)
    if not (path.is_file() and path.read_text(encoding="utf-8") == text):
        write_text(path, text)
    return path


def rehearse(profile: Profile, limit: int) -> Profile:
    """Return the profile for a rehearsal: the same graph on a few images and steps; its numbers mean nothing.

    Args:
        profile: the profile as in its file.
        limit: images of each set, split and label; also training steps.
    """
    source = tuple(
        item.model_copy(
            update={"derive": item.derive.model_copy(update={"images": min(item.derive.images, 4 * limit)})}
        )
        if item.derive
        else item
        for item in profile.data.source
    )
    # The emulator takes minutes for a single image of a large model.
    runtimes = tuple(name for name in profile.evaluation.runtimes if name != "qnn-htp-fp16")
    # A rehearsal downloads no weights.
    weights = "random" if profile.model.weights == "hub" else profile.model.weights
    batch = min(profile.training.batch, 2 * limit)
    return profile.model_copy(
        update={
            "title": f"{profile.title} (rehearsal)",
            "run": profile.run.with_name(f"{profile.run.name}-rehearsal"),
            "rehearsal": limit,
            "data": profile.data.model_copy(update={"source": source}),
            "model": profile.model.model_copy(update={"weights": weights}),
            "training": profile.training.model_copy(
                update={"steps": min(profile.training.steps, limit), "batch": batch}
            ),
            "evaluation": profile.evaluation.model_copy(update={"runtimes": runtimes}),
        }
    )


def rehearsal_notice(profile: Profile) -> str:
    """Return the notice for the pages of a rehearsal; empty for a real run."""
    if profile.rehearsal is None:
        return ""
    return (
        f"REHEARSAL: at most {profile.rehearsal} images of each set, split and label, {profile.training.steps} steps, "
        f"a backbone with {profile.model.weights} weights. These numbers mean nothing."
    )


def one_line(error: ValidationError) -> str:
    """What is wrong with a profile, each fault after its place."""
    problems = []
    items = error.errors()
    for item in items:
        depth = len(item["loc"])
        # A list whose only element is wrong is also reported as too short; the element's own fault says enough.
        if item["type"] == "too_short" and any(
            other["loc"][:depth] == item["loc"] and len(other["loc"]) > depth for other in items
        ):
            continue
        where = ".".join(str(part) for part in item["loc"]) or "profile"
        if item["type"] == "extra_forbidden":
            hint = _nearest(item["loc"])
            problems.append(f"unknown key {where}" + (f" (did you mean {hint}?)" if hint else ""))
        elif item["type"] == "missing":
            problems.append(f"{where} is missing")
        else:
            problems.append(f"{where}: {item['msg'].removeprefix('Value error, ')}, got {item['input']!r:.80}")
    return "; ".join(problems)


def _nearest(location: tuple[int | str, ...]) -> str | None:
    """The nearest right key to the last part of `location`, by walking the models down to it."""
    model: Any = Profile
    for part in location[:-1]:
        if isinstance(part, str):
            model = model.model_fields[part].annotation
        # Unwrap tuple[X, ...] and X | None down to the model class.
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            arguments = [a for a in getattr(model, "__args__", ()) if a not in (type(None), Ellipsis)]
            if not arguments:
                return None
            model = arguments[0]
    near = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return near[0] if near else None
