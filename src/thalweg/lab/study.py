"""What a study is: one paper as plain data, its experiments, claims and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import require, unknown
from thalweg.driver.recorded import run
from thalweg.dynamics import Dynamics
from thalweg.lab.claims import SCALES, Claim
from thalweg.problems import Problem
from thalweg.report.spec import Figure
from thalweg.trajectory import Trajectory
from thalweg.trajectory.store import OtherRunError

PAPER_SIZE = {
    "all": "the paper's size",
    "part": "in part the paper's size",
    "none": "more than quick, not the paper's size",
}


@dataclass(frozen=True)
class Lab:
    """Where an experiment works: at which scale, and in which folder its runs are kept.

    Attributes:
        scale: "quick" (minutes on two cores) or "full" (larger; `Study.full` says what it is).
        folder: Long runs are stored here and resumed; None keeps them in memory.
        progress: See `thalweg.run`.
    """

    scale: str = "quick"
    folder: Path | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown scale."""
        require(self.scale in SCALES, unknown(self.scale, SCALES, "scale"))

    @property
    def full(self) -> bool:
        """Whether the larger scale is asked for; `Study.full` says what that is."""
        return self.scale == "full"

    def run(self, name: str, problem: Problem, dynamics: Dynamics, **options: Any) -> Trajectory:
        """`thalweg.run`, stored in the folder under `runs/` and resumed from there."""
        out = None if self.folder is None else self.folder / "runs" / f"{name}.zarr"
        try:
            return run(problem, dynamics, out=out, progress=self.progress, **options)
        except OtherRunError:  # the study has changed since; its folder is its own
            return run(problem, dynamics, out=out, fresh=True, progress=self.progress, **options)


def variable(dims: str | Sequence[str], values: Any, units: str, long_name: str) -> xr.Variable:
    """A variable of a data set, with its unit and its name in words."""
    return xr.Variable(dims, np.asarray(values), {"units": units, "long_name": long_name})


Experiment = Callable[[Lab], xr.Dataset]


@dataclass(frozen=True)
class Study:
    """One paper: plain data about it, and functions that rerun it.

    Attributes:
        slug: Its name on the command line.
        title: The paper's subject in a few words.
        source: Full citation.
        question: What the paper asks, in a sentence or two.
        minutes: Minutes on two idle cores, about, at each scale.
        paper_size: Whether full scale has the paper's own size: "all", "part" or "none" of it.
        full: What full scale is, in a sentence.
        experiments: Name to function; each returns one labelled data set with units in attrs.
        claims: What is checked.
        figures: What is drawn, from the data sets of the experiments by name.
        answer: What to make of it, in a paragraph, whatever the verdict.
        deviates: Where we depart from the paper or from its specification, and why.
    """

    slug: str
    title: str
    source: str
    question: str
    minutes: Mapping[str, float]
    paper_size: str
    full: str
    experiments: Mapping[str, Experiment]
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    answer: str = ""
    deviates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a full scale of which nothing is said."""
        require(self.paper_size in PAPER_SIZE, unknown(self.paper_size, PAPER_SIZE, "paper_size"))
        require(bool(self.full), f"study {self.slug} does not say what its full scale is")
