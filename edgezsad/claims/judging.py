"""All claims, judged against the results files of a run."""

from collections.abc import Iterable

from edgezsad.claims.claim import NOTHING, Claim, Part, Verdict, judge
from edgezsad.claims.package import PACKAGE
from edgezsad.claims.paper import PAPER
from edgezsad.claims.published import PUBLISHED
from edgezsad.errors import CheckError
from edgezsad.run import Run

CLAIMS: tuple[Claim, ...] = (*PAPER, *PUBLISHED, *PACKAGE)

# What a rehearsal computes as a run would: the paper's graph does not depend on images or training.
REHEARSED = ("07_efficiency",)


def check(run: Run, claims: Iterable[Claim] | None = None) -> list[Verdict]:
    """Judge every claim against a run's results files.

    Raises:
        InputError: a results file that the profile should have is missing; the notebook that makes it is named.
    """
    return [_verdict(run, claim) for claim in (CLAIMS if claims is None else claims)]


def _verdict(run: Run, claim: Claim) -> Verdict:
    profile = run.profile.profile
    if run.profile.rehearsal is not None and claim.page not in REHEARSED and claim.needs != NOTHING:
        return Verdict(claim, None, "not run", f"this was a rehearsal; needs {claim.needs}", profile)
    if profile not in claim.profiles:
        return Verdict(claim, None, "not run", f"needs {claim.needs}", profile)
    ours = claim.value(run)
    if isinstance(ours, Part):
        ours = f"incomplete: {ours.missing}" if judge(claim, ours.worst) else ours.worst
    if ours is None or isinstance(ours, str):
        return Verdict(claim, None, "not run", ours or f"needs {claim.needs}", profile)
    return Verdict(claim, ours, "holds" if judge(claim, ours) else "fails", "", profile)


def require(verdicts: list[Verdict]) -> None:
    """Raise if a claim fails.

    Raises:
        CheckError: naming every claim that fails, with our number and the reported one.
    """
    failed = [verdict for verdict in verdicts if verdict.status == "fails"]
    if failed:
        what = "; ".join(
            f"{v.claim.name}: {v.ours:.6g} {v.claim.unit}, {v.claim.comparison} {v.claim.reported:g}" for v in failed
        )
        raise CheckError(f"{len(failed)} claim(s) fail: {what}; see the claims page")
