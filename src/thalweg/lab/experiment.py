"""An experiment of a study: a function that fills a table, its sizes by scale, where it works."""

from __future__ import annotations

import dataclasses
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from thalweg.core.errors import require, unknown
from thalweg.driver.recorded import run
from thalweg.dynamics import Dynamics
from thalweg.lab.card import SCALES
from thalweg.lab.kept import keep_table, kept_table
from thalweg.lab.reached import source_digest
from thalweg.problems import Problem
from thalweg.trajectory import Trajectory
from thalweg.trajectory.store import OtherRunError


@dataclass(frozen=True)
class Lab:
    """Where an experiment works: at which scale, and in which folder its runs are kept.

    Attributes:
        scale: "smoke" (seconds), "quick" (minutes on two cores) or "full" (the card says what).
        folder: Long runs are stored here and resumed; None keeps them in memory.
        progress: See `thalweg.run`.
        parts: Where what `part` made is kept until the experiment's table is; None keeps nothing.
        key: What the table of the experiment at work is known by, and its parts with it.
    """

    scale: str = "quick"
    folder: Path | None = None
    progress: bool | None = None
    parts: Path | None = None
    key: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown scale."""
        require(self.scale in SCALES, unknown(self.scale, SCALES, "scale"))

    def run(self, name: str, problem: Problem, dynamics: Dynamics, **options: Any) -> Trajectory:
        """`thalweg.run`, stored in the folder under `runs/` and resumed from there."""
        out = None if self.folder is None else self.folder / "runs" / f"{name}.zarr"
        try:
            return run(problem, dynamics, out=out, progress=self.progress, **options)
        except OtherRunError:  # the study has changed since; its folder is its own
            return run(problem, dynamics, out=out, fresh=True, progress=self.progress, **options)

    def part(self, name: str, make: Callable[[], xr.Dataset]) -> xr.Dataset:
        """A table that an experiment is made of, kept as soon as it is there.

        An experiment that is interrupted goes on behind its last part, to the same bits. For what
        `run` does not do, as paths whose parameters are too many to be recorded.

        Args:
            name: Within the experiment.
            make: What makes it, of nothing that the experiment's size and source do not fix.

        Raises:
            StoreError: If what was kept is damaged, or cannot be written.

        Examples:
            >>> from thalweg.lab.experiment import Lab
            >>> from thalweg.lab.table import table
            >>> lab = Lab("smoke")  # without a folder nothing is kept
            >>> lab.part("one", lambda: table({"": {"a": (1.0, "1", "a number")}}))["a"].item()
            1.0
        """
        kept = kept_table(self.parts, name, self.key)
        if kept is not None:
            return kept[0]
        begun = clock.perf_counter()
        made = make()
        keep_table(self.parts, name, self.key, made, clock.perf_counter() - begun)
        return made


@dataclass(frozen=True)
class Draws:
    """The size of an experiment that is smaller or larger by its number of draws alone.

    Attributes:
        draws: Of data, weights or whatever else it draws at random.
    """

    draws: int


@dataclass(frozen=True)
class Experiment:
    """A function that fills one table, and how large it does so at each scale.

    Attributes:
        name: By which claims and figures call its table: "X1", "X1-draws".
        function: From a lab, and a size if it has sizes, to the table.
        sizes: Scale to size, frozen dataclasses of one class; none for one that has one size.
    """

    name: str
    function: Callable[..., xr.Dataset]
    sizes: Mapping[str, Any]

    def __call__(self, lab: Lab, **changes: Any) -> xr.Dataset:
        """The table, at the size of the lab's scale with these fields changed."""
        if not self.sizes:
            require(not changes, f"{self.name} has one size; {', '.join(changes)} cannot change")
            return self.function(lab)
        return self.function(lab, dataclasses.replace(self.sizes[lab.scale], **changes))

    def known_by(self, scale: str) -> dict[str, str]:
        """What its table depends on: the source that its module reaches, and its size."""
        source = source_digest(self.function.__module__)
        return {"source": source, "size": repr(self.sizes.get(scale))}


def experiment(
    name: str,
    quick: Any = None,
    *,
    smoke: Mapping[str, Any] | None = None,
    full: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., xr.Dataset]], Experiment]:
    """Declare a function as an experiment of the study in whose folder it stands.

    Args:
        name: See `Experiment`.
        quick: Its size at quick scale, a frozen dataclass that the function takes as its second
            argument; none for an experiment that has one size.
        smoke: What is smaller at smoke scale, by field.
        full: What is larger at full scale, by field.

    Returns:
        A decorator.

    Raises:
        InputError: If a size changes a field that is not there.

    Examples:
        >>> from dataclasses import dataclass
        >>> from thalweg.lab.experiment import Lab, experiment
        >>> from thalweg.lab.table import table
        >>> @dataclass(frozen=True)
        ... class Size:
        ...     draws: int
        >>> @experiment("X1", Size(draws=5), smoke={"draws": 2}, full={"draws": 20})
        ... def squares(lab: Lab, size: Size):
        ...     draws = range(size.draws)
        ...     squared = [i**2 for i in draws]
        ...     return table({"draw": {"square": (squared, "1", "the square")}}, draw=draws)
        >>> squares(Lab("smoke"))["square"].values.tolist()
        [0, 1]
    """
    sizes: dict[str, Any] = {}
    for scale, changes in (("smoke", smoke), ("quick", None), ("full", full)):
        if quick is None:
            require(not changes, f"experiment {name} has no size that {scale} scale could change")
            continue
        fields = [f.name for f in dataclasses.fields(quick)]
        for field in changes or {}:
            require(field in fields, unknown(field, fields, f"field of the size of {name}"))
        sizes[scale] = dataclasses.replace(quick, **(changes or {}))

    def declare(function: Callable[..., xr.Dataset]) -> Experiment:
        return Experiment(name, function, sizes)

    return declare
