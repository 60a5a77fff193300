"""Data sets of scikit-learn: bunches that its loaders return, and OpenML through its client."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError

import numpy as np

from thalweg.core.errors import InputError, require
from thalweg.problems.data.data import Data, from_arrays
from thalweg.problems.data.fetched import refusal
from thalweg.problems.data.tables import Names, from_table


def is_bunch(source: Any) -> bool:
    """Whether this is a bunch as `sklearn.datasets` returns: a mapping with data and a target."""
    return isinstance(source, Mapping) and {"data", "target"} <= set(source)


def from_bunch(
    bunch: Mapping[str, Any],
    target: Names | None = None,
    *,
    name: str = "bunch",
    task: str = "auto",
    description: dict[str, Any] | None = None,
    **options: Any,
) -> Data:
    """Examples from a bunch of `sklearn.datasets`, arrays or a data frame.

    Args:
        bunch: With `data` and `target`; `frame`, `feature_names` and `target_names` are used where
            they are there.
        target: Another column of the bunch's frame than its own target.
        name: Name of the data, also the beginning of every error sentence.
        task: "auto", "classification" or "regression".
        description: Further provenance.
        options: Those of `from_table` if the bunch has a frame, else those of `from_arrays`.

    Raises:
        InputError: If the bunch holds anything but at least two complete examples.
    """
    rest: dict[str, Any] = {"name": name, "task": task, "description": description, **options}
    frame, goal = bunch.get("frame"), bunch["target"]
    if frame is not None:
        if target is None and goal is not None:
            target = [str(c) for c in getattr(goal, "columns", [getattr(goal, "name", None)])]
        return from_table(frame, target, **rest)
    require(
        target is None,
        f"{name}: target= chooses a column of a data frame, which this bunch has not; load it "
        "with as_frame=True.",
    )
    for option in options:
        require(
            option in inspect.signature(from_arrays).parameters,
            f"{name}: {option}= is for data frames, and this bunch has none; load it with "
            "as_frame=True.",
        )
    x, y = (a.toarray() if hasattr(a, "toarray") else np.asarray(a) for a in (bunch["data"], goal))
    names = [str(n) for n in np.atleast_1d(bunch.get("target_names", [])).tolist()]
    whole = y.ndim == 1 and y.dtype.kind in "iu"
    if whole and task != "regression" and set(np.unique(y)) == set(range(len(names))):
        rest["class_names"] = names
    features = [str(n) for n in bunch.get("feature_names", None) or []]
    if x.ndim == 2 and len(features) == x.shape[1]:
        rest["columns"] = features
    return from_arrays(x, y, **rest)


def openml(name: str, version: int | str | None = None, **options: Any) -> Data:
    """A data set of OpenML, fetched and kept by `sklearn.datasets.fetch_openml`.

    What is fetched is checked by the MD5 that OpenML states, and kept in scikit-learn's folder of
    data (`~/scikit_learn_data`, or what SCIKIT_LEARN_DATA names).

    Args:
        name: The data set's name, as "iris", with its version, as "iris@1", or its number.
        version: The version, where a name has several; by default the one that is active.
        options: Those of `from_bunch` and `from_table`.

    Raises:
        InputError: If there is no such data set, the network does not answer, or the data are
            refused.
    """
    from sklearn.datasets import fetch_openml  # slow to import, needed by these data only

    title, at, told = name.rpartition("@")
    if at:
        require(
            told.isdecimal(),
            f"OpenML data set {name!r}: its version came as {told!r}; give a whole number, as in "
            f"openml:{title}@1.",
        )
        require(
            version in (None, int(told)),
            f"OpenML data set {name!r}: its version is given twice, also as {version}; give one.",
        )
        name, version = title, int(told)
    require(bool(name), "openml: which data set? Give its name or number, as in openml:iris.")
    which: dict[str, Any] = (
        {"data_id": int(name)}
        if name.isdecimal()
        else {"name": name, "version": "active" if version is None else version}
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tries again, and fetches what it kept damaged
            warnings.filterwarnings("error", "Multiple active versions")  # it would take the oldest
            bunch = fetch_openml(**which, as_frame=True)
    except Exception as error:  # of the network, of the server, of the files
        why = refusal(error)
        mend = (
            "give the command again where there is a network, or save the table and give its path"
            if isinstance(error, OSError) and not isinstance(error, HTTPError)
            else f"check the name, or give a version, as in openml:{name}@1, or its number"
        )
        raise InputError(f"OpenML data set {name!r} was not fetched ({why}); {mend}.") from None
    about = bunch.get("details") or {}
    source = ", ".join(f"{key} {about[key]}" for key in ("name", "version", "id") if about.get(key))
    return from_bunch(
        bunch,
        name=str(about.get("name", name)),
        description={"source": f"OpenML: {source or name}"},
        **options,
    )
