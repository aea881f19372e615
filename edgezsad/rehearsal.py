"""A rehearsal: a profile's whole graph on a handful of images, so that a run of days meets no surprise.

The configuration file stays as it is; `limit` makes of it a profile with few images, few steps and weights that need no
download, which writes into a folder of its own. Its numbers mean nothing, and every page and claim says so.
"""

from edgezsad.config import Profile

NOTICE = (
    "REHEARSAL: at most {limit} images of each set, split and label, {steps} steps, a backbone with {weights} weights. "
    "These numbers mean nothing."
)
# The emulator takes minutes for a single image of a large model.
_TOO_SLOW = "qnn-htp-fp16"


def rehearse(profile: Profile, limit: int) -> Profile:
    """The same profile for a rehearsal.

    Args:
        profile: as it is in its file.
        limit: images of each set, split and label; also steps of training, and images of a derived source.
    """
    steps = min(profile.training.steps, limit)
    source = tuple(
        item.model_copy(
            update={"derive": item.derive.model_copy(update={"images": min(item.derive.images, 4 * limit)})}
        )
        if item.derive
        else item
        for item in profile.data.source
    )
    runtimes = tuple(name for name in profile.evaluation.runtimes if name != _TOO_SLOW)
    return profile.model_copy(
        update={
            "title": f"{profile.title} (rehearsal)",
            "run": profile.run.with_name(f"{profile.run.name}-rehearsal"),
            "rehearsal": limit,
            "data": profile.data.model_copy(update={"source": source}),
            # What a hub would send is the one thing that is not tried here.
            "model": profile.model.model_copy(update={"weights": "random"})
            if profile.model.weights == "hub"
            else profile.model,
            "training": profile.training.model_copy(
                update={"steps": steps, "batch": min(profile.training.batch, 2 * limit)}
            ),
            "evaluation": profile.evaluation.model_copy(update={"runtimes": runtimes}),
        }
    )


def notice(profile: Profile) -> str:
    """What every page of a rehearsal says; empty in a run."""
    if profile.rehearsal is None:
        return ""
    return NOTICE.format(limit=profile.rehearsal, steps=profile.training.steps, weights=profile.model.weights)
