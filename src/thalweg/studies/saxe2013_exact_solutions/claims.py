"""What the study of exact linear dynamics checks, on the tables of its experiments alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import claim

PAPER = "Saxe, McClelland and Ganguli (2014)"
DECOUPLED_STEPS = {2: 5, 4: 14, 8: 26, 16: 32, 32: 34, 48: 31}  # by depth


@claim("C1", kind="exact", source=f"{PAPER}, u_f(t) and the whole-network solution (E5, E7)")
def modes_follow_the_sigmoid(X2_network: xr.Dataset) -> Check:
    """From a decoupled start every mode of a net with one hidden layer follows its own sigmoid, of
    time scale tau/(2s), and the whole map is U A(t) V^T.

    Falsified by: a mode strength or an entry of the map more than 1e-10 from the closed form.
    """
    gap = (X2_network["strength"] - X2_network["strength_theory"]).values
    return all_of(
        near(gap, 0, absolute=1e-10, what="mode strength minus E5 (seed, time, mode)"),
        below(X2_network["map_gap"], 1e-10, what="whole map minus E7 (seed, time)"),
    )


@claim("C2", kind="exact", source=f"{PAPER}, the hyperbolic solution (E6)")
def unequal_layers_follow_the_hyperbola(X2_hyperbola: xr.Dataset) -> Check:
    """A mode whose two layers start unequal moves along a hyperbola a^2 - b^2 = c_0, and the closed
    form tells the time.

    Falsified by: a time or a mode strength more than 1e-9 from the closed form.
    """
    gap = (X2_hyperbola["strength"] - X2_hyperbola["strength_theory"]).values
    lag = (X2_hyperbola["time_theory"] - X2_hyperbola["time"]).values
    return all_of(
        near(lag, 0, absolute=1e-9, what="time by E6 minus integration time (time, mode)"),
        near(gap, 0, absolute=1e-9, what="mode strength minus closed form (time, mode)"),
    )


@claim("C3", kind="exact", source=f"{PAPER}, dynamics of depth (E8, E9)")
def deep_modes_obey_one_equation(X2_chain: xr.Dataset, X2_limit: xr.Dataset) -> Check:
    """A mode that starts equal in all L layers obeys du/dt = L u^(2-2/L) (s - u), whose integral
    tells the learning time; L = 2 is the sigmoid.

    Falsified by: a speed 1e-9 (relative) off E8, or a time 1e-9 off E9 or, at L = 2, off E5.
    """
    d, two = X2_chain, float(X2_limit["scaled_time"].sel(depth=2)) / 2
    return all_of(
        near(d["rate"], d["rate_theory"], relative=1e-9, what="speed beside E8 (depth, record)"),
        near(d["time_theory"], d["time"], absolute=1e-9, what="time by E9 (depth, record)"),
        near(two, X2_limit["shallow_time"], absolute=1e-9, what="E9 at L = 2 beside E5"),
        near(two, 1.34178, absolute=5e-6, what="E9 at L = 2"),
    )


@claim("C4", kind="asymptotic", source=f"{PAPER}, infinitely deep nets (E10)")
def learning_time_has_a_limit(X2_limit: xr.Dataset) -> Check:
    """Depth times learning time tends to a finite limit, with an error in 1/L.

    Falsified by: L t(L) at L = 1000 off E10 by 0.3 %, or L x gap that still moves by 2 % at 500.
    """
    limit = float(X2_limit["scaled_time_limit"])
    scaled = X2_limit["scaled_time"].sel(depth=[10, 50, 200, 1000]).values
    gap = (limit - X2_limit["scaled_time"]) * X2_limit["depth"]
    return all_of(
        near(limit, 7.9002, absolute=5e-5, what="E10"),
        near(scaled, [6.081, 7.484, 7.794, 7.879], absolute=5e-4, what="L t(L)"),
        near(scaled[-1], limit, relative=3e-3, what="L t(L) at L = 1000 beside E10"),
        near(gap.sel(depth=500), gap.sel(depth=1000), relative=0.02, what="L x gap to E10"),
    )


@claim("C5", kind="exact", source=f"{PAPER}, optimal learning rates (E11)")
def sharpness_grows_with_depth(X2_limit: xr.Dataset) -> Check:
    """At the minimum a mode of strength s has the sharpness L s^(2-2/L), so that the largest stable
    step size falls as 1/L.

    Falsified by: a largest Hessian eigenvalue more than 1e-12 from L s^(2-2/L).
    """
    top = X2_limit["sharpness"]
    return all_of(
        near(top, X2_limit["sharpness_theory"], absolute=1e-12, what="L = 2, 3, 6, 10"),
        near(top[:3], [3.4, 6.08676, 14.5289], absolute=5e-6, what="L = 2, 3, 6"),
    )


@claim("C6", kind="exact", source=f"{PAPER}, conservation of a^2 - b^2")
def balancedness_is_conserved(X2_conserved: xr.Dataset) -> Check:
    """Gradient flow conserves W W^T - W'^T W' of any two adjacent layers of a linear net, whatever
    the input correlations.

    Falsified by: a speed of W W^T - W'^T W' above 1e-10 of that of its terms.
    """
    moved = X2_conserved["rate"] / X2_conserved["scale"]
    return below(moved, 1e-10, what="speed/size by pair of layers")


@claim("C7", kind="empirical", source=f"{PAPER}, Fig. 3", paper_size_at="quick")
def strong_modes_come_first(X1: xr.Dataset) -> Check:
    """From a small random start modes are learned in the order of their singular values, each after
    a time in 1/s, up to a fifth later than E5 says.

    Falsified by: half-rise x s 20 % off its mean, half-rise / E5 off [0.99, 1.2], or a swap.
    """
    d = X1.sel(net="linear")
    product = d["half"] * d["singular_value"]
    late = d["half"] / d["half_theory"]
    return all_of(
        near(product / product.mean("mode"), 1, absolute=0.2, what="half-rise x s (seed, mode)"),
        within(late, 0.99, 1.2, what="half-rise / E5 (seed, mode)"),
        _in_order(d["half"], "linear net"),
    )


@claim("C8", kind="empirical", source=f"{PAPER}, Figs. 4 and 6", paper_size_at="none")
def good_starts_do_not_feel_depth(X3: xr.Dataset) -> Check:
    """At the best step size, which falls as 1/L, decoupled and orthogonal starts learn in a number
    of steps that does not grow with depth; Gaussian starts do not.

    Falsified by: an orthogonal start of 25 steps or more, or a Gaussian one less than 3 times it.
    """
    steps, good = X3["steps"], X3["step_size"].sel(start=["decoupled", "orthogonal"])
    deep = steps.sel(depth=16)
    depths = X3["depth"].values
    slopes = np.polyfit(np.log(depths), np.log(good.values).reshape(-1, len(depths)).T, 1)[0]
    known = [DECOUPLED_STEPS[L] for L in depths]
    return all_of(
        near(steps.sel(start="decoupled"), known, absolute=1, what="decoupled (seed, depth)"),
        below(steps.sel(start="orthogonal"), 25, what="steps, orthogonal (seed, depth)"),
        above(
            deep.sel(start="gaussian") / deep.sel(start="orthogonal"),
            3,
            what="steps, Gaussian / orthogonal at L = 16 (seed)",
        ),
        within(good * depths, 0.3, 1.1, what="best step size x L (start, seed, depth)"),
        near(slopes, -1, absolute=0.3, what="slope of log step size in log L"),
    )


@claim(
    "C9",
    kind="asymptotic",
    source=f"{PAPER}, sec. 3 on random scaled Gaussian starts",
    paper_size_at="quick",
)
def orthogonal_products_keep_lengths(X4: xr.Dataset) -> Check:
    """Products of orthogonal matrices keep every singular value at 1; of Gaussian matrices the
    median falls as 2^(-depth/2), while the mean square stays 1.

    Falsified by: an orthogonal value off 1 by 1e-12, or at depth 20 a median off 2^-10 by 1.5.
    """
    products = X4["product"].sel(start="gaussian")
    twenty, hundred = (products.sel(product_depth=depth) for depth in (20, 100))
    theory = X4.sel(product_depth=20)
    ratio = twenty.median("index") / theory["product_median_theory"]
    square = float((twenty**2).mean("index").mean())
    allowed = float(3 * theory["product_mean_square_spread"]) / X4.sizes["seed"] ** 0.5
    return all_of(
        near(
            X4["product"].sel(start="orthogonal"),
            1,
            absolute=1e-12,
            what="orthogonal (seed, depth, index)",
        ),
        within(ratio, 1 / 1.5, 1.5, what="Gaussian, L = 20: median / 2^-10 (seed)"),
        below(twenty.min("index"), 1e-14, what="Gaussian, L = 20: smallest (seed)"),
        within(twenty.max("index"), 5, 8, what="Gaussian, L = 20: largest (seed)"),
        near(square, 1, absolute=allowed, what="Gaussian, L = 20: mean square over seeds"),
        below(hundred.median("index"), 1e-12, what="Gaussian, L = 100: median (seed)"),
    )


@claim("C10", kind="empirical", source=f"{PAPER}, sec. 4 and Fig. 7", paper_size_at="quick")
def orthogonal_tanh_nets_stay_isometric(X4: xr.Dataset) -> Check:
    """In tanh nets 100 layers deep, activity dies below the critical gain 1 and settles above; near
    it orthogonal weights keep half of the Jacobian's singular values above 0.03, Gaussian weights
    do not.

    Falsified by: near g = 1 an orthogonal median below 0.03, or a Gaussian one above 1e-10.
    """
    last, q = X4["activity"].isel(layer=-1), X4["fixed_point"]
    alive = (last / q).sel(gain=[1.1, 1.2, 1.5])
    profile = last.sel(start="orthogonal") / X4["activity_theory"].isel(layer=-1)
    median = X4["jacobian"].median("index").sel(gain=[1.0, 1.05, 1.1])
    values = "median Jacobian singular value (seed, gain)"
    return all_of(
        near(
            q.sel(gain=[1.05, 1.1, 1.2, 1.5]),
            [0.0483, 0.0932, 0.1733, 0.3526],
            absolute=5e-5,
            what="fixed point q",
        ),
        near(alive.sel(start="orthogonal"), 1, absolute=0.25, what="orthogonal (seed, gain)"),
        near(alive.sel(start="gaussian"), 1, absolute=0.5, what="Gaussian (seed, gain)"),
        near(
            profile, 1, absolute=0.25, what="orthogonal, activity / mean-field theory (seed, gain)"
        ),
        below(last.sel(gain=0.9), 1e-9, what="activity at g = 0.9 (start, seed)"),
        above(median.sel(start="orthogonal"), 0.03, what=f"orthogonal, {values}"),
        below(median.sel(start="gaussian"), 1e-10, what=f"Gaussian, {values}"),
    )


@claim("C11", kind="empirical", source=f"{PAPER}, Fig. 3", paper_size_at="quick")
def tanh_learns_in_the_same_order(X1: xr.Dataset) -> Check:
    """A tanh net learns the same modes in the same order.

    Falsified by: a mode that rises to its half before one of larger singular value, in any seed.
    """
    return _in_order(X1["half"].sel(net="tanh"), "tanh net")


@claim("C12", kind="empirical", source=f"{PAPER}, Fig. 4", paper_size_at="full")
def digits_show_a_finite_delay(X5: xr.Dataset) -> Check:
    """On handwritten digits a deep linear net from a decoupled start takes the steps that E8
    predicts for its modes, so that depth times training time stays below the finite limit of E10,
    at a best step size of one to three times 1/(L s^(2-2/L)).

    Falsified by: steps 5 % + 3 off E8, L x time above E10, or step size x sharpness off [1, 3].
    """
    d = X5.isel(start=0, seed=0)
    scaled = d["step_size"] / d["sharpness_bound"]
    time = d["steps"] * d["step_size"] * d["depth"]
    return all_of(
        near(d["steps"], d["steps_theory"], absolute=3, relative=0.05, what="steps (depth)"),
        below(time, d["scaled_time_limit"], what="L x training time (depth)"),
        within(scaled, 1, 3, what="best step size x largest sharpness (depth)"),
    )


def _in_order(half: xr.DataArray, what: str) -> Check:
    """Every mode of a group of equal s before every mode of the next, seed by seed."""
    groups = [half.isel(mode=slice(*ends)) for ends in ((0, 1), (1, 2), (2, 4), (4, 8))]
    lead = [after.min("mode") - before.max("mode") for before, after in pairwise(groups)]
    return above(np.stack(lead), 1e-9, what=f"lead of a group over the next (group, seed), {what}")
