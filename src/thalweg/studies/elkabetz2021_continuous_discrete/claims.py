"""What the study of continuous and discrete optimisation checks, on its tables alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, Unmeasured, above, all_of, below, near, true, within
from thalweg.lab.claims import claim

PAPER = "Elkabetz & Cohen 2021"
EARLY = 0.1  # the part of training that is left out of relative distances


@claim("C1", kind="exact", source=f"{PAPER}: Lemmas on the landscape of homogeneous nets (E9, E10)")
def curvature_bounds(X5: xr.Dataset) -> Check:
    """Where it is smooth, the loss of a net with homogeneous activations has no Hessian eigenvalue
    below the paper's bound, which is nearly attained at small aligned weights.

    Falsified by: a Hessian eigenvalue more than 1e-12 below its bound, or a near-tight net whose
    quotient of the two differs from the closed form by more than 1e-10.
    """
    tight = X5["aligned_min_eig"] / X5["aligned_balanced"]
    slopes, p = X5["slope_ratio"], X5["slope"] ** (X5["slope_depth"] - 1)
    n, r = X5["slope_depth"], X5.attrs["slope_product"]
    exact = 1 - n * p * r / ((n - 1) * (1 - p * r))
    linear = (X5["random_min_eig"] - X5["random_linear_bound"]).sel(slopes="linear")
    return all_of(
        above(X5["random_min_eig"] - X5["random_bound"], -1e-12, what="random net, general bound"),
        above(linear, -1e-12, what="random linear net"),
        above(X5["aligned_min_eig"] - X5["aligned_bound"], -1e-12, what="aligned net"),
        near(tight.sel(layers=3, product=0.01), 0.98485, absolute=5e-6, what="aligned"),
        near(slopes.sel(slope_depth=3, slope=2.0), 0.993976, absolute=5e-7, what="slope 2"),
        near(slopes, exact.transpose(*slopes.dims), absolute=1e-10, what="slope"),
    )


@claim("C2", kind="exact", source=f"{PAPER}: Derived from the landscape section (E12, E16, E17)")
def exact_eigenvalues(X5: xr.Dataset) -> Check:
    """At balanced aligned weights, on chains of scalars and with two layers at zero, Hessian
    eigenvalues are as in closed form; the last are as negative as one likes.

    Falsified by: an eigenvalue that differs from its closed form by more than 1e-12.
    """
    chains, exact = (
        X5[v].stack(k=X5[v].dims).dropna("k") for v in ("chain_eigenvalues", "chain_exact")
    )
    per_square = X5["negative_min_eig"] / X5["scale"] ** 2
    return all_of(
        near(X5["aligned_min_eig"], X5["aligned_exact"], absolute=1e-12, what="aligned net"),
        near(chains, exact, absolute=1e-12, what="chain"),
        near(X5["negative_min_eig"], X5["negative_exact"], relative=1e-12, what="layers at zero"),
        near(per_square, -X5["negative_row"], relative=1e-12, what="layers at zero over c^2"),
    )


@claim(
    "C3", kind="exact", source=f"{PAPER}: Derived from the section on deep linear nets (E15, E17)"
)
def curvature_integrals(X6: xr.Dataset) -> Check:
    """Along the flow from a small aligned start the negative curvature adds up to a logarithm of
    the start only, so that its exponential is a power.

    Falsified by: an integral of curvature that differs from its closed form by more than 1e-6.
    """
    bound, chain = X6["bound_integral"], X6["chain_integral"]
    return all_of(
        near(bound, X6["bound_integral_exact"], absolute=1e-6, what="bound"),
        near(np.exp(bound), [2.231, 3.162, 2.467], absolute=5e-4, what="growth"),
        near(chain, X6["chain_integral_exact"], absolute=1e-6, what="chain"),
        near(chain, [0.594388, 0.926762, 1.103003], absolute=1e-6, what="chain"),
    )


@claim("C4", kind="exact", source=f"{PAPER}: Section on homogeneous nets (E11b); closed form (E14)")
def conservation_and_flow(X5: xr.Dataset, X6: xr.Dataset) -> Check:
    """Gradient flow keeps the differences of the layers' squared norms, and on balanced linear nets
    with one output it follows the closed form.

    Falsified by: squared norms that drift apart at more than 1e-12 of the terms that cancel, or
    layers that a solver finds more than 1e-9 off the closed form.
    """
    nets = X5.sel(slopes=["linear", "ReLU", "leaky 0.3"])
    drift = nets["balance_rate"] / (1e-12 * np.maximum(1.0, nets["balance_scale"]))
    return all_of(
        below(drift, 1.0, what="drift of squared norms over 1e-12"),
        below(X6["flow_gap"], 1e-9, what="distance of the followed flow from theory"),
        near(X6["norm"], X6["exact_norm"], absolute=1e-9, what="norm of the product"),
    )


@claim("C5", kind="exact", source=f"{PAPER}: Main theorem (E4, E5)")
def certified_descent(X2: xr.Dataset) -> Check:
    """Gradient descent with the step size that the theorem certifies never leaves the tube around
    gradient flow, and ends at the same loss.

    Falsified by: a distance from the flow above 0.02 or above the theorem's own bound, beyond the
    flow's error, or final losses that differ by more than 1e-8.
    """
    apart, error, size = X2["distance"], X2["distance_error"], X2["step_size"]
    end = abs(X2["loss"] - X2["flow_loss"]).isel(record=-1)
    sizes, widest = [1.17e-3, 6.5e-4, 3.4e-4, 2.0e-3, 4.0e-4], apart.max("record")
    errors = [1.17e-4, 9.6e-5, 3.6e-5, 1.65e-4, 4.2e-5]
    return all_of(
        below(apart + error, X2.attrs["eps"], what="distance"),
        below(apart - error, X2["distance_theory"] + 1e-15, what="distance"),
        below(end, 1e-8, what="difference of the final losses"),
        above(size, 1e-4, what="certified step size"),
        near(size, sizes, relative=0.02, what="certified step size"),
        near(widest, errors, relative=0.02, what="largest error"),
    )


@claim("C6", kind="asymptotic", source=f"{PAPER}: Main theorem and deep linear nets (E4, E15)")
def polynomial_step(X8: xr.Dataset) -> Check:
    """Knowing the curvature along the flow, the certified step size shrinks as a power of the
    start; knowing only its largest value, it shrinks exponentially.

    Falsified by: an exponent at small starts in a thin tube more than 0.03 off (n-1)/n + max(0,
    1-2/n), or a step size certified without the path that is not as small as stated to 10 per cent.
    """
    n, at_three, deepest = X8["depth"], X8.sel(depth=3), X8.sel(depth=4, r0=0.001)
    known = [2.14e-3, 1.01e-3, 3.8e-4, 1.37e-4, 4.2e-5, 1.35e-5]
    blind = [4.5e-5, 3.6e-6, 1.1e-7, 1.2e-9, 8.5e-13, 5.7e-17]
    thin = _exponent(X8["step_size_thin"], "small_r0", 1e-3, 1e-4)
    limit = (n - 1) / n + np.maximum(0, 1 - 2 / n)
    fixed = _exponent(X8["step_size"], "r0", 3e-3, 1e-3)
    return all_of(
        near(at_three["step_size"], known, relative=0.01, what="step"),
        near(at_three["step_size_constant"], blind, relative=0.05, what="blind"),
        near(thin, limit, absolute=0.03, what="exponent, thin tube"),
        near(fixed, [0.47, 1.03, 1.31], absolute=0.1, what="exponent at eps = 0.01"),
        near(deepest["step_size"], 2.4e-6, relative=0.03, what="depth 4"),
        near(deepest["step_size_constant"], 2e-33, relative=0.1, what="depth 4, blind"),
    )


def _exponent(steps: xr.DataArray, dim: str, large: float, small: float) -> xr.DataArray:
    ratio = steps.sel({dim: large}) / steps.sel({dim: small})
    return np.log(ratio) / np.log(large / small)


@claim("C7", kind="asymptotic", source=f"{PAPER}: Necessity of the exponential (E7)")
def quadratics(X1: xr.Dataset) -> Check:
    """Where the loss is concave, no step size but an exponentially small one follows the flow; on a
    convex quadratic the error stays proportional to the step, on a linear function there is none.

    Falsified by: a largest step size off its exponential limit by a factor outside 0.99 to 1.02
    where m T >= 1, one step fewer that still keeps to eps, or a convex error that is not
    proportional to the step to half of it.
    """
    ratio, convex = X1["largest_step"] / X1["largest_step_limit"], X1["convex_peak_ratio"]
    taken = X1["error_above"].notnull()
    enough, short = X1["error_below"].where(taken, 0.0), X1["error_above"].where(taken, np.inf)
    late = ratio.where(X1["m"] * X1["T"] >= 8, 1.0)
    return all_of(
        within(ratio, 0.99, 1.02, what="largest step over its limit"),
        near(ratio.sel(m=0.5, T=2.0), 1.0068, absolute=5e-5, what="m T = 1"),
        near(ratio.sel(m=0.5, T=4.0), 1.0016, absolute=5e-5, what="m T = 2"),
        near(late, 1.0, absolute=5e-6, what="m T >= 8"),
        below(enough, X1.attrs["eps"], what="error with just enough steps"),
        above(short, X1.attrs["eps"], what="error with one step fewer"),
        near(convex.sel(step_size=0.01), 1.0042, absolute=5e-5, what="convex"),
        below(abs(convex - 1), X1["step_size"] / 2, what="convex, small steps"),
        below(X1["linear_error"], 1e-12, what="linear function"),
    )


@claim("C8", kind="asymptotic", source=f"{PAPER}: Derived (E18)")
def leading_error(X7: xr.Dataset) -> Check:
    """On chains of equal scalars the distance from flow, divided by the step size, is Euler's
    leading error in closed form.

    Falsified by: a largest distance over the step size more than 0.2 per cent off the closed form.
    """
    peak, theory = X7["scaled_distance"].max("time"), X7["leading_error"].max("time")
    printed = [[0.1463, 0.5525, 0.9829], [0.1929, 0.6867, 1.2067]]
    return all_of(
        near(peak, theory, relative=2e-3, what="measured against theory"),
        near(peak, printed, relative=2e-3, what="measured"),
        near(theory, printed, relative=2e-3, what="theory"),
    )


@claim(
    "C9",
    kind="asymptotic",
    source=f"{PAPER}: Figures of step-size refinement; Euler's method has order one",
    paper_size_at="full",
)
def order_one(X3: xr.Dataset) -> Check:
    """For a linear net on digits the distance from gradient flow, at equal training time, is
    proportional to the step size.

    Falsified by: r times the distance of the run with steps eta/r from the flow that differs from
    the distance at eta by more than 3 per cent.
    """
    linear = X3.sel(model="linear").isel(time=-1)
    apart, flow = linear["distance"], linear["flow_distance"]
    ratio = (apart / apart.sel(refinement=20)).sel(refinement=[2, 5, 10])
    expected = (1 - 1 / ratio["refinement"]) / (1 - 1 / 20)
    per_step = flow * flow["refinement"] / flow.sel(refinement=1)
    accurate = linear["flow_distance_error"] / flow
    return all_of(
        near(*xr.broadcast(ratio, expected), absolute=0.03, what="D(r)/D(20)"),
        near(per_step, 1.0, absolute=0.03, what="r times the distance from the flow"),
        below(accurate, 0.01, what="error of the flow over the distance"),
    )


@claim(
    "C10",
    kind="empirical",
    source=f"{PAPER}: Figures of step-size refinement",
    paper_size_at="full",
)
def refinement_is_invisible(X3: xr.Dataset) -> Check:
    """Dividing the step size by up to 20 hardly changes the path of training, nor the loss.

    Falsified by: a linear net whose refined path is more than 1 per cent of the way travelled
    apart, or another net of which that is more than 2 per cent in the median.
    """
    checks = []
    for name in X3["model"].values.tolist():
        q, change = _relative_distance(X3.sel(model=name))
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
    apart = x["distance"].dropna("refinement", how="all").dropna("seed", how="all")
    finest = apart.isel(refinement=-1)
    late = x["time"] >= EARLY * x["time"].max()
    q = (finest / x["displacement"]).where(late).max("time", skipna=True)
    end = x["loss"].isel(time=-1)
    change = abs(end.sel(refinement=1) - end.sel(refinement=finest["refinement"]))
    return q.dropna("seed"), change.dropna("seed")


@claim(
    "C11",
    kind="empirical",
    source=f"{PAPER}: 'Roughly convex' landscape along the flow",
    paper_size_at="quick",
)
def roughly_convex(X4: xr.Dataset) -> Check:
    """The smallest Hessian eigenvalue is mildly negative at the start of training, rises towards
    zero along it, and is far more negative at random points.

    Falsified by: an eigenvalue at the end of training that is more than 0.4 of the one at its
    start, or more than 0.15 of the one at a random point of twice the norm.
    """
    low, size = X4["path_min_eig"], -X4["path_min_eig"]
    start, end = size.isel(checkpoint=0), size.isel(checkpoint=-1)
    away = -X4["random_min_eig"].sel(radius=2.0)
    change = float(size.diff("checkpoint").max())
    beside = X4.sel(time=X4["checkpoint"], method="nearest")
    tracked, error = beside["smallest_eigenvalue"], beside["smallest_eigenvalue_error"]
    return all_of(
        true(
            change < 0, f"largest change {change:.3g}", "< 0", what="from checkpoint to checkpoint"
        ),
        below(end / start, 0.4, what="end over start"),
        below(end / away, 0.15, what="end over a random point"),
        above(low - X4["path_bound"], 0.0, what="bound on the path"),
        above(X4["random_min_eig"] - X4["random_bound"], 0.0, what="bound at random points"),
        within(low, tracked - error, tracked + 1e-9, what="whole Hessian against matrix-free"),
    )


@claim("C12", kind="exact", source=f"{PAPER}: Convergence of gradient flow (E19)")
def time_bound(X6: xr.Dataset) -> Check:
    """Gradient flow reaches a given loss no later than the paper's time bound.

    Falsified by: a flow that takes longer to a loss than the bound.
    """
    taken = X6["time_taken"].where(X6["time_taken"] != 0, np.finfo(float).tiny)
    return above(X6["time_bound"] / taken, 1.0, what="bound over time taken")


@claim(
    "C13",
    kind="exact",
    source=f"{PAPER}: Convergence of gradient descent (E20), every constant computed",
)
def guarantee(X2: xr.Dataset) -> Check:
    """Flow analysis becomes a guarantee for descent: with the computed step size and number of
    steps the loss is at most the target.

    Falsified by: a loss above 0.01 after the certified number of steps.
    """
    loss, target = X2["promised_loss"], X2.attrs["target_loss"]
    return all_of(
        below(loss, target, what="loss after the certified steps"),
        above(loss, 0.1 * target, what="and not far below"),
    )


@claim(
    "C14",
    kind="empirical",
    source=f"{PAPER}: Figures of step-size refinement, values read off at iteration 10000",
    paper_size_at="full",
)
def published_end_points(X3_published: xr.Dataset) -> Check:
    """On 1000 images of MNIST the paper's nets end where its published curves end: the same
    distance from the start, and a loss of the same size.

    Falsified by: a distance travelled that differs from the published one by more than 10 per cent,
    or a loss that differs from it by more than a factor of two.

    Too small: 100 images are trained for a fiftieth of the time.
    """
    if not X3_published["mnist"].all():
        raise Unmeasured("no images of MNIST are at hand; pip install 'thalweg[images5k]'")
    end = X3_published.isel(time=-1)
    moved = end["displacement"] / end["published_displacement"]
    return all_of(
        near(moved, 1.0, absolute=0.1, what="distance travelled over the published (net)"),
        within(end["loss"] / end["published_loss"], 0.5, 2.0, what="loss over the published (net)"),
    )
