"""What the study of exact linear dynamics checks, on the data sets of its experiments alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import Claim

Results = Mapping[str, xr.Dataset]


def modes_follow_the_sigmoid(results: Results) -> Check:
    """C1."""
    d = results["X2-network"]
    gap = (d["strength"] - d["strength_theory"]).values
    return all_of(
        near(gap, 0, absolute=1e-10, what="mode strength minus E5 (seed, time, mode)"),
        below(d["map_gap"], 1e-10, what="whole map minus E7 (seed, time)"),
    )


def unequal_layers_follow_the_hyperbola(results: Results) -> Check:
    """C2."""
    d = results["X2-hyperbola"]
    gap = (d["strength"] - d["strength_theory"]).values
    lag = (d["time_theory"] - d["time"]).values
    return all_of(
        near(lag, 0, absolute=1e-9, what="time by E6 minus integration time (time, mode)"),
        near(gap, 0, absolute=1e-9, what="mode strength minus closed form (time, mode)"),
    )


def deep_modes_obey_one_equation(results: Results) -> Check:
    """C3."""
    d, limit = results["X2-chain"], results["X2-limit"]
    two = float(limit["scaled_time"].sel(depth=2)) / 2
    return all_of(
        near(d["rate"], d["rate_theory"], relative=1e-9, what="speed beside E8 (depth, record)"),
        near(d["time_theory"], d["time"], absolute=1e-9, what="time by E9 (depth, record)"),
        near(two, limit["shallow_time"], absolute=1e-9, what="E9 at L = 2 beside E5"),
        near(two, 1.34178, absolute=5e-6, what="E9 at L = 2"),
    )


def learning_time_has_a_limit(results: Results) -> Check:
    """C4."""
    d = results["X2-limit"]
    limit = float(d["scaled_time_limit"])
    scaled = d["scaled_time"].sel(depth=[10, 50, 200, 1000]).values
    gap = (limit - d["scaled_time"]) * d["depth"]
    return all_of(
        near(limit, 7.9002, absolute=5e-5, what="E10"),
        near(scaled, [6.081, 7.484, 7.794, 7.879], absolute=5e-4, what="L t(L)"),
        near(scaled[-1], limit, relative=3e-3, what="L t(L) at L = 1000 beside E10"),
        near(gap.sel(depth=500), gap.sel(depth=1000), relative=0.02, what="L x gap to E10"),
    )


def sharpness_grows_with_depth(results: Results) -> Check:
    """C5."""
    d = results["X2-limit"]
    return all_of(
        near(d["sharpness"], d["sharpness_theory"], absolute=1e-12, what="L = 2, 3, 6, 10"),
        near(d["sharpness"][:3], [3.4, 6.08676, 14.5289], absolute=5e-6, what="L = 2, 3, 6"),
    )


def balancedness_is_conserved(results: Results) -> Check:
    """C6."""
    d = results["X2-conserved"]
    return below(d["rate"] / d["scale"], 1e-10, what="speed/size by pair of layers")


def strong_modes_come_first(results: Results) -> Check:
    """C7."""
    d = results["X1"]
    half = d["linear_half"]
    product = half * d["singular_value"]
    return all_of(
        near(product / product.mean("mode"), 1, absolute=0.2, what="half-rise x s (seed, mode)"),
        within(half / d["linear_half_theory"], 0.99, 1.2, what="half-rise / E5 (seed, mode)"),
        _in_order(half, "linear net"),
    )


def tanh_learns_in_the_same_order(results: Results) -> Check:
    """C11."""
    d = results["X1"]
    return _in_order(d["tanh_half"], "tanh net")


def _in_order(half: xr.DataArray, what: str) -> Check:
    """Every mode of a group of equal s before every mode of the next, seed by seed."""
    groups = [half.isel(mode=slice(*ends)) for ends in ((0, 1), (1, 2), (2, 4), (4, 8))]
    lead = [after.min("mode") - before.max("mode") for before, after in pairwise(groups)]
    return above(np.stack(lead), 1e-9, what=f"lead of a group over the next (group, seed), {what}")


def good_starts_do_not_feel_depth(results: Results) -> Check:
    """C8."""
    d = results["X3"]
    steps, scaled = d["steps"], d["scaled_step_size"]
    good = scaled.sel(start=["decoupled", "orthogonal"])
    far = steps.sel(start="gaussian", depth=16) / steps.sel(start="orthogonal", depth=16)
    x = np.log(d["depth"].values)
    rates = np.log(d["step_size"].sel(start=["decoupled", "orthogonal"]).values)
    slopes = np.polyfit(x, rates.reshape(-1, len(x)).T, 1)[0]
    decoupled = steps.sel(start="decoupled", depth=[2, 4, 8, 16, 32, 48])
    return all_of(
        near(decoupled, [5, 14, 26, 32, 34, 31], absolute=1, what="decoupled (seed, depth)"),
        below(steps.sel(start="orthogonal"), 25, what="steps, orthogonal (seed, depth)"),
        above(far, 3, what="steps, Gaussian / orthogonal at L = 16 (seed)"),
        within(good, 0.3, 1.1, what="best step size x L (start, seed, depth)"),
        near(slopes, -1, absolute=0.3, what="slope of log step size in log L"),
    )


def orthogonal_products_keep_lengths(results: Results) -> Check:
    """C9."""
    d = results["X4"]
    orthogonal, gaussian = (d.sel(start=name) for name in ("orthogonal", "gaussian"))
    twenty, hundred = gaussian.sel(product_depth=20), gaussian.sel(product_depth=100)
    ratio = twenty["product_median"] / twenty["product_median_theory"]
    square = float(twenty["product_mean_square"].mean())
    allowed = float(3 * twenty["product_mean_square_spread"]) / d.sizes["seed"] ** 0.5
    return all_of(
        near(orthogonal["product"], 1, absolute=1e-12, what="orthogonal (seed, depth, index)"),
        within(ratio, 1 / 1.5, 1.5, what="Gaussian, L = 20: median / 2^-10 (seed)"),
        below(twenty["product"].min("index"), 1e-14, what="Gaussian, L = 20: smallest (seed)"),
        within(twenty["product"].max("index"), 5, 8, what="Gaussian, L = 20: largest (seed)"),
        near(square, 1, absolute=allowed, what="Gaussian, L = 20: mean square over seeds"),
        below(hundred["product_median"], 1e-12, what="Gaussian, L = 100: median (seed)"),
    )


def orthogonal_tanh_nets_stay_isometric(results: Results) -> Check:
    """C10."""
    d = results["X4"]
    last, median = d["activity_last"], d["jacobian_median"]
    above_critical, near_critical = [1.1, 1.2, 1.5], [1.0, 1.05, 1.1]
    q = d["fixed_point"].sel(gain=above_critical)
    profile = d["activity_theory"].isel(layer=-1)
    alive = last.sel(gain=above_critical)
    return all_of(
        near(
            d["fixed_point"].sel(gain=[1.05, *above_critical]),
            [0.0483, 0.0932, 0.1733, 0.3526],
            absolute=5e-5,
            what="fixed point q",
        ),
        near(alive.sel(start="orthogonal") / q, 1, absolute=0.25, what="orthogonal (seed, gain)"),
        near(alive.sel(start="gaussian") / q, 1, absolute=0.5, what="Gaussian (seed, gain)"),
        near(
            last.sel(start="orthogonal") / profile,
            1,
            absolute=0.25,
            what="orthogonal, activity / mean-field theory (seed, gain)",
        ),
        below(last.sel(gain=0.9), 1e-9, what="activity at g = 0.9 (start, seed)"),
        above(
            median.sel(start="orthogonal", gain=near_critical),
            0.03,
            what="orthogonal, median Jacobian singular value (seed, gain)",
        ),
        below(
            median.sel(start="gaussian", gain=near_critical),
            1e-10,
            what="Gaussian, median Jacobian singular value (seed, gain)",
        ),
    )


def digits_show_a_finite_delay(results: Results) -> Check:
    """C12."""
    d = results["X5"].isel(start=0, seed=0)
    scaled = d["step_size"] / d["sharpness_bound"]
    time = d["steps"] * d["step_size"] * d["depth"]
    return all_of(
        near(d["steps"], d["steps_theory"], absolute=3, relative=0.05, what="steps (depth)"),
        below(time, d["scaled_time_limit"], what="L x training time (depth)"),
        within(scaled, 1, 3, what="best step size x largest sharpness (depth)"),
    )


PAPER = "Saxe, McClelland and Ganguli (2014)"

CLAIMS = (
    Claim(
        "C1",
        "From a decoupled start every mode of a net with one hidden layer follows its own sigmoid, "
        "of time scale tau/(2s), and the whole map is U A(t) V^T.",
        "exact",
        f"{PAPER}, u_f(t) and the whole-network solution (E5, E7)",
        ("X2-network",),
        modes_follow_the_sigmoid,
    ),
    Claim(
        "C2",
        "A mode whose two layers start unequal moves along a hyperbola a^2 - b^2 = c_0, and the "
        "closed form tells the time.",
        "exact",
        f"{PAPER}, the hyperbolic solution (E6)",
        ("X2-hyperbola",),
        unequal_layers_follow_the_hyperbola,
    ),
    Claim(
        "C3",
        "A mode that starts equal in all L layers obeys du/dt = L u^(2-2/L) (s - u), whose "
        "integral tells the learning time; L = 2 is the sigmoid.",
        "exact",
        f"{PAPER}, dynamics of depth (E8, E9)",
        ("X2-chain", "X2-limit"),
        deep_modes_obey_one_equation,
    ),
    Claim(
        "C4",
        "Depth times learning time tends to a finite limit, with an error in 1/L.",
        "exact",
        f"{PAPER}, infinitely deep nets (E10)",
        ("X2-limit",),
        learning_time_has_a_limit,
    ),
    Claim(
        "C5",
        "At the minimum a mode of strength s has the sharpness L s^(2-2/L), so that the largest "
        "stable step size falls as 1/L.",
        "exact",
        f"{PAPER}, optimal learning rates (E11)",
        ("X2-limit",),
        sharpness_grows_with_depth,
    ),
    Claim(
        "C6",
        "Gradient flow conserves W W^T - W'^T W' of any two adjacent layers of a linear net, "
        "whatever the input correlations.",
        "exact",
        f"{PAPER}, conservation of a^2 - b^2",
        ("X2-conserved",),
        balancedness_is_conserved,
    ),
    Claim(
        "C7",
        "From a small random start modes are learned in the order of their singular values, each "
        "after a time in 1/s, up to a fifth later than E5 says.",
        "empirical",
        f"{PAPER}, Fig. 3",
        ("X1",),
        strong_modes_come_first,
    ),
    Claim(
        "C8",
        "At the best step size, which falls as 1/L, decoupled and orthogonal starts learn in a "
        "number of steps that does not grow with depth; Gaussian starts do not.",
        "empirical",
        f"{PAPER}, Figs. 4 and 6",
        ("X3",),
        good_starts_do_not_feel_depth,
    ),
    Claim(
        "C9",
        "Products of orthogonal matrices keep every singular value at 1; of Gaussian matrices the "
        "median falls as 2^(-depth/2), while the mean square stays 1.",
        "exact",
        f"{PAPER}, sec. 3 on random scaled Gaussian starts",
        ("X4",),
        orthogonal_products_keep_lengths,
    ),
    Claim(
        "C10",
        "In tanh nets 100 layers deep, activity dies below the critical gain 1 and settles above; "
        "near it orthogonal weights keep half of the Jacobian's singular values above 0.03, "
        "Gaussian weights do not.",
        "empirical",
        f"{PAPER}, sec. 4 and Fig. 7",
        ("X4",),
        orthogonal_tanh_nets_stay_isometric,
    ),
    Claim(
        "C11",
        "A tanh net learns the same modes in the same order.",
        "empirical",
        f"{PAPER}, Fig. 3",
        ("X1",),
        tanh_learns_in_the_same_order,
    ),
    Claim(
        "C12",
        "On handwritten digits a deep linear net from a decoupled start takes the steps that E8 "
        "predicts for its modes, so that depth times training time stays below the finite limit of "
        "E10, at a best step size of one to three times 1/(L s^(2-2/L)).",
        "empirical",
        f"{PAPER}, Fig. 4",
        ("X5",),
        digits_show_a_finite_delay,
    ),
)
