"""What the study of non-convex optimisation checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import claim
from thalweg.lab.scaling import exponent

SURVEY = "Danilova et al. (2022)"


@claim("C1", kind="exact", source=f"{SURVEY}, section 2 (E1, E2)")
def descent_lemma(X2_descent: xr.Dataset) -> Check:
    """Along descent the objective falls at each step by what the descent lemma says, with exact
    gradients and with noisy ones.

    Falsified by: one step that rises by 1e-12 more than the lemma allows, or a bound exceeded.
    """
    d = X2_descent
    return all_of(
        below(d["lemma"], 1e-12, what="f(x+) - f + |grad f|^2/(2 L), the largest"),
        below(d["noisy_lemma"], 1e-12, what="the same with an error, E2"),
        above(d["noise"], 1.0, what="the largest error of a gradient"),
        below(d["ratio_E1"], 1.0, what="least squared gradient over 2 L Delta/N"),
    )


@claim("C2", kind="exact", source=f"{SURVEY}, section on Polyak-Lojasiewicz (E9); constant derived")
def dominated_descent(X2_descent: xr.Dataset) -> Check:
    """x^2 + 3 sin^2 x obeys the inequality of Polyak and Lojasiewicz with mu = 0.17553, and descent
    decays as it says, also with gradients that are half as long or half as long again.

    Falsified by: another constant, a curvature other than 8, or a gap above its bound.
    """
    d = X2_descent
    return all_of(
        near(d["domination"], 0.17553, absolute=5e-6, what="inf f'^2/(2 f)"),
        above(d["domination"], 5.6 / 32, what="5.6 times the textbook's 1/32"),
        near(d["curvature"], 8.0, absolute=1e-3, what="L"),
        below(d["ratio_E9"], 1.0 + 1e-12, what="gap over its bound (error)"),
    )


@claim("C3", kind="exact", source=f"{SURVEY}, section on weak quasi-convexity (E10, derived)")
def weakly_quasi_convex(X2_classes: xr.Dataset) -> Check:
    """|x| (1 - exp(-|x|)) is star-convex though not convex; t^2/(1 + t^2) up to R is weakly
    quasi-convex with alpha = 2/(1 + R^2), and descent keeps its bound.

    Falsified by: alpha off by 1e-6 (2e-3 where it is attained at 0), or a gap above its bound.
    """
    d = X2_classes
    return all_of(
        near(d["star"], 1.0, absolute=2e-3, what="alpha of the star-convex one"),
        near(d["star_curvature"], -0.0498, absolute=1e-4, what="its least curvature"),
        near(d["alpha"], d["alpha_theory"], relative=1e-6, what="alpha (radius)"),
        below(d["ratio_E10"], 1.0, what="gap over its bound, R = 3"),
    )


@claim("C4", kind="exact", source=f"{SURVEY}, section on acceleration (E5)")
def accelerated_without_constants(X2_accelerated: xr.Dataset) -> Check:
    """The accelerated method without constants keeps its bounds on a convex and on a non-convex
    problem, and never rises.

    Falsified by: a ratio above 1, A below N^2/(4 L), or a rise.
    """
    d = X2_accelerated
    return all_of(
        within(d["ratio_convex"], 0.02, 0.1, what="gap over 2 L R^2/N^2 (draw)"),
        within(d["weight"], 1900, 3500, what="A after 80 steps (draw)"),
        above(d["weight_ratio"], 1.0, what="A over N^2/(4 L) (draw)"),
        below(d["ratio_non_convex"], 1.0, what="least squared gradient over its bound (draw)"),
        below(d["rise"], 1e-14, what="largest rise (draw)"),
    )


@claim("C5", kind="exact", source=f"{SURVEY}, section on second order (E11)")
def cubic_newton_steps(X2_cubic: xr.Dataset) -> Check:
    """Every step of cubic Newton keeps its three inequalities, and from a negative eigenvalue it
    ends at a minimum.

    Falsified by: an inequality broken by 1e-12, or an end with a negative eigenvalue.
    """
    d = X2_cubic
    return all_of(
        below(d["fall"], 1e-12, what="M r^3/12 less the fall (draw)"),
        below(d["slope"], 1e-12, what="|grad f| less (L_2 + M) r^2/2 (draw)"),
        below(d["curve"], 1e-12, what="-lambda_min less (L_2 + M/2) r (draw)"),
        below(d["ratio"], 1.0, what="least step over its bound (draw)"),
        below(d["start"].min(), 0.0, what="least curvature at the start"),
        above(d["end"], 0.02, what="least curvature at the end (draw)"),
        below(d["steps"], 12.5, what="steps to a gradient of 1e-10 (draw)"),
    )


@claim("C6", kind="exact", source=f"{SURVEY}, section on zeroth order (E13, E14)")
def values_alone(X2_values: xr.Dataset) -> Check:
    """Differences of values keep their bounds with slopes 1 and 2 in the step; random directions
    have E|g|^2 of n + 2 and n times |grad f|^2, and descent along them keeps its bound.

    Falsified by: a slope off by 0.05, an error above its bound, or a moment off by 4 standard
    errors and 5 %.
    """
    d = X2_values
    h = d["step"]
    return all_of(
        below(d["forward"] / d["forward_bound"], 1.0, what="forward error over its bound (step)"),
        below(d["central"] / d["central_bound"], 1.0, what="central error over its bound (step)"),
        near(exponent(d["forward"], h), 1.0, absolute=0.05, what="slope forwards"),
        near(exponent(d["central"], h), 2.0, absolute=0.05, what="slope of central ones"),
        near(d["normal"], 22.0, absolute=_spread(d, "normal"), what="normal: n + 2"),
        near(d["sphere"], 20.0, absolute=_spread(d, "sphere"), what="sphere: n"),
        below(d["ratio_E14"], 1.0, what="mean squared gradient over its bound"),
    )


def _spread(d: xr.Dataset, law: str) -> float:
    return min(4 * float(d[f"{law}_error"]), 1.0)  # at most 5 %


@claim("C7", kind="exact", source=f"{SURVEY}, section on saddles (E12)")
def saddles_are_left(X3: xr.Dataset) -> Check:
    """Descent stays at a strict saddle; perturbed descent leaves it from every seed, and the steps
    that leaving takes grow as the logarithm of the distance.

    Falsified by: a seed that ends elsewhere than -1/4, or a count of steps off the specification.
    """
    return all_of(
        below(X3["plain_end"], 1e-10, what="|x| where descent ends"),
        near(X3["end"], -0.25, absolute=1e-6, what="loss where perturbed descent ends (seed)"),
        near(X3["escape"], [43, 91, 139, 188], absolute=0.5, what="steps to leave (radius)"),
        within(
            X3["escape"] - X3["escape_theory"], 0.0, 3.0, what="less the linearised count (radius)"
        ),
    )


@claim(
    "C8",
    kind="asymptotic",
    source=f"{SURVEY}, table of variance reduction (E6, E7, E8); closed forms derived",
)
def variance_reduction_saves(X1: xr.Dataset) -> Check:
    """PAGE and SPIDER save in proportion to the root of the number of examples, SVRG to its cube
    root, as step size times steps a pass says.

    Falsified by: a saving off its closed form by 5 % (PAGE 15 %), a slope off 1/2 or 1/3 by 0.08,
    or an estimator that is exact between its refreshes.

    Too small: the slopes need more examples.
    """

    def of(name: str, variable: str = "speed_up") -> xr.DataArray:
        return X1[variable].sel(algorithm=name)

    def shares(name: str) -> xr.DataArray:
        return of(name) / of(name, "speed_up_theory")

    m = X1["m"]
    share = of("SPIDER", "refreshed") * np.sqrt(m)
    return all_of(
        near(shares("SPIDER"), 1.0, absolute=0.05, what="SPIDER over its closed form (m)"),
        near(shares("SVRG"), 1.0, absolute=0.05, what="SVRG over its closed form (m)"),
        near(shares("PAGE"), 1.0, absolute=0.15, what="PAGE over its closed form (m)"),
        near(exponent(of("SPIDER"), m), 0.5, absolute=0.08, what="slope of SPIDER"),
        near(exponent(of("PAGE"), m), 0.5, absolute=0.08, what="slope of PAGE"),
        near(exponent(of("SVRG"), m), 1 / 3, absolute=0.08, what="slope of SVRG"),
        above(of("SPIDER", "error_between"), 1e-6, what="SPIDER's error between refreshes (m)"),
        above(of("PAGE", "error_between"), 1e-6, what="PAGE's error between refreshes (m)"),
        # A period that was begun counts whole.
        near(share, 1.0, absolute=0.15, what="refreshes of SPIDER times root m (m)"),
    )


@claim("C9", kind="statistical", source=f"{SURVEY}, sections on stochastic methods (E3, E8)")
def stochastic_bounds(X4: xr.Dataset, X2_descent: xr.Dataset) -> Check:
    """PAGE and SGD keep the bounds on their mean squared gradients, and PAGE costs p m + 2 (1 - p)
    r' gradients of examples a step.

    Falsified by: a mean above its bound, or a cost off by 4 standard errors.
    """
    return all_of(
        below(X4["mean"] / X4["mean_bound"], 1.0, what="PAGE: mean squared gradient over bound"),
        near(
            X4["cost"], X4["cost_theory"], absolute=4 * float(X4["cost_error"]),
            what="PAGE: gradients of examples a step",
        ),
        near(X4["cost_theory"], 45.176, absolute=1e-3, what="p m + 2 (1 - p) r'"),
        below(X2_descent["ratio_E3"], 1.0, what="SGD: mean squared gradient over bound"),
    )  # fmt: skip


@claim(
    "C10",
    kind="statistical",
    source=f"{SURVEY}, section on over-parametrised models; Strohmer and Vershynin (2009)",
)
def polyak_steps(X4: xr.Dataset) -> Check:
    """On an interpolated regression single-example steps of Polyak's size converge linearly.

    Falsified by: a factor a step above 1 - lambda_min(A A^T)/m, or below 0.99.
    """
    return all_of(
        below(X4["factor"] - X4["factor_bound"], 0.0, what="factor less its bound (draw)"),
        above(X4["factor"], 0.99, what="factor a step (draw)"),
    )


@claim("C11", kind="exact", source=f"{SURVEY}, section on clipping")
def clipping_converges(X3: xr.Dataset) -> Check:
    """On x^4 from 10 descent of step 0.1 leaves the numbers within 6 steps, clipped it converges.

    Falsified by: a finite value after 6 steps, or a clipped loss above 1e-6.
    """
    return all_of(
        below(X3["overflow"], 6.5, what="steps until descent overflows"),
        below(X3["clipped_end"], 1e-6, what="loss of clipped descent"),
    )
