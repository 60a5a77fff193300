"""The labelled result of a run: values, errors, units and where they come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.core.errors import InputError, unknown
from thalweg.core.result import Reading, Result
from thalweg.dynamics.stability import StabilityRule
from thalweg.trajectory.store import ZarrStore


@dataclass(frozen=True)
class Trajectory:
    """Records of a run along training time.

    Attributes:
        dataset: Dims (seed, time, ...). Beside each measured variable `v` stand `v_error` (same
            unit) and `v_result` (a `Result` code). `step`, `evaluations` and `result` tell of
            the process, `path_error` (unit: parameter) and the solver's statistics of a followed
            flow, `parameters` are the flat parameters if they were recorded. Times at which
            nothing was reached are absent.
    """

    dataset: xr.Dataset

    @property
    def name(self) -> str:
        """The name of the dynamics."""
        return str(self.dataset.attrs.get("dynamics", "run"))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the error of the path may be wrong, or why the path ends before its time."""
        return tuple(self.dataset.attrs.get("doubts", ())) + self._endings()

    def _endings(self) -> tuple[str, ...]:
        """A sentence where the solver's steps were used up before the end."""
        limited = self.dataset["result"].values == int(Result.STEP_LIMIT)
        if not limited.any():
            return ()
        seeds = self.dataset["seed"].values[limited.any(axis=1)].tolist()
        first, time = int(np.argmax(limited.any(axis=0))), self.dataset["time"].values
        spent = int(self.dataset["evaluations"].values[limited].max())
        since = f"training times {time[first - 1]:g} and {time[first]:g}"
        return (
            f"{self.name} used up its steps between {since} (seeds {seeds}; {spent:,} gradients): "
            "nothing is known from there on. Steps stay short at a kink, at a minimum of boundless "
            "curvature and where curvature is large for long; a larger error of the flow, a "
            "shorter time or a larger most_gradients leads to the end",
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """Command, configuration, versions, platform, time spent."""
        return json.loads(self.dataset.attrs.get("provenance", "{}"))

    @property
    def stability(self) -> StabilityRule | None:
        """The rule by which the dynamics is stable, as it said itself; None if it said none."""
        told = self.dataset.attrs.get("stability")
        return None if told is None else StabilityRule.of(json.loads(told))

    @property
    def limit(self) -> dict[str, Any] | None:
        """The flow that the dynamics follows as its steps go to 0, as it said itself.

        {"flow": its description} or {"because": why none is known}; None if it said nothing.
        """
        told = self.dataset.attrs.get("limit")
        return None if told is None else json.loads(told)

    @property
    def diverged(self) -> np.ndarray:
        """For each seed, whether the run left the finite numbers, shape (seed,)."""
        codes = [self.dataset[v] for v in ("result", "loss_result") if v in self.dataset]
        # A step knows of the loss before it only, the record of the loss there.
        return np.logical_or.reduce(
            [(code == int(Result.NONFINITE)).any("time").values for code in codes]
        )

    def reading(self, name: str) -> Reading:
        """A measured variable with its error and result codes, as arrays (seed, time, ...).

        Raises:
            InputError: If nothing of that name was measured.
        """
        if name not in self.dataset or f"{name}_result" not in self.dataset:
            measured = [
                str(v)[: -len("_result")] for v in self.dataset if str(v).endswith("_result")
            ]
            raise InputError(unknown(name, measured, "measured variable"))
        value, error, result = (
            jnp.asarray(self.dataset[name + suffix].values) for suffix in ("", "_error", "_result")
        )
        return Reading(value, error, result)

    @property
    def parameters(self) -> xr.DataArray:
        """The recorded flat parameters (seed, time, parameter).

        Raises:
            InputError: If they were not recorded.
        """
        if "parameters" not in self.dataset:
            raise InputError("this run did not record its parameters; run with parameters=True")
        return self.dataset["parameters"]


def load(path: str | Path) -> Trajectory:
    """A trajectory from its store, finished or not. Reads the store once; values are lazy.

    Args:
        path: The `.zarr` folder.

    Raises:
        InputError: If there is none, or it is damaged.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> made = tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=2, out="bowl.zarr")
        >>> tw.load("bowl.zarr").dataset["loss"].values.tolist()
        [[0.5, 0.125, 0.03125]]
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no store at {path}; give the path of a .zarr folder")
    store = ZarrStore(path)
    dataset = store.dataset()
    store.check()
    return Trajectory(dataset)
