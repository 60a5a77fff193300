"""What the study of numerical optimisers checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import claim
from thalweg.lab.scaling import exponent

THESIS = "Benning (2021)"


@claim("C1", kind="exact", source=f"{THESIS}, E1")
def rates_of_gradient_descent(X5_theory: xr.Dataset) -> Check:
    """On a quadratic of condition 100 descent shrinks by 1 - 2/101 a step at 2/(L + mu), by 0.99
    at 1/L, and each component follows its closed form.

    Falsified by: a factor off by 1e-6, or an error of the path of 1e-12 (600 steps of rounding).
    """
    d = X5_theory
    return all_of(
        near(d["rate"], [1 - 2 / 101, 0.99], absolute=1e-6, what="factor a step (rule)"),
        below(d["trajectory"], 1e-12, what="error of the path (rule)"),
    )


@claim("C2", kind="exact", source=f"{THESIS}, E7, E11; Nesterov's three conditions derived")
def phases_of_momentum(X1: xr.Dataset) -> Check:
    """The rules of stability and of ripples agree with eigenvalues everywhere, and where heavy ball
    has ripples |r| is the root of beta; Nesterov's interval alone is wrong outside 0 <= beta <= 1.

    Falsified by: one mismatch, |r| off by 1e-10, an interval that is wrong at a beta from 0 to 1,
    or on another share of the plane than 12 % by 2 %.
    """
    return all_of(
        below(X1["wrong"], 0, what="mismatches of stability (algorithm)"),
        below(X1["ripples"], 0, what="mismatches of ripples (algorithm)"),
        below(X1["modulus"], 1e-10, what="error of |r| (algorithm)"),
        below(X1["inside"], 0, what="mismatches of the interval, beta from 0 to 1 (algorithm)"),
        near(
            X1["interval"].sel(algorithm="nesterov"), 0.12, absolute=0.02,
            what="share at which the interval is wrong",
        ),
    )  # fmt: skip


@claim("C3", kind="exact", source=f"{THESIS}, E8, E11")
def best_numbers(X5_theory: xr.Dataset) -> Check:
    """At condition 100 tuned heavy ball has radius 1 - 2/11 and no other of a grid has less;
    Nesterov's method with 1/L has 0.9.

    Falsified by: a radius off by 1e-8 (a double root), a heavy ball of 71 x 66 that is better, or
    another best of them than (3.3, 0.67).
    """
    d = X5_theory
    best = d["radius"].sel(algorithm="heavy-ball")
    return all_of(
        near(d["radius"], [1 - 2 / 101, 1 - 2 / 11, 0.9], absolute=1e-8, what="radius (algorithm)"),
        above(d["grid"], best, what="least radius of the grid"),
        near(d["grid_step"], 3.3, absolute=1e-9, what="step size of the best of the grid"),
        near(d["grid_momentum"], 0.67, absolute=1e-9, what="momentum of the best of the grid"),
        below(d["by_step"], 1e-8, what="radius at the best momentum less the grid's"),
    )


@claim("C4", kind="exact", source=f"{THESIS}, E9")
def transients(X5_theory: xr.Dataset) -> Check:
    """Powers of tuned heavy ball keep their bound up to n = 299, and nearly reach it.

    Falsified by: a norm above its bound, none within 1 % of it, a bound above (2 n + 1) rho^(n-1),
    or |r| other than the root of beta by 1e-7 (a double root) at any curvature.
    """
    d = X5_theory
    return all_of(
        within(d["ratio"], 0.99, 1.0, what="norm over its bound, the largest"),
        above(d["late"], 0.9, what="that after 299 steps"),
        below(d["coarse"], 1.0, what="bound over the coarser one"),
        below(d["spread"], 1e-7, what="| |r| - sqrt beta |"),
    )


@claim("C5", kind="exact", source=f"{THESIS}, E10; Lessard, Recht and Packard (2016)")
def heavy_ball_is_caught(X3: xr.Dataset) -> Check:
    """Heavy ball with the numbers best for quadratics ends in the cycle (792, -2208, 2592)/1225
    from six starts on a strongly convex function, at 0 from three; descent and Nesterov's method
    end at 0.

    Falsified by: a distance of 1e-5 from the cycle, or of 1e-6 from 0.
    """
    return all_of(
        below(X3["apart"], 1e-5, what="distance from the cycle (start)"),
        below(X3["end"], 1e-6, what="|x| of heavy ball that is not caught (start)"),
        below(X3["other"], 1e-6, what="|x| of the others (algorithm)"),
    )


@claim("C6", kind="exact", source=f"{THESIS}, E3, E6, E12, E13; Nesterov (2004)")
def bounds_of_convex_methods(X4: xr.Dataset, X4_span: xr.Dataset, X8: xr.Dataset) -> Check:
    """Descent and Nesterov's method keep their bounds on the chain and no better than the lower
    ones, the general schema keeps its from four starts, and the best value in n gradients' span is
    L/(8 (n + 1)), with two thirds of the squared distance left.

    Falsified by: a gap above its bound (1e-12 for rounding) or below what can be reached, a
    schedule 1e-13 off the recursion of t_n, a value 1e-12 off, or a share outside 66.5 to 68.5 %.
    """
    return all_of(
        below(X4["ratio"], 1.0, what="gap over its bound (algorithm)"),
        above(X4["over_span"], 1.0, what="gap over the best of the span (algorithm)"),
        below(X8["ratio"], 1 + 1e-12, what="gap over the schema's bound (1/kappa_0)"),
        below(X8["optimal"], 1.0, what="gap over the bound of the optimal start"),
        above(X8["over_floor"], 1 - 1e-12, what="distance of heavy ball over its lower bound"),
        below(X8["schedule"], 1e-13, what="error of the schedule at mu = 0"),
        near(X4_span["value"], X4_span["value_theory"], relative=1e-12, what="best value (n)"),
        above(X4_span["floor"], 1.0, what="best value over the lower bound (n)"),
        within(X4_span["left"], 0.665, 0.685, what="share of R^2 left (n)"),
    )


@claim("C7", kind="exact", source=f"{THESIS}, E14, E15")
def second_moments(X6: xr.Dataset, X6_mean: xr.Dataset) -> Check:
    """The second moment of SGD is the exact one, tends to its stationary value and keeps its bound;
    steps 1/(n + 1) at curvature 1 have the variance of the sample mean.

    Falsified by: runs off by 3 % and 4 standard errors, a stationary value off by 6e-5, a ratio to
    the bound above 1, or 1/n off by 1e-12.
    """
    allowed = np.maximum(0.03 * X6["square_theory"], 4 * X6["square_error"])
    return all_of(
        below(abs(X6["square"] - X6["square_theory"]) / (allowed + 1e-12), 1.0,
              what="|runs - exact| over what is allowed (step size, step)"),
        near(X6["stationary"], [0.5325, 0.0805, 0.0149], absolute=6e-5, what="stationary"),
        near(X6["last"], X6["stationary"], relative=1e-6, what="after 2000 steps (step size)"),
        near(X6["floor"], [1.0, 0.275, 0.055], relative=1e-6, what="limit of the bound"),
        below(X6["ratio"], 1.0, what="exact over bound (step size)"),
        below(X6_mean["error"], 1e-12, what="relative error of 1/n"),
    )  # fmt: skip


@claim("C8", kind="exact", source=f"{THESIS}, E16, E18; constant of E18 corrected")
def schedules_of_steps(X6_schedules: xr.Dataset) -> Check:
    """The optimal schedule keeps both its bounds and reaches the second; halved steps have an error
    of exactly sigma^2/N, with a constant of 13.3 below its bound of 17.8.

    Falsified by: a ratio above 1 (1e-12 for rounding), one at step 5000 off 0.9975 by 1e-4, a
    constant off 13.29 by 0.06, or a halving after its bound.
    """
    d = X6_schedules
    return all_of(
        below(d["early"], 1 + 1e-12, what="E over its bound, long steps (start)"),
        below(d["late"], 1 + 1e-12, what="E over its bound, short steps (start)"),
        near(d["ratio"], 0.9975, absolute=1e-4, what="that ratio at step 5000 (start)"),
        near(d["limit"], 13.29, absolute=0.06, what="N E/sigma^2 at the last halving"),
        below(d["scaled"], d["constant"], what="N E/sigma^2 (halving)"),
        below(d["delay"], 1.0, what="step of a halving over its bound (halving)"),
    )


@claim("C9", kind="asymptotic", source=f"{THESIS}, E17")
def diminishing_steps(X6_decay: xr.Dataset) -> Check:
    """Steps a/(n + b) have an error of order 1/n where a times the least eigenvalue is 1 or 1/2,
    and of n^(-1/5) where it is 0.1, which is too small.

    Falsified by: slopes off -1 by 0.05, outside -1.05 to -0.88, or off -0.2 by 0.04.
    """
    by = X6_decay["slope"]
    return all_of(
        near(by.sel(scale=1.0), -1.0, absolute=0.05, what="slope, a lambda = 1 (case)"),
        within(by.sel(scale=0.5), -1.05, -0.88, what="slope, a lambda = 1/2 (case)"),
        near(by.sel(scale=0.1), -0.2, absolute=0.04, what="slope, a lambda = 0.1 (case)"),
    )


@claim("C10", kind="asymptotic", source=f"{THESIS}, E20; order of the SDE on a quadratic derived")
def flow_and_equation_with_noise(X6_limits: xr.Dataset) -> Check:
    """From the minimum SGD's second moment is off that of the flow in proportion to h, off that of
    the SDE in proportion to h^2; from elsewhere both are off by h.

    Falsified by: a slope off by 0.05.
    """
    d = X6_limits
    return all_of(
        *(
            near(exponent(d[name], d["size"]), order, absolute=0.05, what=f"order, {name}")
            for name, order in {"flow": 1, "sde": 2, "flow_far": 1, "sde_far": 1}.items()
        )
    )


@claim("C11", kind="exact", source=f"{THESIS}, E21 and quasi-Newton methods; Conn et al. (2000)")
def conjugate_directions(X11: xr.Dataset) -> Check:
    """Conjugate gradients, BFGS and DFP with exact line searches go through the minimisers over
    Krylov spaces and end with the inverse Hessian; the secant equation holds; Levenberg-Marquardt's
    step is the trust region's of its length, and the cubic step is the global minimiser.

    Falsified by: differences of 1e-10 (condition 30, 8 dimensions), 1e-8 for the trust region's, or
    a point where the cubic model is lower by 1e-12.
    """
    d = X11
    return all_of(
        below(d["apart"], 1e-10, what="distance from Krylov minimisers (draw, algorithm)"),
        below(d["inverse"], 1e-10, what="error of the inverse Hessian (draw, quasi)"),
        below(d["secant"], 1e-10, what="error of the secant equation (draw, quasi)"),
        below(d["damped"], 1e-8, what="Levenberg-Marquardt less trust region (draw)"),
        below(d["stationary"], 1e-10, what="slope of the cubic model (draw)"),
        above(d["shift"], 0.0, what="e_min + M r/2 (draw)"),
        below(d["lowest"], 1e-12, what="cubic step less elsewhere (draw)"),
    )


@claim("C12", kind="exact", source=f"{THESIS}, section on AdaGrad")
def adagrad_does_not_see_the_spectrum(X7: xr.Dataset) -> Check:
    """On a quadratic in its eigenbasis AdaGrad's path does not depend on the eigenvalues.

    Falsified by: paths 1e-12 apart for spectra six decades apart, while plain descent's are less
    than 1 apart or AdaGrad moves less than 0.5.
    """
    return all_of(
        below(X7["apart"], 1e-12, what="how far paths differ"),
        above(X7["apart_plain"], 1.0, what="how far those of plain descent do"),
        above(X7["moved"], 0.5, what="how far AdaGrad goes"),
    )


@claim("C13", kind="empirical", source=f"{THESIS}, on condition numbers; counts of X5")
def counts_of_steps(X5: xr.Dataset) -> Check:
    """To an error of 1e-6 descent takes steps in proportion to kappa (612, 61039), heavy ball (85,
    972) and Nesterov's method (139, 1455) to its root.

    Falsified by: another count by more than one step.
    """
    counts = [[612, 85, 139], [61_039, 972, 1455]]
    return near(X5["steps"], counts, absolute=1.0, what="steps (condition, algorithm)")


@claim("C14", kind="empirical", source=f"{THESIS}, on adaptive methods; X7")
def adaptive_methods_need_their_basis(X7: xr.Dataset) -> Check:
    """Tuned adaptive methods are fast where the eigenbasis is that of the coordinates; rotated,
    AdaGrad and RMSProp take hundreds of times as many steps, and Adam still gains on descent.

    Falsified by: a rotation that matters to descent by 1 %, AdaGrad and RMSProp over 10 steps in
    the basis or less than 100 times as many outside it, Adam less than 3 times as many, or
    over a quarter of descent's when rotated.

    Stated so: the specification gives counts without start, rotation or grid of learning rates, so
    that orders are held. From a start of equal components Adam takes 17 steps in the basis on 21
    learning rates and 4 on 41: the nearer one comes to their common size, the fewer.
    """
    d, both = X7, ["adagrad", "rmsprop"]
    rotated = d["rotated"]
    return all_of(
        near(d["advantage"].sel(algorithm="gd"), 1.0, absolute=0.01, what="rotated, descent"),
        below(d["axis"].sel(algorithm=both), 10, what="steps in the basis (algorithm)"),
        above(d["advantage"].sel(algorithm=both), 100, what="rotated over in it (algorithm)"),
        above(d["advantage"].sel(algorithm="adam"), 3, what="rotated over in it, Adam"),
        below(
            rotated.sel(algorithm="adam") / rotated.sel(algorithm="gd"), 0.25,
            what="Adam over descent, rotated",
        ),
    )  # fmt: skip


@claim("C15", kind="empirical", source=f"{THESIS}, E13, E19 and the example of a saddle plateau")
def plateau_chain_and_averages(X2: xr.Dataset, X4: xr.Dataset, X6_averages: xr.Dataset) -> Check:
    """Descent stays on a saddle's plateau for 17 steps and has left it at step 25; Nesterov's gap
    on the chain is at most 0.066 of 2 L R^2/n^2; averaged SGD on |w| keeps its bound.

    Falsified by: other counts, a path 1e-12 off its closed form, a share above 0.066, a mean loss
    that is not 4 standard errors below its bound, or off 0.0165 by them at N = 2000.
    """
    mean, error = X6_averages["loss"], X6_averages["loss_error"]
    far = {"steps": 2000}
    return all_of(
        near(X2["stays"], 17, absolute=0.0, what="steps on the plateau"),
        near(X2["leaves"], 25, absolute=0.0, what="first step below -1"),
        below(X2["trajectory"], 1e-12, what="error of the path"),
        below(X4["scaled"], 0.066, what="gap n^2/(2 L R^2)"),
        below(mean + 4 * error, X6_averages["loss_theory"], what="averaged SGD (steps)"),
        below(abs(mean.sel(far) - 0.0165) / error.sel(far), 4, what="errors from 0.0165"),
    )


@claim("C16", kind="exact", source=f"{THESIS}, on Newton's method; Dauphin et al. (2014)")
def newton_jumps_onto_a_saddle(X2: xr.Dataset) -> Check:
    """From (0.1, 1), with curvatures -1 and 2, Newton's method steps onto the saddle (0, 0) and the
    saddle-free one to (0.2, 0).

    Falsified by: an end off by 1e-12.
    """
    return all_of(
        near(X2["newton"], [0.0, 0.0], absolute=1e-12, what="Newton (coordinate)"),
        near(X2["saddle_free"], [0.2, 0.0], absolute=1e-12, what="saddle-free (coordinate)"),
    )
