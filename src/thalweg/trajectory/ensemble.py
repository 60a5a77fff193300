"""What many seeds have in common: means, spreads and quantiles, each with its standard error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thalweg.core.arguments import is_array, told
from thalweg.core.errors import require, unknown

STATISTICS = ("mean", "std")


def over_seeds(
    dataset: xr.Dataset, statistics: Sequence[str] = STATISTICS, quantiles: Sequence[float] = ()
) -> xr.Dataset:
    """Statistics over the seeds of a run, with standard errors.

    Of every variable of floats x over n seeds whose values are finite: `x_mean` with its error
    s/sqrt(n); `x_std`, s, with the error of the sample variance by its fourth moment, over 2 s;
    `x_quantile` over a dim `quantile`, with half the distance of the quantiles at
    q -+ sqrt(q (1 - q)/n), which is right for any law with a density. `x_seeds` counts n:
    seeds that diverged are left out.

    Args:
        dataset: With a dim `seed`.
        statistics: Of "mean" and "std".
        quantiles: Shares from 0 to 1, as (0.05, 0.5, 0.95).

    Raises:
        InputError: If a statistic is unknown, a share out of range, or there are fewer than two
            seeds.

    Examples:
        >>> from thalweg.trajectory import over_seeds
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> noise = tw.oracles.isotropic(1.0)
        >>> path = tw.run(bowl, tw.gradient_descent(0.1, noise), until=1.0, records=1, seeds=100)
        >>> told = over_seeds(path.dataset)
        >>> mean, error = (told[f"parameters_mean{end}"][-1, 0] for end in ("", "_error"))
        >>> bool(abs(mean - 0.9**10) < 5 * error)
        True
    """
    for asked in statistics:
        require(asked in STATISTICS, unknown(asked, STATISTICS, "statistic over seeds"))
    numbers = is_array(quantiles) or not len(quantiles)
    shares = np.asarray(quantiles, float) if numbers else np.zeros(())
    require(
        shares.ndim == 1 and bool(np.all((shares > 0) & (shares < 1))),
        f"quantiles came as {told(quantiles)}; give shares between 0 and 1, as (0.05, 0.5, 0.95)",
    )
    count = dataset.sizes.get("seed", 0)
    require(count >= 2, f"statistics over seeds take at least 2 seeds, and {count} came")
    found: dict[str, xr.DataArray] = {}
    for name, variable in dataset.data_vars.items():
        if (
            "seed" not in variable.dims
            or variable.dtype.kind != "f"
            or str(name).endswith("_error")
        ):
            continue
        x = variable.where(np.isfinite(variable)).astype(float)
        n = x.notnull().sum("seed")
        mean, std = x.mean("seed"), x.std("seed", ddof=1)
        found[f"{name}_seeds"] = n.assign_attrs(units="1", long_name=f"seeds in {name}")
        if "mean" in statistics:
            found[f"{name}_mean"], found[f"{name}_mean_error"] = mean, std / n**0.5
        if "std" in statistics:
            fourth = ((x - mean) ** 4).mean("seed")
            variance = ((fourth - std**4 * (n - 3) / (n - 1)).clip(min=0) / n) ** 0.5
            found[f"{name}_std"], found[f"{name}_std_error"] = std, variance / (2 * std)
        if shares.size:
            half = np.sqrt(shares * (1 - shares) / count)
            at, low, high = (
                x.quantile(np.clip(q, 0, 1), "seed").assign_coords(quantile=shares)
                for q in (shares, shares - half, shares + half)
            )
            found[f"{name}_quantile"] = at
            found[f"{name}_quantile_error"] = (high - low) / 2
        for key in found:
            found[key].attrs.setdefault("units", variable.attrs.get("units", "1"))
    return xr.Dataset(found, attrs={"seeds": count})
