"""What the study of stagnation sets checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import claim

PAPER = "Imaizumi and Schmidt-Hieber (2022)"
BOUNDS = {  # of the exit probability, by (stiff directions, radius)
    (2, 0.7): 0.064805,
    (2, 0.8): 0.001579,
    (5, 0.8): 0.066204,
    (10, 0.9): 0.105927,
    (10, 1.0): 0.002777,
}
LEFT = {2: (0.002, 0.013), 5: (0.035, 0.07), 10: (0.66, 0.70)}  # shares that leave a tube of 0.5


@claim("C1", kind="exact", source="elementary, in the setting of " + PAPER + " (E9)")
def perturbations_are_bounded(X0: xr.Dataset) -> Check:
    """Two networks are never farther apart than their spectral norms allow, and a pair attains it.

    Falsified by: a ratio above 1 + 1e-10, or a pair of rank one off 1 - d/2.
    """
    return all_of(
        below(X0["ratio"], 1 + 1e-10, what="largest ratio (depth)"),
        near(X0["tight"], 1 - 5e-7, absolute=1e-9, what="ratio of the pair of rank one"),
    )


@claim("C2", kind="exact", source="derived, in the setting of " + PAPER + " (E5)")
def exits_are_bounded(X1: xr.Dataset, X1_random: xr.Dataset) -> Check:
    """About a flat floor noisy descent leaves a tube no more often than the bound says, in every
    valley that was tried.

    Falsified by: a share of exits above the bound by 3 standard errors, or a bound off by 1e-5.
    """
    last, stiff = X1.isel(step=-1), X1["stiff"].values
    asked = [(k, r) for k, r in BOUNDS if k in stiff]
    found = [1 - float(last["staying_theory"].sel(stiff=k, radius=r)) for k, r in asked]
    narrow = 1 - last["staying"].sel(radius=0.5).values
    low, high = np.array([LEFT[int(k)] for k in stiff]).T
    spread = 3 * last["staying_error"].sel(radius=0.5).values
    random = X1_random["exits"] - X1_random["exits_theory"]
    return all_of(
        near(found, [BOUNDS[at] for at in asked], absolute=1e-6, what="bound (k, radius)"),
        below(
            X1["staying_theory"] - X1["staying"], 3 * X1["staying_error"],
            what="bound less share that stayed (k, radius, step)",
        ),
        below(random, 3 * X1_random["exits_error"], what="share of exits less bound (valley)"),
        within(narrow, low - spread, high + spread, what="exits of the tube of 0.5 (k)"),
        above(int(np.sum(X1_random["exits_theory"] < 1)), 10, what="valleys with a bound below 1"),
    )  # fmt: skip


@claim("C3", kind="exact", source="derived (E5, E7)")
def dimension_does_not_enter(X1: xr.Dataset) -> Check:
    """The dimension of the space does not enter: with the noise of stiff directions from a key of
    its own exits are the same to the bit; along the floor the noise diffuses freely.

    Falsified by: an exit that moves, or an rms distance along the floor off by 1.5 %.
    """
    return all_of(
        near(X1["other_exits"], 0, absolute=0.5, what="exits that the dimension moved"),
        near(X1["stiff_gap"], 0, absolute=1e-300, what="stiff parameters, to the bit"),
        near(X1["flat"], X1["flat_theory"], relative=0.015, what="rms along the floor (k)"),
        near(X1["flat_theory"].sel(stiff=2), 6.892, absolute=5e-4, what="free diffusion, k = 2"),
    )


@claim("C4", kind="exact", source="elementary (E7)")
def variances_of_a_valley(X4: xr.Dataset) -> Check:
    """Across a valley the variance is that of the recursion.

    Falsified by: a variance off by 3 %.
    """
    return all_of(
        near(X4["variance"], X4["variance_theory"], relative=0.03, what="variance (curvature)"),
        near(
            X4["variance_theory"], [0.013158, 0.009009, 0.006944], absolute=1e-6,
            what="that of the recursion (curvature)",
        ),
    )  # fmt: skip


@claim("C5", kind="asymptotic", source="derived (E8)")
def a_sphere_pushes_outward(X2: xr.Dataset) -> Check:
    """About a sphere tangential noise pushes outward in proportion to the dimension: on a curved
    floor the dimension does return.

    Falsified by: a mean offset off by 0.002, or a spread off that of a valley by 7 %.
    """
    wide = float(X2["offset"].isel(dimension=-1) / X2["offset_error"].isel(dimension=-1))
    return all_of(
        near(X2["offset"], X2["offset_theory"], absolute=0.002, what="offset (dimension)"),
        near(X2["spread"], X2["spread_theory"], relative=0.07, what="spread (dimension)"),
        above(wide, 10, what="offset over its standard error, most dimensions"),
    )


@claim("C6", kind="empirical", source="specification, X3")
def norms_do_not_count_parameters(X3: xr.Dataset) -> Check:
    """On digits three times the parameters leave the product of spectral norms and the gap about
    where they were.

    Falsified by: a product outside of 50 to 90, a ratio of them outside of 0.6 to 1.2, or a wider
    gap of cross-entropy.

    Too small: one width is trained, and not to a fit.
    """
    narrow, wide = X3.sel(width=16), X3.sel(width=48)
    return all_of(
        near(wide["parameters"] / narrow["parameters"], 3.0, absolute=1e-9, what="parameters"),
        within(X3["product"], 50, 90, what="product of norms (width, seed)"),
        within(wide["product"] / narrow["product"], 0.6, 1.2, what="products of norms (seed)"),
        below(wide["gap"] / narrow["gap"], 1.0, what="gaps of cross-entropy (seed)"),
        near(X3["train_error"], 0, absolute=1e-12, what="training error (width, seed)"),
        within(X3["test_error"], 0.03, 0.08, what="test error (width, seed)"),
    )


@claim("C7", kind="empirical", source="specification, X3")
def noise_is_confined_where_it_is_stiff(X3: xr.Dataset) -> Check:
    """Noise about the minimum is confined in the stiff directions as a quadratic says, and diffuses
    freely in the others; the top ten carry a third of the gradient.

    Falsified by: a distance in the top 20 off by 25 % or in the others by 15 %, or a share of the
    gradient outside of 0.28 to 0.48.

    Too small: descent has not reached a minimum.
    """
    return all_of(
        within(X3["stiff"], 70, 125, what="eigenvalues above 1 % (width, seed)"),
        within(X3["overlap"], 0.28, 0.48, what="share of the gradient (width, seed)"),
        above(X3["overlap"], 10 * X3["overlap_null"], what="against random ones (width, seed)"),
        near(X3["top"], X3["top_theory"], relative=0.25, what="distance in the top 20"),
        near(X3["rest"], X3["rest_theory"], relative=0.15, what="distance in the others"),
    )


@claim("C8", kind="asymptotic", source="Antognini and Sohl-Dickstein (2018)")
def components_of_a_walk(X5: xr.Dataset) -> Check:
    """Principal components of a random walk in many dimensions have a participation ratio of 2.5.

    Falsified by: a walk off 2.5 by 0.2.
    """
    return all_of(
        near(X5["null"], 2.5, absolute=0.01, what="closed form of a walk"),
        near(X5["participation"], 2.5, absolute=0.2, what="drawn walks (walk)"),
    )


@claim("C9", kind="exact", source="derived (E10); Bartlett, Foster and Telgarsky (2017) (E11)")
def bounds_fall_with_examples(X6: xr.Dataset) -> Check:
    """The bound by tubes does not grow with the examples nor depend on the width at fixed norms;
    that by covering numbers falls as ln n/sqrt(n).

    Falsified by: a bound that grows, widths that differ by 1e-10, or a rate that varies by 15 %.
    """
    rate, tube = X6["rate"].values, X6["tube"].values
    return all_of(
        below(np.diff(tube, axis=1), 0, what="change of the bound by tubes (width, n)"),
        near(tube[0], tube[1], relative=1e-10, what="bound at width 8 and 64 (n)"),
        below(np.diff(X6["entropy"]), 0, what="change of the bound by covering numbers (n)"),
        below(rate.max() / rate.min() - 1, 0.15, what="variation of its rate"),
        true(tube[0, -1] > tube[0, 0] / 10, tube[0, -1], tube[0, 0], what="tubes leave a floor"),
    )


@claim("C10", kind="empirical", source="specification, X3")
def iterates_look_like_a_walk(X3: xr.Dataset) -> Check:
    """Principal components of the iterates on digits have the participation ratio of a random walk.

    Falsified by: a ratio off the walk's by 0.5.

    Too small: descent has not reached a minimum.
    """
    return near(
        X3["participation"], X3["participation_null"], absolute=0.5, what="digits (width, seed)"
    )
