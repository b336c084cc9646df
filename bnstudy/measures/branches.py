"""How large branches are beside their shortcuts, from `probes/branches.py`."""

import numpy as np

from bnstudy.results import Run, Values

BRANCH, SKIP = "branches/branch_variance", "branches/skip_variance"


def first_branch_shares(run: Run) -> Values:
    """The variance of the branch over that of the shortcut at step 0, block by block: [blocks].

    From the input on. Raises KeyError if no block has a record.
    """
    names = [key.removeprefix(BRANCH) for key in run.keys() if key.startswith(BRANCH)]  # noqa: SIM118
    if not names:
        raise KeyError(f"{run.directory.name} has no {BRANCH}")
    ends = [(run[f"{BRANCH}{name}"][1][0], run[f"{SKIP}{name}"][1][0]) for name in names]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([branch / skip for branch, skip in ends])


def branch_exponent(run: Run) -> float:
    """The exponent a of a share of branches that falls as block^a, at step 0 [1].

    The slope of a line through ln(share) over ln(number of the block), least squares, over the
    first of three stages: later ones begin with channels of zeros in their shortcut. -1 is
    the share 1 / depth of De & Smith 2020. NaN for fewer than three blocks, or where a
    share is not positive.
    """
    shares = first_branch_shares(run)
    shares = shares[: len(shares) // 3]
    if len(shares) < 3 or not (np.isfinite(shares) & (shares > 0)).all():
        return float("nan")
    return float(np.polyfit(np.log(np.arange(1, len(shares) + 1)), np.log(shares), 1)[0])
