"""The claims of `continuous_vs_discrete`, read from its data sets alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import Claim

Results = Mapping[str, xr.Dataset]
PAPER = "Elkabetz & Cohen 2021"
EARLY = 0.1  # the part of training that is left out of relative distances


def curvature_bounds(results: Results) -> Check:
    """C1: the bounds hold, and tightly where they should."""
    x = results["X5"]
    slack = x["random_min_eig"] - x["random_bound"]
    tight = x["aligned_min_eig"] / x["aligned_balanced"]
    slopes = x["slope_ratio"]
    p = x["slope"] ** (x["slope_depth"] - 1)
    n, r = x["slope_depth"], x.attrs["slope_product"]
    exact = 1 - n * p * r / ((n - 1) * (1 - p * r))
    linear = (x["random_min_eig"] - x["random_linear_bound"]).sel(slopes="linear")
    return all_of(
        above(slack, -1e-12, what="random net, general bound"),
        above(linear, -1e-12, what="random linear net"),
        above(x["aligned_min_eig"] - x["aligned_bound"], -1e-12, what="aligned net"),
        near(tight.sel(layers=3, product=0.01), 0.98485, absolute=5e-6, what="aligned"),
        near(slopes.sel(slope_depth=3, slope=2.0), 0.993976, absolute=5e-7, what="slope 2"),
        near(slopes, exact.transpose(*slopes.dims), absolute=1e-10, what="slope"),
    )


def exact_eigenvalues(results: Results) -> Check:
    """C2: closed forms of eigenvalues."""
    x = results["X5"]
    chains, chains_exact = (
        x[v].stack(k=x[v].dims).dropna("k") for v in ("chain_eigenvalues", "chain_exact")
    )
    per_square = x["negative_min_eig"] / x["scale"] ** 2
    return all_of(
        near(x["aligned_min_eig"], x["aligned_exact"], absolute=1e-12, what="aligned net"),
        near(chains, chains_exact, absolute=1e-12, what="chain"),
        near(x["negative_min_eig"], x["negative_exact"], relative=1e-12, what="layers at zero"),
        near(per_square, -x["negative_row"], relative=1e-12, what="layers at zero over c^2"),
    )


def curvature_integrals(results: Results) -> Check:
    """C3: the bound's integral is logarithmic; the chain's total negative curvature."""
    x = results["X6"]
    return all_of(
        near(x["bound_integral"], x["bound_integral_exact"], absolute=1e-6, what="bound"),
        near(np.exp(x["bound_integral"]), [2.231, 3.162, 2.467], absolute=5e-4, what="growth"),
        near(x["chain_integral"], x["chain_integral_exact"], absolute=1e-6, what="chain"),
        near(x["chain_integral"], [0.594388, 0.926762, 1.103003], absolute=1e-6, what="chain"),
    )


def conservation_and_flow(results: Results) -> Check:
    """C4: what flow conserves, and its closed form."""
    nets, flow = results["X5"], results["X6"]
    named = nets.sel(slopes=["linear", "ReLU", "leaky 0.3"])
    allowed = 1e-12 * np.maximum(1.0, named["balance_scale"])
    return all_of(
        below(named["balance_rate"] / allowed, 1.0, what="drift of squared norms over 1e-12"),
        below(flow["flow_gap"], 1e-9, what="distance of the followed flow from theory"),
        near(flow["norm"], flow["exact_norm"], absolute=1e-9, what="norm of the product"),
    )


def certified_descent(results: Results) -> Check:
    """C5: descent with the certified step size stays in the tube."""
    x = results["X2"]
    end = abs(x["loss"] - x["flow_loss"]).isel(record=-1)
    widest = x["distance"].max("record")
    return all_of(
        below(x["distance"] + x["distance_error"], x.attrs["eps"], what="distance"),
        below(x["distance"] - x["distance_error"], x["bound"] + 1e-15, what="distance"),
        below(end, 1e-8, what="difference of the final losses"),
        above(x["step_size"], 1e-4, what="certified step size"),
        near(
            x["step_size"],
            [1.17e-3, 6.5e-4, 3.4e-4, 2.0e-3, 4.0e-4],
            relative=0.02,
            what="certified step size",
        ),
        near(
            widest, [1.17e-4, 9.6e-5, 3.6e-5, 1.65e-4, 4.2e-5], relative=0.02, what="largest error"
        ),
    )


def polynomial_step(results: Results) -> Check:
    """C6: the certified step size is polynomial in the start; a constant bound's is exponential."""
    x = results["X8"]
    known, blind = x["step_size"].sel(depth=3), x["step_size_constant"].sel(depth=3)
    thin = _slope(x["step_size_thin"], "small_r0", 1e-3, 1e-4)
    fixed = _slope(x["step_size"], "r0", 3e-3, 1e-3)
    n = x["depth"]
    deepest = x.sel(depth=4, r0=0.001)
    return all_of(
        near(
            known, [2.14e-3, 1.01e-3, 3.8e-4, 1.37e-4, 4.2e-5, 1.35e-5], relative=0.01, what="step"
        ),
        near(
            blind, [4.5e-5, 3.6e-6, 1.1e-7, 1.2e-9, 8.5e-13, 5.7e-17], relative=0.05, what="blind"
        ),
        near(
            thin, (n - 1) / n + np.maximum(0, 1 - 2 / n), absolute=0.03, what="exponent, thin tube"
        ),
        near(fixed, [0.47, 1.03, 1.31], absolute=0.1, what="exponent at eps = 0.01"),
        near(deepest["step_size"], 2.4e-6, relative=0.03, what="depth 4"),
        near(deepest["step_size_constant"], 2e-33, relative=0.1, what="depth 4, blind"),
    )


def _slope(steps: xr.DataArray, dim: str, large: float, small: float) -> xr.DataArray:
    ratio = steps.sel({dim: large}) / steps.sel({dim: small})
    return np.log(ratio) / np.log(large / small)


def quadratics(results: Results) -> Check:
    """C7: the exponential is unavoidable on a concave quadratic; convex and linear limits."""
    x = results["X1"]
    ratio = x["largest_step"] / x["largest_step_limit"]
    taken = x["error_above"].notnull()
    enough, short = x["error_below"].where(taken, 0.0), x["error_above"].where(taken, np.inf)
    return all_of(
        within(ratio, 0.99, 1.02, what="largest step over its limit"),
        near(ratio.sel(m=0.5, T=2.0), 1.0068, absolute=5e-5, what="m T = 1"),
        near(ratio.sel(m=0.5, T=4.0), 1.0016, absolute=5e-5, what="m T = 2"),
        near(ratio.where(x["m"] * x["T"] >= 8, 1.0), 1.0, absolute=5e-6, what="m T >= 8"),
        below(enough, x.attrs["eps"], what="error with just enough steps"),
        above(short, x.attrs["eps"], what="error with one step fewer"),
        near(x["convex_peak_ratio"].sel(step_size=0.01), 1.0042, absolute=5e-5, what="convex"),
        below(abs(x["convex_peak_ratio"] - 1), x["step_size"] / 2, what="convex, small steps"),
        below(x["linear_error"], 1e-12, what="linear function"),
    )


def leading_error(results: Results) -> Check:
    """C8: Euler's leading error on chains."""
    x = results["X7"]
    peak, theory = x["scaled_distance"].max("time"), x["leading_error"].max("time")
    printed = [[0.1463, 0.5525, 0.9829], [0.1929, 0.6867, 1.2067]]
    return all_of(
        near(peak, theory, relative=2e-3, what="measured against theory"),
        near(peak, printed, relative=2e-3, what="measured"),
        near(theory, printed, relative=2e-3, what="theory"),
    )


def order_one(results: Results) -> Check:
    """C9: the distance to refined runs, and to the flow, is proportional to the step size."""
    linear = results["X3"].sel(model="linear").isel(time=-1)
    apart, flow = linear["distance"], linear["flow_distance"]
    ratio = apart / apart.sel(refinement=20)
    expected = (1 - 1 / ratio["refinement"]) / (1 - 1 / 20)
    chosen = [2, 5, 10]
    per_step = flow * flow["refinement"] / flow.sel(refinement=1)
    accurate = linear["flow_distance_error"] / flow
    return all_of(
        near(
            *xr.broadcast(ratio.sel(refinement=chosen), expected.sel(refinement=chosen)),
            absolute=0.03,
            what="D(r)/D(20)",
        ),
        near(per_step, 1.0, absolute=0.03, what="r times the distance from the flow"),
        below(accurate, 0.01, what="error of the flow over the distance"),
    )


def refinement_is_invisible(results: Results) -> Check:
    """C10: smaller steps hardly change the path."""
    x = results["X3"]
    checks = []
    for name in x["model"].values.tolist():
        q, change = _relative_distance(x.sel(model=name))
        if name == "linear":
            checks += [
                below(q, 0.01, what="linear: distance over displacement"),
                below(change, 1e-3, what="linear: change of the final loss"),
            ]
            continue
        checks += [
            below(q.median(), 0.02, what=f"{name}: median distance over displacement"),
            below(q, 0.1, what=f"{name}: distance over displacement"),
        ]
        if name == "relu":
            checks.append(below(change.median(), 2e-3, what="relu: median change of the loss"))
    return all_of(*checks)


def _relative_distance(x: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """By seed: largest distance to the finest run over displacement, and change of final loss."""
    finest = (
        x["distance"].dropna("refinement", how="all").isel(refinement=-1).dropna("seed", how="all")
    )
    late = x["time"] >= EARLY * x["time"].max()
    q = (finest / x["displacement"]).where(late).max("time", skipna=True)
    end = x["loss"].isel(time=-1)
    change = abs(end.sel(refinement=1) - end.sel(refinement=finest["refinement"]))
    return q.dropna("seed"), change.dropna("seed")


def roughly_convex(results: Results) -> Check:
    """C11: along the path the smallest eigenvalue is mildly negative, and ever less so."""
    x = results["X4"]
    size = -x["path_min_eig"]
    start, end = size.isel(checkpoint=0), size.isel(checkpoint=-1)
    falls = size.diff("checkpoint").max()
    return all_of(
        true(
            falls < 0,
            f"largest change {float(falls):.3g}",
            "< 0",
            what="from checkpoint to checkpoint",
        ),
        below(end / start, 0.4, what="end over start"),
        below(end / -x["random_min_eig"].sel(radius=2.0), 0.15, what="end over a random point"),
        above(x["path_min_eig"] - x["path_bound"], 0.0, what="bound on the path"),
        above(x["random_min_eig"] - x["random_bound"], 0.0, what="bound at random points"),
        within(
            x["path_min_eig"],
            _at_checkpoints(x, "smallest_eigenvalue")
            - _at_checkpoints(x, "smallest_eigenvalue_error"),
            _at_checkpoints(x, "smallest_eigenvalue") + 1e-9,
            what="whole Hessian against matrix-free",
        ),
    )


def _at_checkpoints(x: xr.Dataset, name: str) -> xr.DataArray:
    chosen = x[name].sel(time=x["checkpoint"].values, method="nearest")
    return chosen.rename(time="checkpoint").assign_coords(checkpoint=x["checkpoint"])


def time_bound(results: Results) -> Check:
    """C12: the paper's bound on the time of the flow."""
    x = results["X6"]
    ratio = (x["time_bound"] / x["time_taken"].where(x["time_taken"] > 0)).fillna(np.inf)
    return above(ratio, 1.0, what="bound over time taken")


def guarantee(results: Results) -> Check:
    """C13: the computed guarantee of gradient descent is kept."""
    x = results["X2"]
    return all_of(
        below(x["promised_loss"], x.attrs["target_loss"], what="loss after the certified steps"),
        above(x["promised_loss"], 0.1 * x.attrs["target_loss"], what="and not far below"),
    )


CLAIMS = (
    Claim(
        id="C1",
        statement=(
            "Where it is smooth, the loss of a net with homogeneous activations has no "
            "Hessian eigenvalue below the paper's bound, which is nearly attained at small "
            "aligned weights."
        ),
        kind="exact",
        source=f"{PAPER}: Lemmas on the landscape of homogeneous nets (E9, E10)",
        needs=("X5",),
        check=curvature_bounds,
    ),
    Claim(
        id="C2",
        statement=(
            "At balanced aligned weights, on chains of scalars and with two layers at zero, "
            "Hessian eigenvalues are as in closed form; the last are as negative as one "
            "likes."
        ),
        kind="exact",
        source=f"{PAPER}: Derived from the landscape section (E12, E16, E17)",
        needs=("X5",),
        check=exact_eigenvalues,
    ),
    Claim(
        id="C3",
        statement=(
            "Along the flow from a small aligned start the negative curvature adds up to a "
            "logarithm of the start only, so that its exponential is a power."
        ),
        kind="exact",
        source=f"{PAPER}: Derived from the section on deep linear nets (E15, E17)",
        needs=("X6",),
        check=curvature_integrals,
    ),
    Claim(
        id="C4",
        statement=(
            "Gradient flow keeps the differences of the layers' squared norms, and on "
            "balanced linear nets with one output it follows the closed form."
        ),
        kind="exact",
        source=f"{PAPER}: Section on homogeneous nets (E11b); closed form (E14)",
        needs=(
            "X5",
            "X6",
        ),
        check=conservation_and_flow,
    ),
    Claim(
        id="C5",
        statement=(
            "Gradient descent with the step size that the theorem certifies never leaves the "
            "tube around gradient flow, and ends at the same loss."
        ),
        kind="exact",
        source=f"{PAPER}: Main theorem (E4, E5)",
        needs=("X2",),
        check=certified_descent,
    ),
    Claim(
        id="C6",
        statement=(
            "Knowing the curvature along the flow, the certified step size shrinks as a power "
            "of the start; knowing only its largest value, it shrinks exponentially."
        ),
        kind="exact",
        source=f"{PAPER}: Main theorem and deep linear nets (E4, E15)",
        needs=("X8",),
        check=polynomial_step,
    ),
    Claim(
        id="C7",
        statement=(
            "Where the loss is concave, no step size but an exponentially small one follows "
            "the flow; on a convex quadratic the error stays proportional to the step, on a "
            "linear function there is none."
        ),
        kind="exact",
        source=f"{PAPER}: Necessity of the exponential (E7)",
        needs=("X1",),
        check=quadratics,
    ),
    Claim(
        id="C8",
        statement=(
            "On chains of equal scalars the distance from flow, divided by the step size, is "
            "Euler's leading error in closed form."
        ),
        kind="exact",
        source=f"{PAPER}: Derived (E18)",
        needs=("X7",),
        check=leading_error,
    ),
    Claim(
        id="C9",
        statement=(
            "For a linear net on digits the distance from gradient flow, at equal training "
            "time, is proportional to the step size."
        ),
        kind="exact",
        source=f"{PAPER}: Figures of step-size refinement; Euler's method has order one",
        needs=("X3",),
        check=order_one,
    ),
    Claim(
        id="C10",
        statement=(
            "Dividing the step size by up to 20 hardly changes the path of training, nor the loss."
        ),
        kind="empirical",
        source=f"{PAPER}: Figures of step-size refinement",
        needs=("X3",),
        check=refinement_is_invisible,
    ),
    Claim(
        id="C11",
        statement=(
            "The smallest Hessian eigenvalue is mildly negative at the start of training, "
            "rises towards zero along it, and is far more negative at random points."
        ),
        kind="empirical",
        source=f"{PAPER}: 'Roughly convex' landscape along the flow",
        needs=("X4",),
        check=roughly_convex,
    ),
    Claim(
        id="C12",
        statement="Gradient flow reaches a given loss no later than the paper's time bound.",
        kind="exact",
        source=f"{PAPER}: Convergence of gradient flow (E19)",
        needs=("X6",),
        check=time_bound,
    ),
    Claim(
        id="C13",
        statement=(
            "Flow analysis becomes a guarantee for descent: with the computed step size and "
            "number of steps the loss is at most the target."
        ),
        kind="exact",
        source=f"{PAPER}: Convergence of gradient descent (E20), every constant computed",
        needs=("X2",),
        check=guarantee,
    ),
)
