"""Tables: what an experiment found, every variable with its unit and its name in words."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import require
from thalweg.theory.prediction import Prediction

KNOWN = {"time": ("step size", "training time"), "step": ("1", "steps taken")}


def table(
    groups: Mapping[str, Mapping[str, tuple[Any, str, str]]],
    attrs: Mapping[str, Any] | None = None,
    **coords: Any,
) -> xr.Dataset:
    """A labelled data set in one call: groups of variables by their dims.

    Args:
        groups: Dims, as "draw time" ("" for numbers), to variables: name to (values, unit, words);
            the unit of a pure number is "1".
        attrs: What is said of the whole: numbers and texts.
        **coords: Labels of a dim: values, or (values, unit, words). Training time and steps know
            theirs.

    Returns:
        The data set. Figures take their labels from its units and words.

    Raises:
        InputError: If a variable has no unit, no words, or other axes than its dims.

    Examples:
        >>> from thalweg.lab.table import table
        >>> found = table({"time": {"loss": ([1.0, 0.5], "loss", "the loss")}}, time=[0.0, 0.1])
        >>> found["loss"].attrs["units"], found["time"].attrs["units"]
        ('loss', 'step size')
    """
    found = {}
    for dims, variables in groups.items():
        for name, (values, unit, words) in variables.items():
            found[name] = variable(dims.split(), values, unit, words, name)
    labels = {}
    for name, given in coords.items():
        if not isinstance(given, xr.Variable) and not _told(given):
            given = (given, *KNOWN[name]) if name in KNOWN else list(given)
        labels[name] = variable(name, *given) if _told(given) else given
    return xr.Dataset(found, labels, dict(attrs or {}))


def variable(
    dims: str | Sequence[str], values: Any, unit: str, words: str, name: str = ""
) -> xr.Variable:
    """A variable of a table, with its unit and its name in words."""
    dims, values = ([dims] if isinstance(dims, str) and dims else list(dims)), np.asarray(values)
    require(bool(unit and words), f"variable {name!r} came without a unit or words; give both")
    require(
        values.ndim == len(dims),
        f"variable {name!r} came with the shape {values.shape} for the dims {' '.join(dims)!r}; "
        "give one dim for each axis",
    )
    return xr.Variable(dims, values, {"units": unit, "long_name": words})


def over(function: Callable[..., xr.Dataset], **axes: Any) -> xr.Dataset:
    """The tables that a function gives at every point of a grid, joined along new first dims.

    Args:
        function: Called with one value of each axis by name; every table has the same variables,
            dims and labels.
        **axes: Values by dim, or (values, unit, words).

    Returns:
        One table; each variable has the axes before its own dims.

    Raises:
        InputError: If the tables differ in more than their values.

    Examples:
        >>> from thalweg.lab.table import over, table
        >>> both = over(lambda a, b: table({"": {"sum": (a + b, "1", "a + b")}}), a=[1, 2], b=[10])
        >>> both["sum"].values.tolist()
        [[11], [12]]
    """
    values = {k: v[0] if _told(v) else v for k, v in axes.items()}
    values = {k: list(v) for k, v in values.items()}
    shape = tuple(len(v) for v in values.values())
    points = itertools.product(*values.values())
    tables = [function(**dict(zip(values, point, strict=True))) for point in points]
    first = tables[0]
    for other in tables[1:]:
        require(
            set(other.data_vars) == set(first.data_vars)
            and dict(other.sizes) == dict(first.sizes)
            and all(np.array_equal(other[c].values, first[c].values) for c in first.coords),
            f"the tables over {', '.join(axes)} differ in their variables, sizes or labels; make "
            "what differs a variable",
        )
    joined = {
        name: xr.Variable(
            (*axes, *one.dims),
            np.stack([t[name].values for t in tables]).reshape(*shape, *one.shape),
            one.attrs,
        )
        for name, one in first.data_vars.items()
    }
    labels = {k: variable(k, *v) if _told(v) else list(v) for k, v in axes.items()}
    return xr.Dataset(joined, {**labels, **first.coords}, first.attrs)


def padded(values: Any, length: int, axis: int = 0) -> np.ndarray:
    """Values with NaN behind the last entry of an axis, so that rows of several lengths are one.

    Args:
        values: Numbers, of any shape.
        length: How long the axis becomes, no shorter than it is.
        axis: Which.

    Examples:
        >>> from thalweg.lab.table import padded
        >>> padded([1, 2], 3).tolist()
        [1.0, 2.0, nan]
    """
    values = np.asarray(values, float)
    missing = [(0, 0)] * values.ndim
    missing[axis] = (0, length - values.shape[axis])
    return np.pad(values, missing, constant_values=np.nan)


def _told(axis: Any) -> bool:
    """Whether an axis came as (values, unit, words)."""
    three = isinstance(axis, tuple) and len(axis) == 3
    return three and isinstance(axis[1], str) and not isinstance(axis[0], str)


def averaged(found: xr.Dataset, dim: str, *names: str) -> xr.Dataset:
    """A table with means over a dim beside its variables, as `<name>_mean` and `<name>_mean_error`.

    Args:
        found: The table.
        dim: Of independent draws.
        *names: The variables.

    Returns:
        The table with two variables more for each: the mean, and its standard error, NaN where one
        draw alone was made.

    Examples:
        >>> from thalweg.lab.table import averaged, table
        >>> found = table({"draw": {"loss": ([1.0, 3.0], "loss", "the loss")}})
        >>> means = averaged(found, "draw", "loss")
        >>> float(means["loss_mean"]), float(means["loss_mean_error"])
        (2.0, 1.0)
    """
    more = {}
    for name in names:
        values, attrs = found[name], found[name].attrs
        size = values.sizes[dim]
        deviation = values.std(dim, ddof=1) if size > 1 else xr.full_like(values.mean(dim), np.nan)
        for ending, value, words in (
            ("mean", values.mean(dim), f"mean over {dim}s"),
            ("mean_error", deviation / np.sqrt(size), f"standard error of the mean over {dim}s"),
        ):
            told = {"units": attrs["units"], "long_name": f"{attrs['long_name']}, {words}"}
            more[f"{name}_{ending}"] = value.assign_attrs(told)
    return found.assign(more)


def mean_and_error(
    name: str, draws: Any, unit: str, words: str, axis: int = 0
) -> dict[str, tuple[Any, str, str]]:
    """The mean over independent draws and its standard error, as two variables of a table.

    Args:
        name: Of the mean; the error is `<name>_error`.
        draws: Values, at least two along the axis.
        unit: Of both.
        words: The mean in words.
        axis: Of the draws.

    Returns:
        What `table` takes.

    Examples:
        >>> from thalweg.lab.table import mean_and_error
        >>> {k: float(v) for k, (v, *_) in mean_and_error("loss", [1.0, 3.0], "loss", "").items()}
        {'loss': 2.0, 'loss_error': 1.0}
    """
    draws = np.asarray(draws)
    error = draws.std(axis, ddof=1) / np.sqrt(draws.shape[axis])
    return {
        name: (draws.mean(axis), unit, words),
        f"{name}_error": (error, unit, f"{words}, standard error"),
    }


def medians(found: xr.Dataset, dim: str, *names: str) -> xr.Dataset:
    """A table with medians over a dim beside its variables, `<name>_median`, `<name>_median_error`.

    Args:
        found: The table.
        dim: Of independent draws.
        *names: The variables.

    Returns:
        The table with two variables more for each: the median, and its standard error, half the
        distance of the order statistics one binomial deviation off the middle, NaN where one of
        them is infinite.

    Examples:
        >>> from thalweg.lab.table import medians, table
        >>> found = table({"draw": {"loss": ([1.0, 2.0, 9.0], "loss", "the loss")}})
        >>> float(medians(found, "draw", "loss")["loss_median"])
        2.0
    """
    n = found.sizes[dim]
    low, high = int(np.floor((n - np.sqrt(n)) / 2)), min(int(np.ceil((n + np.sqrt(n)) / 2)), n - 1)
    more = {}
    for name in names:
        unit, words = (found[name].attrs[key] for key in ("units", "long_name"))
        ordered = np.sort(found[name].transpose(..., dim), -1)
        with np.errstate(invalid="ignore"):
            error = (ordered[..., high] - ordered[..., low]) / 2
        error, median = np.where(np.isfinite(error), error, np.nan), np.median(ordered, -1)
        dims = [str(one) for one in found[name].dims if one != dim]
        more[f"{name}_median"] = variable(dims, median, unit, f"median {words}")
        more[f"{name}_median_error"] = variable(dims, error, unit, f"{words}, error of the median")
    return found.assign(more)


def predicted(found: xr.Dataset, *predictions: Prediction, time: str = "time") -> xr.Dataset:
    """A table with predictions beside what was measured, as `<name>_theory`.

    Args:
        found: The table; `time` is one of its labels.
        *predictions: Each for the variable of its name; kind, conditions and source go into the
            attributes, where `held` finds them.
        time: The label that holds training times.

    Returns:
        The table with one variable more for each prediction.
    """
    at = found[time].values
    theory = {
        f"{p.name}_theory": xr.Variable(
            found[time].dims,
            np.asarray(p.at(at)),
            {
                "units": p.unit,
                "long_name": f"{_words(found, p.name)}, theory",
                "kind": p.kind,
                "holds": p.holds,
                "source": p.source,
            },
        )
        for p in predictions
    }
    return found.assign(theory)


def _words(found: xr.Dataset, name: str) -> str:
    return str(found[name].attrs.get("long_name", name)) if name in found else name
