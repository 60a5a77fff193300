"""What the study of singular values checks, on the data sets of its experiments alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, true, within
from thalweg.lab.claims import Claim

Results = Mapping[str, xr.Dataset]


def hessian_is_a_kronecker_product(results: Results) -> Check:
    """C1."""
    d = results["hessian"]
    where = "(activation, skip, seed, layer)"
    return all_of(
        below(d["gap"], 1e-12, what=f"weights {where}"),
        below(d["bias_gap"], 1e-12, what=f"bias {where}"),
        below(d["map_gap"], 1e-12, what=f"Q beside the Jacobian {where}"),
    )


def singular_values_move_as_told(results: Results) -> Check:
    """C2."""
    d, path = results["derivatives"], results["X3"]
    apart = d["apart"].values > 0
    first, second = (np.abs(d[name].values)[:, apart] for name in ("first_error", "second_error"))
    rise = np.abs(path["value"].diff("rho").values) / path["rho"].diff("rho").values[:, None]
    return all_of(
        below(first[0], 1e-5, what="first derivative, h = 1e-4"),
        below(second[0], 1e-4, what="second derivative, h = 1e-4"),
        near(first[1].max() / first[0].max(), 4, absolute=0.02, what="error at 2 h / error at h"),
        below(rise, 1 + 1e-12, what="|s(rho) - s(rho')| / |rho - rho'| (rho, branch)"),
    )


def bounds_hold(results: Results) -> Check:
    """C3."""
    d = results["bounds"]
    return below(d["violation"], 1e-12, what="worst violation / max(1, s_1^2) by bound")


def stacking_bounds_the_condition_number(results: Results) -> Check:
    """C4."""
    d = results["bounds"]
    return all_of(
        near(d["stacked_gap"], 0, absolute=1e-12, what="s_i of [B; I] beside the formula"),
        below(d["stacked_excess"], 1 + 1e-12, what="kappa of [B; I] / sqrt(1 + s_1^2)"),
        below(d["product_ratio"], 1 + 1e-12, what="kappa of a product / product of kappas"),
    )


def condition_grows_with_width(results: Results) -> Check:
    """C5."""
    d = results["gaussian"]
    slope = np.polyfit(np.log(d["size"]), d["log_condition"], 1)[0]
    return all_of(
        near(d["offset"], 1.537, absolute=0.25, what="mean of log kappa - log n (n)"),
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


def skips_bound_the_condition_number(results: Results) -> Check:
    """C6."""
    d = results["X1"]
    median, bounded = d["median"], d["bound"].values < np.inf
    ratio = median.sel(rho=0) / median.sel(rho=1)
    norm = d["norm"].sel(activation="ReLU").median("draw") / d["scale"] / d["norm_limit"]
    found = [
        [float(d[name].sel(scale=c, activation=a, rho=rho)) for name in ("median", "median_bound")]
        for c, a, rho, *_ in MEDIANS
    ]
    kappas, limits = np.transpose(found)
    plain = median.sel(rho=0)
    return all_of(
        below(
            d["condition"].values[bounded] / d["bound"].values[bounded],
            1 + 1e-12,
            what="kappa / bound wherever s_1 < rho",
        ),
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


def depth_multiplies_condition_numbers(results: Results) -> Check:
    """C7."""
    d = results["X2"]
    log = np.log(d["median"].sel(rho=0).values)
    growth = np.diff(log, axis=1) / np.diff(d["depth"].values)
    change = d["median_change"]
    return all_of(
        near(growth[:, 1] / growth[:, 0], 1, absolute=0.25, what="growth of log kappa a layer (c)"),
        above(
            change.sel(rho=0) / change.sel(rho=1),
            5,
            what="relative change under flips, without skip / with skip (c, p)",
        ),
        below(d["median"].sel(rho=1), 20, what="median kappa with skip 1 (c, p)"),
    )


def skips_make_one_layer_train_faster(results: Results) -> Check:
    """C8."""
    d = results["X4"]
    ratio = d["median_steps"].sel(rho=0) / d["median_steps"].sel(rho=1)
    return above(ratio, 4, what="median steps without skip / with skip (activation)")


PAPER = "Riedi, Balestriero and Baraniuk (2023)"

CLAIMS = (
    Claim(
        "C1",
        "Where no activation is on its kink, the Hessian of the squared error in one layer's "
        "weights is the sum of z z^T (x) Q^T Q over examples, Q the product of the local matrices "
        "above.",
        "exact",
        f"{PAPER}, piecewise-quadratic loss (E1 to E3)",
        ("hessian",),
        hessian_is_a_kronecker_product,
    ),
    Claim(
        "C2",
        "Adding rho I moves a simple singular value at the rate u.v, the cosine between its two "
        "singular vectors, and so never faster than rho itself.",
        "exact",
        f"{PAPER}, derivative of singular values (E4, E5)",
        ("derivatives", "X3"),
        singular_values_move_as_told,
    ),
    Claim(
        "C3",
        "Scaling rows as an activation does lowers every singular value, within bounds by the "
        "slope, by interlacing and by the norm of the scaled rows; adding rho I moves it by at "
        "most the norm of the rest.",
        "exact",
        f"{PAPER}, diagonal and additive perturbation (E6, E8)",
        ("bounds",),
        bounds_hold,
    ),
    Claim(
        "C4",
        "Concatenating a layer with its input makes its singular values sqrt(1 + s_i^2), so that "
        "its condition number is at most sqrt(1 + s_1^2); those of a product of layers multiply "
        "at most.",
        "exact",
        f"{PAPER}, DenseNets (E7)",
        ("bounds",),
        stacking_bounds_the_condition_number,
    ),
    Claim(
        "C5",
        "Without a skip the condition number of a Gaussian layer grows linearly with its width: "
        "the mean of its logarithm is log n + 1.537.",
        "empirical",
        "Edelman (1988); the ConvNet case of the paper (E9)",
        ("gaussian",),
        condition_grows_with_width,
    ),
    Claim(
        "C6",
        "A skip brings the condition number of a random layer from a thousand (leaky ReLU), two "
        "hundred (absolute value) or infinity (ReLU) to a few, and below (rho + s_1)/(rho - s_1) "
        "wherever s_1 < rho.",
        "empirical",
        f"{PAPER}, condition numbers against the skip (E6, E9)",
        ("X1",),
        skips_bound_the_condition_number,
    ),
    Claim(
        "C7",
        "The condition number of a product of layers grows exponentially with depth without a "
        "skip and stays below 20 with one; flipped slopes change singular values at least five "
        "times less with a skip.",
        "empirical",
        f"{PAPER}, abstract: skips make the landscape less erratic (E6, E8)",
        ("X2",),
        depth_multiplies_condition_numbers,
    ),
    Claim(
        "C8",
        "Trained alone at the step size 1/sharpness, the first layer of a net with skips takes at "
        "least four times fewer steps to a thousandth of the loss.",
        "empirical",
        f"{PAPER}, abstract: skips ease optimization of a layer",
        ("X4",),
        skips_make_one_layer_train_faster,
    ),
)
