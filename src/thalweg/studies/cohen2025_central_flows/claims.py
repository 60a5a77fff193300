"""What the study of central flows checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import claim
from thalweg.studies.cohen2025_central_flows.windows import each_seed, excess, late, ratio

PAPER = "Cohen et al. (2025)"
AFTER = 5  # steps from where the oscillation is needed to where the edge is held
ANCHORS = {  # by two other implementations
    0: (0.152, 0.986, 0.988),
    1: (0.138, 0.997, 1.002),
    2: (0.109, 0.939, 0.927),
}
PAPER_NET = 2350  # its parameters: what the anchors are of
SMALL_BELOW = 1000  # parameters: nets of smoke scale


@claim("C1", kind="exact", source=f"{PAPER}, complementarity problem (E4)")
def complementarity_is_solved(X1_instances: xr.Dataset) -> Check:
    """The complementarity problem X >= 0, A + B[X] >= 0, <X, A + B[X]> = 0 is solved to 1e-8 for
    one to six vectors, and for B = b is the positive part of -A/b.

    Falsified by: a product, or an eigenvalue below zero, of more than 1e-8; a part off by 1e-12.
    """
    d = X1_instances
    return all_of(
        below(d["product"], 1e-8, what="|<X, Y>| (draw)"),
        below(d["below_x"], 1e-8, what="-lambda_min(X) (draw)"),
        below(d["below_y"], 1e-8, what="-lambda_min(Y) (draw)"),
        below(d["multiple"], 1e-12, what="||X - (-A/b)_+|| (draw)"),
    )


@claim("C2", kind="exact", source="derived (E4)")
def covariance_is_a_matrix(X1_matrices: xr.Dataset) -> Check:
    """Where the sides of a valley are a matrix Y, pushed up by C, the covariance of the oscillation
    is 2 C_+, off-diagonal entries included.

    Falsified by: a covariance off 2 C_+ by more than 1e-12 of its norm.
    """
    return below(X1_matrices["off"], 1e-12, what="||Sigma - 2 C_+||/||2 C_+|| (matrix)")


@claim("C3", kind="exact", source=f"{PAPER}, projection on the stable set (E5); derived (E6)")
def the_stable_set_is_kept(X2b: xr.Dataset) -> Check:
    """Along the central flow no curvature on the span of the oscillation rises, what does not fall
    carries it, and the loss falls as the squared speed: f' = -||w'||^2 (in training time).

    Falsified by: by differences of the Hessian, one of the three off by more than 1e-9.
    """
    return all_of(
        below(X2b["rise"], 1e-9, what="largest eigenvalue of U^T H' U (seed, point)"),
        below(X2b["complementarity"], 1e-9, what="<X, U^T H' U> (seed, point)"),
        below(X2b["energy_balance"], 1e-9, what="loss rate against squared speed, relative"),
        above(X2b["amount"], 1e-6, what="tr X there (seed, point)"),
    )


@claim("C4", kind="asymptotic", source="derived (E3)")
def the_valley_averages(X1: xr.Dataset) -> Check:
    """In the valley y x^2/2 - c y descent from the edge averages x^2 to 2 c and keeps the sharpness
    at 2/eta.

    Falsified by: a mean x^2 8 % off 2 c, or a mean eta y 0.001 off 2.
    """
    wide = X1.sel(c=1e-2)
    return all_of(
        near(X1["ratio"], 1, absolute=0.08, what="mean x^2 over 2 c (c)"),
        near(X1["side"], 2, absolute=1e-3, what="mean eta y (c)"),
        above(wide["lowest"], 1.9, what="least eta y at c = 0.01"),
        below(wide["highest"], 2.1, what="largest eta y at c = 0.01"),
    )


@claim("C5", kind="asymptotic", source="derived (E4)")
def the_matrix_averages(X1: xr.Dataset) -> Check:
    """With a matrix of sides descent averages x x^T to 2 C, and both eigenvalues to the edge.

    Falsified by: a mean x x^T 5 % off 2 C, or an eigenvalue of the mean eta Y 0.002 off 2.
    """
    return all_of(
        below(X1["matrix_off"], 0.05, what="||mean x x^T - 2 C||/||2 C||"),
        near(X1["matrix_side"], 2, absolute=2e-3, what="eigenvalues of mean eta Y"),
    )


@claim(
    "C6",
    kind="empirical",
    source=f"{PAPER}, sharpness along the central flow (E2)",
    paper_size_at="none",
)
def sharpness_is_pinned(X2b: xr.Dataset) -> Check:
    """On digits the central flow holds the sharpness at the edge with two eigenvalues or more, the
    midpoints of descent hover at it or slightly above, and gradient flow leaves it behind.

    Falsified by: an effective sharpness of the flow outside [1.999, 2.0002], a mean of descent's
    outside [1.97, 2.2], one of gradient flow below 2.4 (2.2 on the small net).
    """
    # The small net has less to gain.
    grown = 2.4 if X2b.attrs["parameters"] == PAPER_NET else 2.2
    return all_of(*pinned(X2b, grown, "of gradient flow (seed)"))


def pinned(d: xr.Dataset, grown: float, plain: str) -> tuple[Check, ...]:
    """The central flow at the edge, midpoints there or above, the flow without it beyond."""
    second, at_edge = late(d), d["effective_sharpness"].isel(step=slice(2 * AFTER, None))
    return (
        within(at_edge, 1.999, 2.0002, what="effective sharpness of the central flow (seed, step)"),
        within(second["middle_sharpness"].mean("look"), 1.97, 2.2, what="of midpoints (seed)"),
        above(second["plain_sharpness"].max("look"), grown, what=plain),
        above(d["critical"].isel(step=-1), 2, what="eigenvalues at the edge at the end (seed)"),
    )


def anchored(d: xr.Dataset, which: int, measured: xr.DataArray, what: str) -> tuple[Check, ...]:
    """A number of the seeds that others have measured, within 5 %; none of another net."""
    if d.attrs["parameters"] != PAPER_NET:
        return ()
    seeds = [s for s in ANCHORS if s in d["seed"]]
    expected = [ANCHORS[s][which] for s in seeds]
    return (near(measured.sel(seed=seeds), expected, relative=0.05, what=what),)


@claim(
    "C7",
    kind="empirical",
    source=f"{PAPER}, distance from the central flow (E2)",
    paper_size_at="none",
)
def path_is_followed(X2b: xr.Dataset) -> Check:
    """Once descent oscillates, its path without the oscillation is several times nearer to the
    central flow than to gradient flow.

    Falsified by: a mean ratio of distances above 0.25 on the hundred digits, above 0.5 on fewer.
    """
    found = ratio(late(X2b)).mean("step")
    bound = 0.25 if X2b.attrs["parameters"] == PAPER_NET else 0.5
    return all_of(
        below(found, bound, what="distance over that from gradient flow (seed)"),
        *anchored(X2b, 0, found, "the same, against other implementations (seed)"),
    )


SETTLED = 20  # steps after the onset from which on the path is held against the flows
SMALL_NET = "the small net of smoke scale begins beyond the edge, so that nothing is late"


@claim(
    "C7b",
    kind="empirical",
    source=f"{PAPER}, distance from the central flow (E2)",
    paper_size_at="none",
    too_small=SMALL_NET,
)
def path_is_found_again(X2: xr.Dataset) -> Check:
    """From the first weights, too, the midpoints of descent are nearer to the central flow than to
    gradient flow once the oscillation has come.

    Falsified by: a mean ratio of distances above 0.65 from 20 steps after the onset on, or above
    0.6 at the end.
    """
    means = [ratio(d).sel(step=slice(k + SETTLED, None)).mean() for d, _, k in each_seed(X2)]
    return all_of(
        below(means, 0.65, what="distance over that from gradient flow (seed)"),
        below(ratio(X2).isel(step=-1), 0.6, what="the same at the end (seed)"),
    )


@claim(
    "C11",
    kind="empirical",
    source="derived (E11); no paper shows it",
    paper_size_at="none",
    too_small=SMALL_NET,
)
def onset_is_not_described(X2: xr.Dataset) -> Check:
    """Where no oscillation has grown the central flow describes nothing: descent passes the edge,
    is nearer to gradient flow for tens of steps, and the comparison warns of it.

    Falsified by: fewer than 20 steps from the edge to the oscillation, midpoints that stay below
    2.4 in between, a central flow that is always the nearer one, or a warning at less than half of
    the looks.
    """
    seeds = each_seed(X2)
    between = [d.sel(step=slice(edge, begun), look=slice(edge, begun)) for d, edge, begun in seeds]
    delays = [begun - edge for _, edge, begun in seeds]
    peaks = [d["middle_sharpness"].max() for d in between]
    farthest = [ratio(d).max() for d in between]
    warnings = [d["warned"].mean() for d in between]
    return all_of(
        above(delays, 20, what="steps from the edge to the oscillation (seed)"),
        above(peaks, 2.4, what="largest sharpness of midpoints in between (seed)"),
        above(farthest, 1, what="largest ratio of distances in between (seed)"),
        above(warnings, 0.5, what="share of looks with a warning (seed)"),
    )


@claim("C11a", kind="empirical", source="derived (E11)", paper_size_at="none")
def onset_does_not_come(X3: xr.Dataset) -> Check:
    """Where the sharpness rises slowly the oscillation does not come at all within the run, though
    the central flow has long needed it; the comparison warns of that.

    Falsified by: after the central flow has met the edge, an oscillation of more than 1e-5 tr
    Sigma (1e-4 on the small net), an effective sharpness of the central flow off 2, or, 56 steps
    later (30), a look without a warning.
    """
    small = X3.attrs["parameters"] < SMALL_BELOW
    idle, warned = (1e-4, 30) if small else (1e-5, 56)
    parts = []
    for d in (X3.sel(seed=s) for s in X3["seed"].values):
        step = d["step"].values
        met, end = step[np.argmax(d["oscillation"].values > 0)], step[-1]
        waits = d.sel(step=slice(met + AFTER + 1, end - 10))
        looks = d.sel(look=slice(met + warned, None))
        parts += [
            below(waits["energy"] / waits["oscillation"], idle, what="energy/tr Sigma (step)"),
            near(waits["effective_sharpness"], 2, absolute=1e-3, what="central flow (step)"),
            above(looks["warned"], 1, what="warning (look)"),
        ]
    return all_of(*parts)


@claim("C13", kind="asymptotic", source="derived (E11)", paper_size_at="none", too_small=SMALL_NET)
def substeps_carry_a_quarter(X2: xr.Dataset, X3: xr.Dataset) -> Check:
    """Before the edge the central flow is gradient flow; that its four Euler substeps bring it
    nearer to descent, by a quarter, is their error of integration.

    Falsified by: a ratio of distances outside 0.765 +- 0.04 in steps 5 to 20 of the net of four
    layers, and from step 5 until the edge on that of three.
    """
    early, until = ratio(X2).sel(step=slice(5, 20)), ratio(X3).sel(step=slice(5, 239))
    return all_of(
        near(early, 0.765, absolute=0.04, what="distance over that from gradient flow (step)"),
        near(until, 0.765, absolute=0.04, what="the same, three layers (step)"),
    )


def balanced(d: xr.Dataset, found: tuple[xr.DataArray, ...], what: str) -> tuple[Check, ...]:
    """Each within a half of one; on the hundred digits their mean within a fifth."""
    each = np.concatenate([np.atleast_1d(part.values) for part in found])
    one_by_one = within(each, 0.5, 1.5, what=f"{what} (method, seed)")
    if d.attrs["parameters"] != PAPER_NET:
        return (one_by_one,)
    return one_by_one, within(each.mean(), 0.8, 1.2, what=f"{what}, mean")


@claim("C8", kind="empirical", source=f"{PAPER}, predicted loss (E7)", paper_size_at="none")
def loss_is_predicted(X2b: xr.Dataset, X4: xr.Dataset) -> Check:
    """The mean loss of descent, and of scalar RMSProp, is the central flow's and tr P Sigma, for
    descent tr Sigma/eta: the oscillation's part is needed, and has the right size.

    Falsified by: a measured excess outside 0.5 to 1.5 of the predicted one (mean over all runs 0.8
    to 1.2), a mean loss 10 % off, or within 4 % of the central flow's own.
    """
    runs = late(X2b), late(X4)
    means = [d.mean("step") for d in runs]
    found = excess(runs[0])
    whole = np.concatenate([m["loss"] / m["predicted_loss"] for m in means])
    needed = np.concatenate([m["loss"] / m["central_loss"] for m in means])
    return all_of(
        *balanced(X2b, (found, excess(runs[1])), "excess loss over predicted"),
        within(whole, 0.9, 1.1, what="loss over predicted (method, seed)"),
        above(needed, 1.04, what="over the central flow's (method, seed)"),
        *anchored(X2b, 1, found, "excess, against other implementations (seed)"),
    )


@claim(
    "C9", kind="empirical", source=f"{PAPER}, predicted gradient norm (E7)", paper_size_at="none"
)
def gradient_is_predicted(X2b: xr.Dataset, X4: xr.Dataset) -> Check:
    """The mean squared gradient is that of the central flow and 4 tr P Sigma P, for descent
    (4/eta^2) tr Sigma.

    Falsified by: a mean outside 0.5 to 1.5 of the predicted one (mean over all runs 0.8 to 1.2).
    """
    means = (late(X2b).mean("step"), late(X4).mean("step"))
    found = tuple(mean["square"] / mean["predicted_square"] for mean in means)
    return all_of(*balanced(X2b, found, "||grad f||^2 over predicted"))


@claim("C10", kind="empirical", source=f"{PAPER}, predicted covariance (E7)", paper_size_at="none")
def variance_is_predicted(X2b: xr.Dataset, X4: xr.Dataset) -> Check:
    """The variance of the oscillation is tr Sigma, by the steps about their midpoints and by the
    distance from the central flow along the eigenvectors at the edge.

    Falsified by: either outside 0.5 to 1.5 of tr Sigma (mean over all runs 0.8 to 1.2), the two
    15 % apart, or a midpoint that leaves some of a pure oscillation.
    """
    means = (late(X2b).mean("step"), late(X4).mean("step"))
    energy = tuple(mean["energy"] / mean["oscillation"] for mean in means)
    variance = tuple(mean["variance"] / mean["added_loss"] for mean in means)
    apart = np.concatenate([v / e for v, e in zip(variance, energy, strict=True)])
    return all_of(
        *balanced(X2b, energy, "||step - midpoint||^2 over tr Sigma"),
        *balanced(X2b, variance, "variance at the edge over tr Sigma"),
        near(apart, 1, absolute=0.15, what="one over the other (method, seed)"),
        near(X2b["midpoint_off"], 0, absolute=1e-14, what="midpoint of (-1)^k a + b + c k"),
        *anchored(X2b, 2, energy[0], "energy, against other implementations (seed)"),
    )


@claim("C12", kind="exact", source="derived (E9, E10)")
def averages_at_the_edge(X4_exact: xr.Dataset) -> Check:
    """At the edge the covariance of scalar RMSProp is a closed form in which the average forgets at
    (1 - b)/b, RMSProp of one parameter has the same, and in a valley the method keeps it.

    Falsified by: a variance off the closed form by 1e-12, a method's mean off by 1e-5, or an
    effective sharpness 2e-5 off 2.
    """
    d = X4_exact
    return all_of(
        near(
            d["scalar"], d["scalar_theory"], relative=1e-12, absolute=1e-15,
            what="tr Sigma, scalar RMSProp (draw)",
        ),
        near(
            d["one"], d["one_theory"], relative=1e-12, absolute=1e-15,
            what="tr Sigma, RMSProp of one parameter (draw)",
        ),
        above(np.mean(d["scalar_theory"] > 0), 0.3, what="share of draws that oscillate"),
        near(d["square"], d["square_theory"], relative=1e-5, what="mean x^2 of the method (nu)"),
        below(d["side_off"], 2e-5, what="effective sharpness from 2 (nu, step)"),
        below(d["side_off"].isel(step=-1), 1e-8, what="the same at the end (nu)"),
    )  # fmt: skip


def followed_with_an_average(d: xr.Dataset, apart: float, rates: float) -> tuple[Check, ...]:
    """A method with an average against its central flow: distances, rates, and the edge."""
    second = late(d)
    mean = second.mean("step")
    return (
        below(ratio(second).mean("step"), apart, what="distance over that from plain flow (seed)"),
        near(mean["rate"] / mean["central_rate"], 1, absolute=rates, what="steps' size (seed)"),
        *pinned(d, 2.4, "of the flow without it (seed)"),
    )


@claim("C12a", kind="empirical", source=f"{PAPER}, scalar RMSProp (E9)", paper_size_at="none")
def one_average_is_followed(X4: xr.Dataset) -> Check:
    """On digits scalar RMSProp, too, follows its central flow, whose edge moves with the average:
    both lengthen their steps as the sharpness falls.

    Falsified by: a mean ratio of distances above 0.35, a mean step 5 % off the central flow's, or
    one of the two that does not grow with the first seed, and the bounds of C6 on the effective
    sharpness.
    """
    first = X4.isel(seed=0)
    grown = np.array([first[n][-1] - first[n][0] for n in ("rate", "central_rate")])
    return all_of(
        *followed_with_an_average(X4, 0.35, 0.05),
        above(grown, 0, what="how much longer steps became, seed 0 (method, central flow)"),
    )


@claim("C12b", kind="empirical", source=f"{PAPER}, RMSProp (E10)", paper_size_at="none")
def an_average_each_is_followed(X5: xr.Dataset) -> Check:
    """On digits RMSProp follows its central flow, which tells its mean loss and, roughly, its mean
    squared gradient and variance.

    Falsified by: a mean ratio of distances above 0.4, a mean step 3 % off the central flow's, a
    mean loss 7 % off, a squared gradient or a variance outside 0.5 to 1.5 of what is predicted, and
    the bounds of C6 on the effective sharpness.
    """
    mean = late(X5).mean("step")
    return all_of(
        *followed_with_an_average(X5, 0.4, 0.03),
        within(mean["loss"] / mean["predicted_loss"], 0.93, 1.07, what="loss, predicted (seed)"),
        within(mean["square"] / mean["predicted_square"], 0.5, 1.5, what="||grad f||^2 (seed)"),
        within(mean["variance"] / mean["added_loss"], 0.5, 1.5, what="variance at the edge (seed)"),
    )
