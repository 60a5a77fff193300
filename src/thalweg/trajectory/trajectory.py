"""The labelled result of a run: values, errors, units and where they come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.core.doors import guarded
from thalweg.core.errors import InputError, unknown
from thalweg.core.result import Reading, Result
from thalweg.dynamics.stability import StabilityRule
from thalweg.storage.netcdf import open_netcdf, save_netcdf
from thalweg.trajectory.ensemble import STATISTICS, over_seeds
from thalweg.trajectory.store import ZarrStore


@guarded("reading", "over_seeds", "plot", "to_netcdf")
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

    def over_seeds(self, *statistics: str, quantiles: Sequence[float] = ()) -> xr.Dataset:
        """Statistics over the seeds with their standard errors; see `trajectory.over_seeds`.

        Args:
            statistics: Of "mean" and "std"; both if none is named.
            quantiles: Shares between 0 and 1, as (0.05, 0.5, 0.95).

        Raises:
            InputError: If a name or a share is none, or there are fewer than two seeds.
        """
        return over_seeds(self.dataset, statistics or STATISTICS, quantiles)

    def plot(
        self,
        what: str = "loss",
        ax: Any = None,
        *,
        seeds: str = "lines",
        log: bool | None = None,
        label: str = "",
        clock: str = "time",
        **select: Any,
    ) -> Any:
        """Draw a variable along training time with matplotlib.

        Errors are bands, the threshold of stability and a divergence dotted lines. Axes that hold
        lines already get another colour and a legend.

        Args:
            what: A variable of the dataset, as "sharpness".
            ax: Axes to draw in; new ones by default.
            seeds: "lines" draws each, "median" their median between the lowest and the highest.
            log: Whether the vertical axis is logarithmic; by default where values are positive and
                spread over a factor of 30.
            label: What the legend says; by default the name of the dynamics.
            clock: The horizontal axis: "time", or another clock that the run recorded, as
                "slow_time" of noise, "decay_time" of weight decay, "passes" of mini-batches.
            select: Values of further dimensions, as `seed=0` or `layer=1`; of one that is left each
                value is a line.

        Returns:
            The axes.

        Raises:
            InputError: If there is no such variable or clock, more than one dimension is left, or
                matplotlib is not installed.

        Examples:
            >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
            >>> made = tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=2)
            >>> made.plot("loss").lines[0].get_ydata().tolist()
            [0.5, 0.125, 0.03125]
        """
        from thalweg.report.notebook import plot_figure
        from thalweg.trajectory.pictures import RUN, picture

        figure, data = picture(
            self.dataset, self.name, self.stability, what, seeds, log, label, clock, select
        )
        return plot_figure([figure], {RUN: data}, figure.name, ax)

    def to_netcdf(self, path: str | Path) -> Path:
        """Write everything into one netCDF file, which `load` reads back.

        Raises:
            InputError: If h5netcdf is not installed.
            StoreError: If the file cannot be written.
        """
        return save_netcdf(self.dataset, Path(path))

    def __str__(self) -> str:
        """What ran, how far and with what result, in a sentence or two."""
        data = self.dataset
        seeds = data.sizes["seed"]
        told = [
            f"{self.name[:1].upper()}{self.name[1:]}: {data.sizes['time']} records of "
            f"{'one seed' if seeds == 1 else f'{seeds} seeds'} to training time "
            f"{float(data['time'].values[-1]):.4g}."
        ]
        lost = int(self.diverged.sum())
        if lost:
            told.append(f"{'It' if seeds == 1 else f'{lost} of {seeds} seeds'} diverged.")
        return " ".join(told)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: how far it ran, what was measured at the end, the loss."""
        from thalweg.report.notebook import card
        from thalweg.trajectory.pictures import RUN, picture, run_tiles

        figure, data = None, self.dataset
        if "loss" in data:
            given = (self.dataset, self.name, self.stability)
            figure, data = picture(*given, "loss", "lines", None, "", "time", {})
        doubts = [f"{doubt.rstrip('.')}." for doubt in self.doubts]
        tone = "bad" if self.diverged.any() else "warn" if doubts else "neutral"
        return card(
            "Trajectory", str(self), tone, run_tiles(self.dataset), figure, {RUN: data}, doubts
        )


def load(path: str | Path) -> Trajectory:
    """A trajectory from its store, finished or not. Reads the store once; values are lazy.

    Args:
        path: The `.zarr` folder, or the netCDF file that `Trajectory.to_netcdf` wrote.

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
    if path.is_file():
        return Trajectory(open_netcdf(path))
    store = ZarrStore(path)
    dataset = store.dataset()
    store.check()
    return Trajectory(dataset)
