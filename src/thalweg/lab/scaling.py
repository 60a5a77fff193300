"""How one measured variable grows with another."""

from __future__ import annotations

import numpy as np
import xarray as xr


def exponent(y: xr.DataArray, x: xr.DataArray) -> xr.DataArray:
    """The a of y ~ x^a: the slope of log y in log x by least squares.

    Args:
        y: Has the dims of x and perhaps others, for each of which there is a slope.
        x: Positive, mostly a label of y.

    Returns:
        The slope by the other dims of y; NaN where a value is not positive or x has fewer than two.

    Examples:
        >>> import xarray as xr
        >>> from thalweg.lab.scaling import exponent
        >>> y = xr.DataArray([3.0, 12.0, 48.0], {"width": [1.0, 2.0, 4.0]}, ["width"])
        >>> round(float(exponent(y, y["width"])), 12)
        2.0
    """
    away, found = xr.ufuncs.log(x), xr.ufuncs.log(y.where(y > 0))
    with np.errstate(invalid="ignore"):  # of no value or of one there is no slope
        away = away - away.sum(skipna=False) / away.size
        return (found * away).sum(x.dims, skipna=False) / (away**2).sum(skipna=False)
