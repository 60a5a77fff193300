"""What the study of separable data checks, on the data sets of its experiments alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import Claim

Results = Mapping[str, xr.Dataset]

DESCENT, MOMENTUM, ADAM = "gradient descent", "momentum", "Adam"
LOGISTIC, NORMALISED = "gradient descent, logistic loss", "normalised descent"
W = (0.4347826, 0.5217391)  # of X2
ALPHA = (0.3251418, 0.1361059, 0, 0, 0, 0, 0)
SQUARE = 0.4612476
MARGIN, DISTANCE, ANGLE = 0.3783626, 0.6566902, 0.2156210
MILLION = 1_000_000
ONE_DIRECTION = 1e-9  # 1 - cos of two vectors that are one up to rounding


def machine_is_optimal(results: Results) -> Check:
    """C1."""
    d = results["SVM"]
    return all_of(
        near(d["least_margin"], 1, absolute=1e-10, what="min_n x_n . w (data)"),
        below(d["stationarity"], 1e-10, what="max |w - X^T alpha| (data)"),
        below(np.abs(d["dual_gap"]), 1e-10, what="|sum alpha/|w|^2 - 1| (data)"),
        above(d["least_dual"], 0, what="min alpha (data)"),
        near(d["w"], W, absolute=5e-8, what="w_svm of X2"),
        near(d["alpha"], ALPHA, absolute=5e-8, what="alpha of X2"),
        near(d["square"], SQUARE, absolute=5e-8, what="|w_svm|^2 of X2"),
    )


def flow_meets_its_limit(results: Results) -> Check:
    """C2."""
    d = results["Flow"]
    early, late = (d.sel(s=s, method="nearest") for s in (100, 1e4))
    return all_of(
        near(early["s"], 100, absolute=1e-6, what="log t"),
        below(early["off_limit"], 1e-10, what="max |rho - limit| at log t = 100"),
        below(np.abs(early["loss_ratio"] - 1), 1e-12, what="t L/|w_svm|^2 - 1 at log t = 100"),
        near(late["s"], 1e4, absolute=1e-4, what="log t"),
        near(late["margin"], 0.37834, absolute=5e-6, what="log t x margin gap at log t = 10^4"),
        near(late["margin"], d["margin_constant"], absolute=1e-3, what="margin gap's constant"),
        near(late["distance"], 0.65660, absolute=5e-6, what="log t x distance at log t = 10^4"),
        near(late["distance"], d["distance_constant"], absolute=1e-3, what="distance's constant"),
        near(d["margin_constant"], MARGIN, absolute=5e-8, what="margin constant (E5)"),
        near(d["distance_constant"], DISTANCE, absolute=5e-8, what="distance constant (E5)"),
        near(d["angle_constant"], ANGLE, absolute=5e-8, what="angle constant (E5)"),
    )


def loss_falls_as_predicted(results: Results) -> Check:
    """C3."""
    d = results["X2"]
    ratio = d["loss_ratio"].sel(step=[10, 100, 1000, 10_000, 100_000])
    expected = (0.487, 0.671, 0.833, 0.934, 0.979)
    return all_of(
        near(d["step_size"], 0.0267709, absolute=5e-8, what="1/sigma_max^2"),
        near(ratio, expected, absolute=0.005, what="eta t L/|w_svm|^2 at t = 10, ..., 10^5"),
        above(ratio.diff("step"), 0, what="its growth per decade"),
        below(ratio, 1, what="eta t L/|w_svm|^2"),
    )


def norm_grows_as_log(results: Results) -> Check:
    """C4."""
    d = results["X1"]
    norm = d["norm"].sel(optimiser=DESCENT)
    growth = (norm.sel(step=MILLION) - norm.sel(step=MILLION // 10)) / np.log(10)
    return near(
        growth / d["machine_norm"].sel(optimiser=DESCENT),
        1,
        absolute=0.05,
        what="growth of |w| per unit of log t / |w_svm| (draw), t = 10^5 to 10^6",
    )


def loss_of_descent_and_momentum(results: Results) -> Check:
    """C5."""
    ratio = results["X1"]["loss_ratio"].sel(step=MILLION, optimiser=[DESCENT, MOMENTUM])
    return within(ratio, 0.97, 1.0, what="t L/its limit at t = 10^6 (draw, optimiser)")


def degenerate_grows(results: Results) -> Check:
    """C6."""
    d = results["Degenerate"]
    known = d.sel(s=[1e3, 1e5], method="nearest")
    late = d.isel(s=np.flatnonzero(d["s"] >= 1e4 * (1 - 1e-9)))
    gap = "rho_2 - log log t at log t ="
    return all_of(
        near(known["s"], (1e3, 1e5), relative=1e-9, what="log t"),
        near(known["difference"][0], -5.92e-3, absolute=5e-6, what=f"{gap} 10^3"),
        near(known["difference"][1], -1.05e-4, absolute=5e-7, what=f"{gap} 10^5"),
        below(np.abs(late["difference"]), 1e-3, what="|rho_2 - log log t|, log t >= 10^4"),
        above(late["rho"].isel(coordinate=1), 9, what="rho_2, log t >= 10^4"),
    )


def adam_goes_elsewhere(results: Results) -> Check:
    """C7."""
    d = results["X3"]
    apart = (d["apart"] > ONE_DIRECTION).values
    gap = d["angle_gap"].sel(step=MILLION).isel(draw=np.flatnonzero(apart))
    adam, descent = gap.sel(optimiser=ADAM), gap.sel(optimiser=DESCENT)
    return all_of(
        above(apart.mean(), 0.5, what="share of draws whose l2 and linf margins point apart"),
        above(adam, 0.1, what="1 - cos(w, w_svm) of Adam (draw)"),
        above(adam / descent, 5, what="the same, Adam / gradient descent (draw)"),
    )


def power_tail_goes_elsewhere(results: Results) -> Check:
    """C8."""
    d = results["Power-tail"]
    end = d["direction"].isel(s=-1)
    known, machine = (0.747035, 0.664784), (0.640184, 0.768221)
    return all_of(
        near(end, known, absolute=1e-6, what="direction of the flow"),
        near(end, d["limit"], absolute=1e-6, what="direction of the flow, by E10"),
        near(d["machine"], machine, absolute=1e-6, what="direction of w_svm"),
        above(np.abs(end - d["machine"]), 0.1, what="distance of the flow from w_svm (coordinate)"),
    )


def normalised_is_faster(results: Results) -> Check:
    """C9."""
    gap = results["Normalised"]["margin_gap"]
    fast, plain = gap.sel(optimiser=NORMALISED), gap.sel(optimiser=[DESCENT, LOGISTIC])
    part = fast.isel(step=((fast["step"] >= 1e3) & (fast["step"] <= 1e5)).values)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = _slope(np.log(part["step"].values), np.log(part.values))
    return all_of(
        below(fast.sel(step=100_000), 2e-3, what="margin gap of normalised descent at t = 10^5"),
        near(
            plain.sel(step=100_000),
            4.0e-2,
            absolute=5e-4,
            what="margin gap of descent (loss), 10^5",
        ),
        near(slope, -0.5, absolute=0.05, what="slope of log gap against log t"),
    )


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """The slope of the straight line of least squares; NaN if a value is."""
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def validation_loss_grows(results: Results) -> Check:
    """C10."""
    d = results["X4"]
    late = d.isel(step=np.flatnonzero(d["step"] >= 1000))
    first, last = d.sel(step=1000), d.sel(step=100_000)
    rise = d["validation_loss"].sel(step=100_000) - d["validation_loss"].sel(step=30_000)
    slope = rise / np.log(10 / 3) / d["slope_theory"]
    moved = late["validation_error"] - first["validation_error"]
    ends, what = d.sel(step=[1000, 100_000]), "at t = 10^3, 10^5"
    return all_of(
        above(late["margin"], 1e-300, what="smallest training margin, t >= 10^3"),
        near(ends["validation_loss"], (0.49, 1.48), absolute=0.01, what=f"validation loss {what}"),
        near(ends["validation_error"], (0.151, 0.161), absolute=6e-4, what=f"its error {what}"),
        below(np.abs(moved), 0.03, what="change of validation error from t = 10^3 on"),
        near(slope, 1, absolute=0.2, what="slope of the validation loss / predicted"),
        below(slope, 1, what="slope of the validation loss / predicted"),
        near(
            ends["margin_ratio"], (0.28, 0.87), absolute=0.01, what=f"margin / hard margin {what}"
        ),
        true(last["margin"] > first["margin"], float(last["margin"]), "a growing margin"),
    )


def classes_follow(results: Results) -> Check:
    """C11."""
    d = results["Classes"]
    few = d.isel(draw=slice(4)).sel(step=200_000)  # finite-time bounds known for four draws
    late = d["loss_ratio"].isel(step=np.flatnonzero(d["step"] >= 1000))
    return all_of(
        within(few["loss_ratio"], 0.85, 1.0, what="eta t L/|w_svm|^2 at t = 2 10^5 (draw)"),
        above(late.diff("step"), 0, what="its growth from t = 10^3 on (draw, step)"),
        below(late, 1, what="eta t L/|w_svm|^2 from t = 10^3 on (draw, step)"),
        below(few["angle_gap"], 1e-2, what="1 - cos(w, w_svm) at t = 2 10^5 (draw)"),
        below(d["total"], 1e-9, what="max |sum_k w_k| (draw, step)"),
    )


PAPER = "Soudry et al. (2018)"

CLAIMS = (
    Claim(
        "C1",
        "The hard-margin machine satisfies its optimality conditions to 1e-10 on every data set, "
        "and has the known weights and dual variables on X2.",
        "exact",
        f"{PAPER}, hard-margin problem (KKT conditions)",
        ("SVM",),
        machine_is_optimal,
    ),
    Claim(
        "C2",
        "Gradient flow followed to t = e^100 and beyond ends at the predicted residual, its loss "
        "falls as |w_svm|^2/t, and the gaps of margin and direction times log t tend to the "
        "predicted constants.",
        "exact",
        f"{PAPER}, Theorems 4 and 5; constants derived (E3, E5, E6)",
        ("Flow",),
        flow_meets_its_limit,
    ),
    Claim(
        "C3",
        "The training loss of gradient descent on asymmetric data, times eta t/|w_svm|^2, grows "
        "to 1 as known.",
        "exact",
        f"{PAPER}, L = O(1/t); constant derived (E5)",
        ("X2",),
        loss_falls_as_predicted,
    ),
    Claim(
        "C4",
        "The norm of the weights grows as |w_svm| log t.",
        "exact",
        f"{PAPER}, Theorem 3 and Figure 1",
        ("X1",),
        norm_grows_as_log,
    ),
    Claim(
        "C5",
        "At a million steps the loss is within 3 % below |w_svm|^2/(eta t) for gradient descent "
        "and, with eta/(1 - mu) in place of eta, for momentum 0.9.",
        "exact",
        f"{PAPER}, Figure 1; constants derived (E5)",
        ("X1",),
        loss_of_descent_and_momentum,
    ),
    Claim(
        "C6",
        "Where a support vector has alpha = 0 the residual grows without bound, as log log t.",
        "exact",
        f"{PAPER}, degenerate data; example derived (E7)",
        ("Degenerate",),
        degenerate_grows,
    ),
    Claim(
        "C7",
        "On badly scaled data Adam points elsewhere than the hard-margin vector, gradient descent "
        "does not, unless the margin in the norm of sign-like steps has the same direction.",
        "empirical",
        f"{PAPER}, figure on Adam",
        ("X3",),
        adam_goes_elsewhere,
    ),
    Claim(
        "C8",
        "With the polynomial tail l(u) = u^-2 the flow tends to the minimiser of sum (x . v)^-2 "
        "over unit vectors, which is not the hard-margin direction.",
        "exact",
        f"{PAPER}, other tails; limit derived (E10)",
        ("Power-tail",),
        power_tail_goes_elsewhere,
    ),
    Claim(
        "C9",
        "Steps along grad L/L with eta_0/sqrt(t) bring the margin gap down as 1/sqrt(t), where "
        "gradient descent needs 1/log t.",
        "exact",
        f"{PAPER}, remark on normalised gradient descent (E10)",
        ("Normalised",),
        normalised_is_faster,
    ),
    Claim(
        "C10",
        "Long after the training error is zero the validation loss grows as log t, at the "
        "predicted rate, while the validation error hardly moves and the margin grows.",
        "empirical",
        f"{PAPER}, section on validation loss (E8)",
        ("X4",),
        validation_loss_grows,
    ),
    Claim(
        "C11",
        "Softmax cross-entropy with three classes obeys the same law with the multi-class machine, "
        "and the weights of the classes keep adding up to zero.",
        "exact",
        f"{PAPER}, multi-class extension (E9)",
        ("Classes",),
        classes_follow,
    ),
)
