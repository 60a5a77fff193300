"""What the study of piecewise linear solutions checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import claim

PAPER = "Shevchenko et al. (2022)"
BETAS = [1e2, 1e3, 1e4, 1e5, 1e6]
QUOTED_KNOTS = {
    "plateaus, 0.003": [-0.476, 2.1, 2.15024],
    "plateaus, 0.0001": [1.3, 2.004, 2.29217, 3.0],
    "seven points, 0.0001": [-0.249, 3.0, 4.0, 4.987, 6.333],
    "seven points, 0.003": [-0.2496, 3.0, 4.0, 4.533, 6.324],
}
SMALL = "nets of 50 or 60 neurons for some thousand steps are neither wide nor at rest"


@claim("C1", kind="exact", source=f"{PAPER}, Gibbs form (E6); derived (E13)")
def consistent(X1: xr.Dataset, X1_brute: xr.Dataset) -> Check:
    """The law that maximises the dual is the Gibbs law of its own prediction, and its free energy
    is the value of the dual.

    Falsified by: max |prediction - y - M R| of 1e-9, or a free energy 1e-9 off the dual.
    """
    return all_of(
        below(X1["inconsistency"], 1e-9, what="|prediction - y - M R|, plateaus (beta)"),
        below(X1_brute["inconsistency"], 1e-9, what="the same, two points"),
        near(X1["duality"], 0, absolute=1e-9, what="free energy less the dual (beta)"),
    )


@claim("C2", kind="exact", source=f"{PAPER}, Gibbs form (E6); derived (E9 to E12)")
def closed_forms(X1: xr.Dataset, X1_brute: xr.Dataset) -> Check:
    """Partition function, prediction, second moment and curvature have closed forms in one angle.

    Falsified by: a sum over a grid in three dimensions off by 1e-3 (relative), or y'' off its
    difference quotient by 1e-3.
    """
    exact, summed = X1_brute["exact"], X1_brute["summed"]
    d = X1.sel(beta=BETAS[:3])
    least = np.abs(d["formula"]) > 1e-2  # below it rounding of the difference rules
    formula, quotient = d["formula"].values[least], d["difference"].values[least]
    return all_of(
        near(summed, exact, relative=1e-3, what="sum over the grid (quantity)"),
        near(exact, [0.489927, 1.814294, 0.823850], absolute=6e-7, what="digits quoted (quantity)"),
        near(quotient, formula, relative=1e-3, what="y'' by differences where above 0.01"),
    )


@claim("C3", kind="exact", source=f"{PAPER}, worked example; derived (E14)")
def flat_bottomed(X5: xr.Dataset) -> Check:
    """Two points under any weight decay below sqrt(101) are fitted by a flat-bottomed V with knots
    at -0.1 and 0.1.

    Falsified by: a knot 1e-9 off, R, coefficients or the minimum off the closed form by 1e-10.

    Stated so: the paper's example states 2/5 for the mass and lambda/5 for the free energy of its
    two atoms; recomputed they are 4/5 and 2 lambda/5, and the minimiser is not the V with its knot
    at 0.
    """
    lam, root = X5["decay"], np.sqrt(101)
    weight = (2 - 2 * lam / root) / root
    one = X5.sel(decay=1.0)
    return all_of(
        near(X5["knots"], [-0.1, 0.1], absolute=1e-9, what="knots (decay, side)"),
        near(X5["R"].T, -lam / root, relative=1e-10, what="R (side, decay)"),
        near(X5["coefficients"].T, weight, relative=1e-10, what="coefficients (side, decay)"),
        near(
            X5["minimum"], 4 * lam / root - 2 * lam**2 / 101, relative=1e-10, what="minimum (decay)"
        ),
        near(one["minimum"], 0.3782128959, absolute=6e-11, what="minimum, weight decay 1"),
        near(X5["polynomial"], (10 * X5["x"] + 1) ** 2 / 101, absolute=1e-9, what="f_1 (decay, x)"),
        near(X5["chilled"], 0.378301, absolute=6e-7, what="free energy at beta = 1e5"),
        near(X5["chilled_R"], -0.0995023, absolute=6e-8, what="R at beta = 1e5 (side)"),
    )


@claim("C4", kind="exact", source=f"{PAPER}, cluster set (E7, E8); derived (E14)")
def polynomials_touch(X4: xr.Dataset) -> Check:
    """At zero temperature both cluster polynomials are at least zero on their gap and vanish at
    every knot.

    Falsified by: f/(1 + x^2) below -1e-9 on a gap, or above 1e-9 at a knot; a gap of the optimum.
    """
    return all_of(
        above(X4["least"], -1e-9, what="smallest f/(1 + x^2) on the gaps (draw)"),
        below(X4["zero"], 1e-9, what="f/(1 + x^2) of the knots (draw)"),
        below(X4["violation"], 1e-9, what="max |h| - 1 over all directions (draw)"),
        near(X4["gap"], 0, absolute=1e-9, what="primal less dual (draw)"),
    )


@claim("C5", kind="exact", source=f"{PAPER}, definition of admissible and Theorem 2")
def at_most_three(X4: xr.Dataset) -> Check:
    """No gap between inputs has more than three knots or two inside, and one of three has them at
    both ends and inside; every seventh gap has a knot inside.

    Falsified by: one gap with another count, or a share of gaps with knots inside not within 0.06
    to 0.2.
    """
    count = X4["count"]
    inside = count[["0 inside" not in str(p) for p in X4["pattern"].values]].sum()
    share = float(inside / (count.sum() + X4["others"]))
    others = float(X4["others"])
    return all_of(
        true(bool(count.sum() > 0) and others == 0, others, 0, what="gaps with other counts"),
        within(share, 0.06, 0.2, what="share of gaps with a knot inside"),
    )


@claim("C6", kind="exact", source=f"{PAPER}, figures 7 and 8; derived (E14)")
def knots_of_the_papers_data(X6: xr.Dataset) -> Check:
    """On the paper's data knots lie beside the inputs as well as at them.

    Falsified by: another number of knots, or one 1e-3 from the place derived.
    """
    checks = []
    for case, expected in QUOTED_KNOTS.items():
        knots = X6["knots"].sel(case=case).values
        knots = knots[np.isfinite(knots)]
        same = len(knots) == len(expected)
        checks.append(true(same, len(knots), len(expected), what=f"number of knots, {case}"))
        if same:
            checks.append(near(knots, expected, absolute=1e-3, what=f"knots, {case}"))
    minimum = X6["minimum"].sel(case="plateaus, 0.003")
    checks.append(near(minimum, 0.0211099112, absolute=6e-11, what="minimum, plateaus, 0.003"))
    return all_of(*checks)


@claim("C7", kind="asymptotic", source=f"{PAPER}, Theorem 1; derived (E11)")
def curvature_vanishes(X1: xr.Dataset) -> Check:
    """As the temperature falls the second derivative vanishes away from the knots and grows at
    them.

    Falsified by: a far curvature that does not fall as quoted, a peak that does not grow or is not
    at a knot, a last decade flatter than beta^-0.9.

    Stated so: the constants of the theorem are not given, so its bound itself cannot be checked.
    """
    far, peak = X1["far"].values, X1["near"].values
    slope = float(np.log10(far[-1] / far[-2]))
    cold = X1["place"].sel(beta=BETAS[1:])
    half_digits = [5e-3, 5e-3, 5e-3, 5e-4, 5e-5]
    return all_of(
        below(np.abs(far - [4.65, 2.58, 0.78, 0.099, 0.0045]) - half_digits, 0, what="|y''|, far"),
        below(np.diff(far), 0, what="change of the far |y''| by a decade"),
        near(peak[:4], [8.97, 15.9, 45.0, 390.0], relative=0.01, what="largest |y''|"),
        above(np.diff(peak), 0, what="change of the largest |y''| by a decade"),
        near(cold, 2.1, absolute=1e-12, what="where |y''| is largest"),
        below(slope, -0.9, what="log10 of the far |y''| over the last decade"),
    )


@claim(
    "C8",
    kind="empirical",
    source=f"{PAPER}, section on simulations (E1, E2); derived (E14)",
    too_small=SMALL,
)
def descent_finds_the_limit(X2: xr.Dataset) -> Check:
    """Noiseless descent of 500 neurons ends at the zero-temperature net: its objective, its
    prediction and its knots.

    Falsified by: an excess of 1e-4 (relative), a distance of 5e-3 on [0.9, 3.4], or a heavy neuron
    with its knot elsewhere.
    """
    excess = X2["excess"].isel(time=-1)
    gap = abs(X2["outputs"] - X2["cold"]).max("x")
    knots = X2["knots"].values.ravel()
    knots = knots[np.isfinite(knots)]
    line = knots < 0
    return all_of(
        within(excess, -1e-12, 1e-4, what="excess of F at the end (seed)"),
        below(gap, 5e-3, what="distance to the zero-temperature net (seed)"),
        within(knots[~line], 2.095, 2.155, what="knots of heavy neurons"),
        near(knots[line], -0.476, absolute=0.01, what="knot of the straight line"),
    )


@claim(
    "C9",
    kind="exact",
    source=f"{PAPER}, noisy descent (3.3) against the Gibbs form (E3, E6)",
    too_small=SMALL,
)
def noise_convention(X3_noise: xr.Dataset) -> Check:
    """Particles sample the Gibbs law with noise sqrt(4 s/beta); with the printed sqrt(2 s/beta)
    they sample that of twice the inverse temperature.

    Falsified by: a mean of |theta|^2 or of the prediction at 10 more than 0.005 off its law.

    Stated so: the paper prints the second noise with the first law: its drift is twice the
    gradient.
    """
    d = X3_noise
    apart = abs(float(d["square_law"][0] - d["square_law"][1]))
    quoted = [0.82385, 0.76996]
    return all_of(
        near(d["square"].T, d["square_law"], absolute=0.005, what="E |theta|^2 (seed, noise)"),
        near(d["output"].T, d["output_law"], absolute=0.005, what="prediction (seed, noise)"),
        near(d["square_law"], quoted, absolute=6e-6, what="E |theta|^2 of the laws"),
        near(d["output_law"], [1.81429, 1.80779], absolute=6e-6, what="prediction of the laws"),
        above(apart, 0.05, what="distance of the laws"),
    )


@claim(
    "C10",
    kind="empirical",
    source=f"{PAPER}, corollary for stochastic gradient descent (E3); derived (E10, E12)",
    too_small=SMALL,
)
def noisy_particles(X3: xr.Dataset) -> Check:
    """The average over time of 500 noisy neurons is near the infinitely wide net.

    Falsified by: a distance of 0.05 on [0.9, 3.4], or E |theta|^2 outside 17 to 20.

    Stated so: half the noise moves the prediction by 0.010 only, so that the second moment is held,
    too: 19.01 of the law, 14.34 of that at twice the inverse temperature.
    """
    gap = abs(X3["outputs"] - X3["gibbs"]).max("x")
    return all_of(
        below(gap, 0.05, what="distance of the mean to the Gibbs law (width, seed)"),
        within(X3["square"], 17, 20, what="E |theta|^2 (width, seed)"),
        near(X3["gibbs_square"], 19.01, absolute=0.006, what="E |theta|^2 of the law"),
        near(X3["colder_square"], 14.34, absolute=0.006, what="the same at 2 beta"),
    )
