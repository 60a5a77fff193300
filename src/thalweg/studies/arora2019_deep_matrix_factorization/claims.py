"""What the study of deep matrix factorisation checks, on the data sets of its experiments alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, in_more_than, near, true
from thalweg.lab.claims import Claim

Results = Mapping[str, xr.Dataset]

PAPER = "Arora, Cohen, Hu and Luo (2019)"
DIFFERENCES = 1e-5  # error of the central differences
GAPS = {  # nuclear norm of the limit less the least one, for starts of 1e-1 to 1e-4
    2: (0.7278, 0.08567, 0.01037, 0.00128),
    3: (0.7303, 0.07756, 0.008005, 0.000813),
    4: (0.7405, 0.07701, 0.007804, 0.000784),
    6: (0.7544, 0.07742, 0.007787, 0.000780),
}
DEEP = [3, 4, 6]
FOLLOWER, CEILING = 0.355599, 0.78125  # depth 3 at a leader of 6.25, and for a leader without end


def velocities_are_right(results: Results) -> Check:
    """C1."""
    d = results["X4"]
    names = {"value_gap": "singular values", "left_gap": "left", "right_gap": "right vectors"}
    return all_of(
        *(near(d[k], 0, absolute=DIFFERENCES, what=f"{v} (draw, depth)") for k, v in names.items())
    )


def closed_forms_are_right(results: Results) -> Check:
    """C2."""
    d = results["closed"]
    last = float(d["follower"].sel(depth=3)[-1])
    return all_of(
        near(d["eigenvalue_gap"], 0, absolute=1e-9, what="eigenvalues by depth"),
        near(d["matrix_gap"], 0, absolute=1e-9, what="flow of full matrices by depth"),
        near(d["follower"], d["follower_theory"], absolute=1e-9, what="two modes (depth, place)"),
        near(last, FOLLOWER, absolute=5e-7, what="second mode at depth 3, six decimals"),
        near(d["ceiling"].sel(deep=3), CEILING, absolute=1e-9, what="its limit"),
    )


def every_depth_has_the_least_norm(results: Results) -> Check:
    """C3."""
    d = results["X3"]
    depths = list(GAPS)
    return all_of(
        near(d["least"], 3, absolute=1e-9, what="least nuclear norm"),
        near(d["gap"].sel(depth=depths), list(GAPS.values()), relative=0.01, what="(depth, alpha)"),
        near(d["slope"].sel(depth=DEEP), 1, absolute=0.05, what="log-log slope by depth"),
        below(d["gap"].sel(depth=DEEP).isel(alpha=-1), 1e-3, what="gap for alpha = 1e-4"),
    )


def singular_values_stay_positive(results: Results) -> Check:
    """C4."""
    d = results["X2"].sel(depth=[2, 3])
    least = d["least"].values
    seen = np.isfinite(least)
    return all_of(
        above(least[seen], 1e-6, what="least singular value at any record"),
        near(d["sign"].values[seen], 1, absolute=0, what="sign of the determinant"),
    )


def _ended(d: xr.Dataset, name: str) -> xr.DataArray:
    """A variable of the runs that reached the level; NaN for the others."""
    return d[name].where(d["reached"] > 0)


def _seen(values: xr.DataArray) -> np.ndarray:
    """What is a number, in one row."""
    return values.values[np.isfinite(values.values)]


def depth_recovers_where_the_norm_does_not(results: Results) -> Check:
    """C5."""
    d = results["X1"]
    ratio = (_ended(d, "test") / d["nuclear_test"]).sel(alpha=1e-4)
    return all_of(
        *(
            below(_seen(ratio.sel(depth=N)), 0.1, what=f"error of depth {N} / of the least norm")
            for N in (3, 4)
        )
    )


def not_a_norm(results: Results) -> Check:
    """C6."""
    d = results["X1"]
    norm = _ended(d, "norm").sel(depth=3) - d["nuclear_norm"] - d["nuclear_gap"]
    rank = d["nuclear_erank"] - _ended(d, "erank").sel(depth=3)
    return all_of(
        above(_seen(norm), 1e-3, what="nuclear norm of depth 3 above the least one"),
        above(_seen(rank), 1e-3, what="effective rank of the least norm above that of depth 3"),
    )


def more_data_the_same_recovery(results: Results) -> Check:
    """C7."""
    d = results["X1-480"].sel(alpha=1e-3)
    ratio = _ended(d, "test") / d["nuclear_test"]
    return all_of(
        *(
            in_more_than(
                share,
                _seen(ratio.sel(depth=N)) <= 0.1,
                what=f"error of depth {N} at most 0.1 of that of the least norm",
            )
            for N, share in ((3, 1 / 2), (4, 1 / 3))
        ),
    )


def modes_come_one_by_one(results: Results) -> Check:
    """C8."""
    d = results["X2"]
    test, fourth = (d[name].transpose("depth", "draw").values for name in ("final_test", "fourth"))
    rise = d["half_rise"]
    shallow, deep = (rise.sel(depth=N).values for N in (1, 3))
    return all_of(
        below(test[1:] / test[:-1], 1, what="final error, next depth / this one (depth, draw)"),
        below(fourth[1:] / fourth[:-1], 1, what="fourth value, next depth / this one"),
        near(np.ptp(shallow, axis=-1), 0, absolute=0, what="spread of half-rise steps, depth 1"),
        true(
            np.all(np.diff(deep, axis=-1) > 0),
            str(deep.astype(int).tolist()),
            "one after the other",
            what="half-rise steps of the three values at depth 3",
        ),
    )


def direction_is_that_of_descent(results: Results) -> Check:
    """C9."""
    d = results["X6"]
    apart = d["apart"].values  # step sizes halve from one to the next
    return near(apart[1:] / apart[:-1], 0.5, absolute=0.15, what="difference, halved step / whole")


CLAIMS = (
    Claim(
        "C1",
        "From balanced factors each singular value of the product moves at N times the power "
        "2 - 2/N of itself times the gradient along its mode, and the singular vectors by a closed "
        "rule.",
        "exact",
        f"{PAPER}, Theorem 3 and Lemma 2 (E2, E3)",
        ("X4",),
        velocities_are_right,
    ),
    Claim(
        "C2",
        "With commuting measurements the flow has a closed form at every depth; two modes under "
        "constant pulls are related linearly at depth 1, by a power at depth 2, and from depth 3 "
        "on the weaker one stays bounded while the stronger grows without end.",
        "exact",
        f"{PAPER}, section 3 and the proof of Theorem 1; E1 in this form is derived (E1, E4)",
        ("closed",),
        closed_forms_are_right,
    ),
    Claim(
        "C3",
        "With commuting measurements every depth from 2 on ends, as the start shrinks, at the "
        "least nuclear norm, in proportion to the start from depth 3 on.",
        "exact",
        f"{PAPER}, Theorem 1; Gunasekar et al. (2017) for depth 2; the values were measured",
        ("X3",),
        every_depth_has_the_least_norm,
    ),
    Claim(
        "C4",
        "At depth 2 and more no singular value that starts positive reaches zero.",
        "exact",
        f"{PAPER}, Theorem 3",
        ("X2",),
        singular_values_stay_positive,
    ),
    Claim(
        "C5",
        "With 25% of the entries seen, depths 3 and 4 from a small start recover the matrix ten "
        "times better than the completion of least nuclear norm.",
        "empirical",
        f"{PAPER}, figures 1 and 2, at a smaller size",
        ("X1",),
        depth_recovers_where_the_norm_does_not,
    ),
    Claim(
        "C6",
        "What depth prefers is not a small nuclear norm: the least-norm completion has a smaller "
        "norm and a larger effective rank than that of depth 3.",
        "empirical",
        f"{PAPER}, figure 2, at a smaller size",
        ("X1",),
        not_a_norm,
    ),
    Claim(
        "C7",
        "With 30% of the entries the error is still at most a tenth of that of the least nuclear "
        "norm in more than half of the runs of depth 3, and more than a third of those of depth 4, "
        "of all draws.",
        "empirical",
        f"{PAPER}, figure 1, at a smaller size",
        ("X1-480",),
        more_data_the_same_recovery,
        because=(
            "the specification has an order of errors in every draw: least norm, depth 2, and ten "
            "times below it depths 3 and 4. From a start of 1e-3 depth 2 beats the least norm in "
            "4 of 8 draws, a coin toss; depth 3 is ten times below the least norm in 7 of 8, depth "
            "4 in 5 of the 6 that reach the level"
        ),
    ),
    Claim(
        "C8",
        "Deeper factorisations learn singular values one after another and keep the superfluous "
        "ones smaller: final error and fourth singular value fall with depth.",
        "empirical",
        f"{PAPER}, figure 3, at a smaller size",
        ("X2",),
        modes_come_one_by_one,
    ),
    Claim(
        "C9",
        "Scaling all parameters' gradients by one number leaves the curve of gradient descent as "
        "it is, up to a difference in proportion to the step size.",
        "empirical",
        f"{PAPER}, official code (E6); derived from the gradient's direction",
        ("X6",),
        direction_is_that_of_descent,
    ),
)
