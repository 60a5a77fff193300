"""What the study of singular values checks, each statement beside its check."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import claim

PAPER = "Riedi, Balestriero and Baraniuk (2023)"


@claim("C1", kind="exact", source=f"{PAPER}, piecewise-quadratic loss (E1 to E3)")
def hessian_is_a_kronecker_product(hessian: xr.Dataset) -> Check:
    """Where no activation is on its kink, the Hessian of the squared error in one layer's weights
    is the sum of z z^T (x) Q^T Q over examples, Q the product of the local matrices above.

    Falsified by: an entry of the formula that differs from automatic differentiation by more than
    1e-12 of the largest one, for any layer, activation or skip.
    """
    where = "(activation, skip, seed, layer)"
    return all_of(
        below(hessian["gap"], 1e-12, what=f"weights {where}"),
        below(hessian["bias_gap"], 1e-12, what=f"bias {where}"),
        below(hessian["map_gap"], 1e-12, what=f"Q beside the Jacobian {where}"),
    )


@claim("C2", kind="exact", source=f"{PAPER}, derivative of singular values (E4, E5)")
def singular_values_move_as_told(derivatives: xr.Dataset, X3: xr.Dataset) -> Check:
    """Adding rho I moves a simple singular value at the rate u.v, the cosine between its two
    singular vectors, and so never faster than rho itself.

    Falsified by: a central difference at h = 1e-4 more than 1e-5 from the slope, an error that does
    not grow fourfold with 2 h, or a singular value that moves farther than rho.
    """
    apart = derivatives["apart"].values > 0
    first, second = (
        np.abs(derivatives[name].values)[:, apart] for name in ("first_error", "second_error")
    )
    rise = np.abs(X3["value"].diff("rho").values) / X3["rho"].diff("rho").values[:, None]
    return all_of(
        below(first[0], 1e-5, what="first derivative, h = 1e-4"),
        below(second[0], 1e-4, what="second derivative, h = 1e-4"),
        near(first[1].max() / first[0].max(), 4, absolute=0.02, what="error at 2 h / error at h"),
        below(rise, 1 + 1e-12, what="|s(rho) - s(rho')| / |rho - rho'| (rho, branch)"),
    )


@claim("C3", kind="exact", source=f"{PAPER}, diagonal and additive perturbation (E6, E8)")
def bounds_hold(bounds: xr.Dataset) -> Check:
    """Scaling rows as an activation does lowers every singular value, within bounds by the slope,
    by interlacing and by the norm of the scaled rows; adding rho I moves it by at most the norm of
    the rest.

    Falsified by: a random matrix that exceeds one of the bounds by more than 1e-12 max(1, s_1^2).
    """
    return below(bounds["violation"], 1e-12, what="worst violation / max(1, s_1^2) by bound")


@claim("C4", kind="exact", source=f"{PAPER}, DenseNets (E7)")
def stacking_bounds_the_condition_number(bounds: xr.Dataset) -> Check:
    """Concatenating a layer with its input makes its singular values sqrt(1 + s_i^2), so that its
    condition number is at most sqrt(1 + s_1^2); those of a product of layers multiply at most.

    Falsified by: a singular value of [B; I] off the formula, or a condition number above its bound,
    by more than 1e-12.
    """
    return all_of(
        near(bounds["stacked_gap"], 0, absolute=1e-12, what="s_i of [B; I] beside the formula"),
        below(bounds["stacked_excess"], 1 + 1e-12, what="kappa of [B; I] / sqrt(1 + s_1^2)"),
        below(bounds["product_ratio"], 1 + 1e-12, what="kappa of a product / product of kappas"),
    )


@claim(
    "C5",
    kind="asymptotic",
    source="Edelman (1988); the ConvNet case of the paper (E9)",
    paper_size_at="quick",
)
def condition_grows_with_width(gaussian: xr.Dataset) -> Check:
    """Without a skip the condition number of a Gaussian layer grows linearly with its width: the
    mean of its logarithm is log n + 1.537.

    Falsified by: a mean of log kappa - log n off 1.537 by more than 0.25 at any width, or a slope
    in log n off 1 by more than 0.15.
    """
    slope = np.polyfit(np.log(gaussian["size"]), gaussian["log_condition_mean"], 1)[0]
    offset = gaussian["offset_mean"]
    return all_of(
        near(offset, 1.537, absolute=0.25, what="mean of log kappa - log n (n)"),
        near(slope, 1, absolute=0.15, what="slope of log kappa in log n"),
    )


# Medians over 30 draws and, in the second place, of the bound: scale c, activation, rho.
MEDIANS = (
    (0.2, "ReLU", 0.5, 2.39, 4.68),
    (0.2, "ReLU", 1.0, 1.54, 1.97),
    (0.2, "ReLU", 2.0, 1.24, 1.40),
    (0.5, "ReLU", 1.0, 3.09, 10.5),
    (0.5, "ReLU", 2.0, 1.73, 2.39),
    (0.5, "absolute value", 1.0, 4.3, 60.8),
)


@claim(
    "C6",
    kind="empirical",
    source=f"{PAPER}, condition numbers against the skip (E6, E9)",
    paper_size_at="quick",
)
def skips_bound_the_condition_number(X1: xr.Dataset) -> Check:
    """A skip brings the condition number of a random layer from a thousand (leaky ReLU), two
    hundred (absolute value) or infinity (ReLU) to a few, and below (rho + s_1)/(rho - s_1) wherever
    s_1 < rho.

    Falsified by: one layer above its bound, a median with a skip off those stated by more than 10
    %, a median without one outside them by a factor 1.6, or less than a hundredfold gain.
    """
    median, bounded = X1["condition_median"], X1["bound"].values < np.inf
    ratio = median.sel(rho=0) / median.sel(rho=1)
    norm = X1["norm"].sel(activation="ReLU").median("draw") / X1["scale"] / X1["norm_limit"]
    kappas, limits = (
        [float(d.sel(scale=c, activation=a, rho=rho)) for c, a, rho, *_ in MEDIANS]
        for d in (median, X1["bound_median"])
    )
    plain, share = median.sel(rho=0), X1["condition"].values[bounded] / X1["bound"].values[bounded]
    return all_of(
        below(share, 1 + 1e-12, what="kappa / bound wherever s_1 < rho"),
        above(
            ratio.sel(activation="leaky ReLU", scale=[0.2, 0.5]),
            100,
            what="median kappa without skip / with skip 1, leaky (c)",
        ),
        near(norm, 1, absolute=0.08, what="median s_1(D W) of ReLU / its limit (c)"),
        near(kappas, [row[3] for row in MEDIANS], relative=0.1, what="median kappa"),
        near(limits, [row[4] for row in MEDIANS], relative=0.25, what="median bound"),
        within(plain.sel(activation="leaky ReLU"), 1.1e3 / 1.6, 1.8e3 * 1.6, what="leaky, rho = 0"),
        within(plain.sel(activation="absolute value"), 170 / 1.6, 250 * 1.6, what="abs, rho = 0"),
        true(np.all(np.isinf(plain.sel(activation="ReLU"))), "infinite", "infinite", what="ReLU"),
    )


@claim(
    "C7",
    kind="empirical",
    source=f"{PAPER}, abstract: skips make the landscape less erratic (E6, E8)",
    paper_size_at="quick",
)
def depth_multiplies_condition_numbers(X2: xr.Dataset) -> Check:
    """The condition number of a product of layers grows exponentially with depth without a skip and
    stays below 20 with one; flipped slopes change singular values at least five times less with a
    skip.

    Falsified by: growths of log kappa a layer that differ by more than 25 %, a median kappa above
    20 with a skip, or a median change under flips less than five times that with one.
    """
    log = np.log(X2["condition_median"].sel(rho=0).values)
    growth = np.diff(log, axis=1) / np.diff(X2["depth"].values)
    change = X2["change_median"]
    return all_of(
        near(growth[:, 1] / growth[:, 0], 1, absolute=0.25, what="growth of log kappa a layer (c)"),
        above(
            change.sel(rho=0) / change.sel(rho=1),
            5,
            what="relative change under flips, without skip / with skip (c, p)",
        ),
        below(X2["condition_median"].sel(rho=1), 20, what="median kappa with skip 1 (c, p)"),
    )


@claim(
    "C8",
    kind="empirical",
    source=f"{PAPER}, abstract: skips ease optimization of a layer",
    paper_size_at="quick",
)
def skips_make_one_layer_train_faster(X4: xr.Dataset) -> Check:
    """Trained alone at the step size 1/sharpness, the first layer of a net with skips takes at
    least four times fewer steps to a thousandth of the loss.

    Falsified by: a median number of steps without skips below four times that with them.
    """
    ratio = X4["median_steps"].sel(rho=0) / X4["median_steps"].sel(rho=1)
    return above(ratio, 4, what="median steps without skip / with skip (activation)")
