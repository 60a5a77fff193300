"""What the study of separable data checks, on the tables of its experiments alone."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import claim
from thalweg.lab.scaling import exponent

PAPER = "Soudry et al. (2018)"
DESCENT, MOMENTUM, ADAM = "gradient descent", "momentum", "Adam"
LOGISTIC, NORMALISED = "gradient descent, logistic loss", "normalised descent"
W = (0.4347826, 0.5217391)  # of X2
ALPHA = (0.3251418, 0.1361059, 0, 0, 0, 0, 0)
SQUARE = 0.4612476
MARGIN, DISTANCE, ANGLE = 0.3783626, 0.6566902, 0.2156210
MILLION = 1_000_000
ONE_DIRECTION = 1e-9  # 1 - cos of two vectors that are one up to rounding


def _end(table: xr.Dataset) -> int:
    """A million steps, or all of them where fewer were taken."""
    return min(MILLION, int(table["step"][-1]))


@claim("C1", kind="exact", source=f"{PAPER}, hard-margin problem (KKT conditions)")
def machine_is_optimal(SVM: xr.Dataset) -> Check:
    """The hard-margin machine satisfies its optimality conditions to 1e-10 on every data set, and
    has the known weights and dual variables on X2.

    Falsified by: a data set on which a condition is violated by more than 1e-10.
    """
    return all_of(
        near(SVM["least_margin"], 1, absolute=1e-10, what="min_n x_n . w (data)"),
        below(SVM["stationarity"], 1e-10, what="max |w - X^T alpha| (data)"),
        below(np.abs(SVM["dual_gap"]), 1e-10, what="|sum alpha/|w|^2 - 1| (data)"),
        above(SVM["least_dual"], 0, what="min alpha (data)"),
        near(SVM["w"], W, absolute=5e-8, what="w_svm of X2"),
        near(SVM["alpha"], ALPHA, absolute=5e-8, what="alpha of X2"),
        near(SVM["square"], SQUARE, absolute=5e-8, what="|w_svm|^2 of X2"),
    )


@claim("C2", kind="asymptotic", source=f"{PAPER}, Theorems 4 and 5; constants derived (E3, E5, E6)")
def flow_meets_its_limit(Flow: xr.Dataset) -> Check:
    """Gradient flow followed to t = e^100 and beyond ends at the predicted residual, its loss falls
    as |w_svm|^2/t, and the gaps of margin and direction times log t tend to the predicted
    constants.

    Falsified by: a residual more than 1e-10 off its limit at log t = 100, or gaps times log t more
    than 1e-3 off their constants at log t = 10^4.
    """
    early, late = (Flow.sel(s=s, method="nearest") for s in (100, 1e4))
    loss, margin, distance = early["loss_ratio"], late["margin"], late["distance"]
    constants = [Flow[f"{name}_constant"] for name in ("margin", "distance", "angle")]
    return all_of(
        near(early["s"], 100, absolute=1e-6, what="log t"),
        below(early["off_limit"], 1e-10, what="max |rho - limit| at log t = 100"),
        below(np.abs(loss - 1), 1e-12, what="t L/|w_svm|^2 - 1 at log t = 100"),
        near(late["s"], 1e4, absolute=1e-4, what="log t"),
        near(margin, 0.37834, absolute=5e-6, what="log t x margin gap at log t = 10^4"),
        near(margin, constants[0], absolute=1e-3, what="margin gap's constant"),
        near(distance, 0.65660, absolute=5e-6, what="log t x distance at log t = 10^4"),
        near(distance, constants[1], absolute=1e-3, what="distance's constant"),
        near(constants[0], MARGIN, absolute=5e-8, what="margin constant (E5)"),
        near(constants[1], DISTANCE, absolute=5e-8, what="distance constant (E5)"),
        near(constants[2], ANGLE, absolute=5e-8, what="angle constant (E5)"),
    )


@claim("C3", kind="asymptotic", source=f"{PAPER}, L = O(1/t); constant derived (E5)")
def loss_falls_as_predicted(X2: xr.Dataset) -> Check:
    """The training loss of gradient descent on asymmetric data, times eta t/|w_svm|^2, grows to 1
    as known.

    Falsified by: a ratio more than 0.005 off the known one, above 1, or that falls in a decade.
    """
    ratio = X2["loss_ratio"].sel(step=[10, 100, 1000, 10_000, 100_000])
    expected = (0.487, 0.671, 0.833, 0.934, 0.979)
    return all_of(
        near(X2["step_size"], 0.0267709, absolute=5e-8, what="1/sigma_max^2"),
        near(ratio, expected, absolute=0.005, what="eta t L/|w_svm|^2 at t = 10, ..., 10^5"),
        above(ratio.diff("step"), 0, what="its growth per decade"),
        below(ratio, 1, what="eta t L/|w_svm|^2"),
    )


@claim("C4", kind="asymptotic", source=f"{PAPER}, Theorem 3 and Figure 1", paper_size_at="quick")
def norm_grows_as_log(X1: xr.Dataset) -> Check:
    """The norm of the weights grows as |w_svm| log t.

    Falsified by: a growth per unit of log t, from 10^5 to 10^6 steps, more than 5 % off |w_svm|.
    """
    d, end = X1.sel(optimiser=DESCENT), _end(X1)
    growth = (d["norm"].sel(step=end) - d["norm"].sel(step=end // 10)) / np.log(10)
    what = "growth of |w| per unit of log t / |w_svm| (draw), t = 10^5 to 10^6"
    return near(growth / d["machine_norm"], 1, absolute=0.05, what=what)


@claim(
    "C5",
    kind="asymptotic",
    source=f"{PAPER}, Figure 1; constants derived (E5)",
    paper_size_at="quick",
)
def loss_of_descent_and_momentum(X1: xr.Dataset) -> Check:
    """At a million steps the loss is within 3 % below |w_svm|^2/(eta t) for gradient descent and,
    with eta/(1 - mu) in place of eta, for momentum 0.9.

    Falsified by: a draw whose t L is below 0.97 of its limit at a million steps, or above it.
    """
    ratio = X1["loss_ratio"].sel(step=_end(X1), optimiser=[DESCENT, MOMENTUM])
    return within(ratio, 0.97, 1.0, what="t L/its limit at t = 10^6 (draw, optimiser)")


@claim("C6", kind="asymptotic", source=f"{PAPER}, degenerate data; example derived (E7)")
def degenerate_grows(Degenerate: xr.Dataset) -> Check:
    """Where a support vector has alpha = 0 the residual grows without bound, as log log t.

    Falsified by: a rho_2 more than 1e-3 off log log t from log t = 10^4 on.
    """
    known = Degenerate.sel(s=[1e3, 1e5], method="nearest")
    late = Degenerate.isel(s=np.flatnonzero(Degenerate["s"] >= 1e4 * (1 - 1e-9)))
    gap, off = "rho_2 - log log t at log t =", np.abs(late["difference"])
    return all_of(
        near(known["s"], (1e3, 1e5), relative=1e-9, what="log t"),
        near(known["difference"][0], -5.92e-3, absolute=5e-6, what=f"{gap} 10^3"),
        near(known["difference"][1], -1.05e-4, absolute=5e-7, what=f"{gap} 10^5"),
        below(off, 1e-3, what="|rho_2 - log log t|, log t >= 10^4"),
        above(late["rho"].isel(coordinate=1), 9, what="rho_2, log t >= 10^4"),
    )


@claim("C7", kind="empirical", source=f"{PAPER}, figure on Adam", paper_size_at="full")
def adam_goes_elsewhere(X3: xr.Dataset) -> Check:
    """On badly scaled data Adam points elsewhere than the hard-margin vector, gradient descent does
    not, unless the margin in the norm of sign-like steps has the same direction.

    Falsified by: a draw whose two margins point apart and on which Adam's 1 - cos is below 0.1 or
    less than 5 times that of gradient descent.
    """
    apart = (X3["apart"] > ONE_DIRECTION).values
    gap = X3["angle_gap"].sel(step=_end(X3)).isel(draw=np.flatnonzero(apart))
    adam, descent = gap.sel(optimiser=ADAM), gap.sel(optimiser=DESCENT)
    return all_of(
        above(apart.mean(), 0.5, what="share of draws whose l2 and linf margins point apart"),
        above(adam, 0.1, what="1 - cos(w, w_svm) of Adam (draw)"),
        above(adam / descent, 5, what="the same, Adam / gradient descent (draw)"),
    )


@claim("C8", kind="exact", source=f"{PAPER}, other tails; limit derived (E10)")
def power_tail_goes_elsewhere(Power_tail: xr.Dataset) -> Check:
    """With the polynomial tail l(u) = u^-2 the flow tends to the minimiser of sum (x . v)^-2 over
    unit vectors, which is not the hard-margin direction.

    Falsified by: a flow that ends more than 1e-6 off the minimiser, or within 0.1 of w_svm.
    """
    end, machine = Power_tail["direction"].isel(s=-1), Power_tail["machine"]
    known, known_machine = (0.747035, 0.664784), (0.640184, 0.768221)
    apart = np.abs(end - machine)
    return all_of(
        near(end, known, absolute=1e-6, what="direction of the flow"),
        near(end, Power_tail["limit"], absolute=1e-6, what="direction of the flow, by E10"),
        near(machine, known_machine, absolute=1e-6, what="direction of w_svm"),
        above(apart, 0.1, what="distance of the flow from w_svm (coordinate)"),
    )


@claim("C9", kind="asymptotic", source=f"{PAPER}, remark on normalised gradient descent (E10)")
def normalised_is_faster(Normalised: xr.Dataset) -> Check:
    """Steps along grad L/L with eta_0/sqrt(t) bring the margin gap down as 1/sqrt(t), where
    gradient descent needs 1/log t.

    Falsified by: a gap of normalised descent above 2e-3 at 10^5 steps, or a slope of its logarithm
    in log t outside -0.55 to -0.45.
    """
    gap = Normalised["margin_gap"]
    fast, plain = gap.sel(optimiser=NORMALISED), gap.sel(optimiser=[DESCENT, LOGISTIC])
    part = fast.isel(step=((fast["step"] >= 1e3) & (fast["step"] <= 1e5)).values)
    quick, slow = (d.sel(step=100_000) for d in (fast, plain))
    what = "margin gap of"
    return all_of(
        below(quick, 2e-3, what=f"{what} normalised descent at t = 10^5"),
        near(slow, 4.0e-2, absolute=5e-4, what=f"{what} descent (loss), 10^5"),
        near(
            exponent(part, part["step"]), -0.5, absolute=0.05,
            what="slope of log gap against log t",
        ),
    )  # fmt: skip


@claim(
    "C10",
    kind="empirical",
    source=f"{PAPER}, section on validation loss (E8)",
    paper_size_at="none",
)
def validation_loss_grows(X4: xr.Dataset) -> Check:
    """Long after the training error is zero the validation loss grows as log t, at the predicted
    rate, while the validation error hardly moves and the margin grows.

    Falsified by: a validation loss whose slope in log t is outside 0.8 to 1 of the predicted one,
    or a validation error that moves by more than 0.03.
    """
    late = X4.isel(step=np.flatnonzero(X4["step"] >= 1000))
    first, last = X4.sel(step=1000), X4.sel(step=100_000)
    rise = X4["validation_loss"].sel(step=100_000) - X4["validation_loss"].sel(step=30_000)
    slope = rise / np.log(10 / 3) / X4["slope_theory"]
    moved = np.abs(late["validation_error"] - first["validation_error"])
    ends, what = X4.sel(step=[1000, 100_000]), "at t = 10^3, 10^5"
    loss, error, ratio = (
        ends[name] for name in ("validation_loss", "validation_error", "margin_ratio")
    )
    grows = last["margin"] > first["margin"]
    return all_of(
        above(late["margin"], 1e-300, what="smallest training margin, t >= 10^3"),
        near(loss, (0.49, 1.48), absolute=0.01, what=f"validation loss {what}"),
        near(error, (0.151, 0.161), absolute=6e-4, what=f"its error {what}"),
        below(moved, 0.03, what="change of validation error from t = 10^3 on"),
        near(slope, 1, absolute=0.2, what="slope of the validation loss / predicted"),
        below(slope, 1, what="slope of the validation loss / predicted"),
        near(ratio, (0.28, 0.87), absolute=0.01, what=f"margin / hard margin {what}"),
        true(grows, float(last["margin"]), "a growing margin"),
    )


@claim("C11", kind="asymptotic", source=f"{PAPER}, multi-class extension (E9)")
def classes_follow(Classes: xr.Dataset) -> Check:
    # Bounds at a finite time are known for four draws.
    """Softmax cross-entropy with three classes obeys the same law with the multi-class machine, and
    the weights of the classes keep adding up to zero.

    Falsified by: a draw whose t L over its limit falls from one record to the next or exceeds 1, or
    weights whose sum over the classes is above 1e-9.
    """
    few = Classes.isel(draw=slice(4)).sel(step=200_000)
    late = Classes["loss_ratio"].isel(step=np.flatnonzero(Classes["step"] >= 1000))
    return all_of(
        within(few["loss_ratio"], 0.85, 1.0, what="eta t L/|w_svm|^2 at t = 2 10^5 (draw)"),
        above(late.diff("step"), 0, what="its growth from t = 10^3 on (draw, step)"),
        below(late, 1, what="eta t L/|w_svm|^2 from t = 10^3 on (draw, step)"),
        below(few["angle_gap"], 1e-2, what="1 - cos(w, w_svm) at t = 2 10^5 (draw)"),
        below(Classes["total"], 1e-9, what="max |sum_k w_k| (draw, step)"),
    )
