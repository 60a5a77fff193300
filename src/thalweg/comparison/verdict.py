"""What a comparison found, and its page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thalweg.comparison.certificates import SeedCertificate
from thalweg.comparison.comparable import configuration, finds_its_steps, flow_named, learning_rate
from thalweg.comparison.figures import OF_THE_SOLVER, SOLVER, TABLE, Drawing, solver
from thalweg.comparison.regime import capital
from thalweg.core.doors import guarded
from thalweg.dynamics.stability import StabilityRule
from thalweg.report import Figure, Number, Page, build, write_page
from thalweg.storage.datasets import save_dataset
from thalweg.storage.files import writing
from thalweg.trajectory import Trajectory

TONES = {
    "on the flow": "good",
    "undecided": "neutral",
    "off the flow": "neutral",
    "catapult": "warn",
    "edge of stability": "warn",
    "divergent": "bad",
}
# What a tile shows, for who meets it for the first time; by the beginning of its label.
HELP = {
    "learning rate": "What the steps are scaled by, as the optimiser takes it.",
    "step size": "The training time that one step takes. Of gradient descent it is how far one "
    "step moves the parameters along the negative gradient (the learning rate).",
    "largest distance": "The norm of the difference between the parameters of both at the same "
    "training time, where it is largest. A parameter has no natural size: read it beside the way "
    "that the flow travels.",
    "largest distance at equal loss": "The norm of the difference between the parameters of both "
    "where they have the same loss, where it is largest: what follows another flow, or none that "
    "is known, does not compare at equal time.",
    "relative to the way": "The largest distance divided by the farthest that the flow gets from "
    "its start, its way. A few per cent look like one curve in a picture.",
    "largest sharpness": "The sharpness is the largest eigenvalue of the Hessian: how strongly the "
    "loss curves in its steepest direction. Of gradient descent, where it lies above the "
    "threshold, steps overshoot along that direction.",
    "largest preconditioned sharpness": "The largest eigenvalue of the Hessian in the coordinates "
    "that the method itself scales: the curvature that counts for an adaptive method. Where it "
    "lies above the threshold, steps overshoot.",
    "threshold": "The largest curvature at which steps of this size are stable on a quadratic. "
    "Training often drives the curvature up to it: the edge of stability.",
    "step size the theorem": "A step size for which a theorem keeps the iterates near the flow, "
    "computed from curvature on the path. It holds for every loss of such curvature, so that for "
    "one run it is far too careful as a rule: no advice to train with it.",
    "stiffness budget": "The sharpness added up over training time. A solver of gradient flow "
    "needs about twice as many gradients, so it tells what following the flow costs.",
    "gradient evaluations": "How many gradients of the whole objective the path took, or of a "
    "mini-batch where steps take these. What was measured along it is not counted.",
}
SOURCES = (
    "O. Elkabetz and N. Cohen, Continuous vs. Discrete Optimization of Deep Neural Networks, "
    "NeurIPS 2021; J. Cohen et al., Gradient Descent on Neural Networks Typically Occurs at the "
    "Edge of Stability, ICLR 2021"
)
PRECONDITIONED = (
    "J. Cohen et al., Adaptive Gradient Methods at the Edge of Stability, arXiv 2207.14484"
)
LONGEST = 120  # letters of a model in a sentence


@guarded("page", "plot")
@dataclass(frozen=True)
class Comparison:
    """A discrete dynamics beside a flow: the regime of its step size, and why.

    Attributes:
        regime: A key of `REGIMES`; the worst over the seeds.
        sentence: The diagnosis in one sentence.
        reasons: The numbers behind it, one sentence each; the last says what to do.
        warnings: What the reader must know before trusting it.
        regimes: The regime of each seed.
        dataset: Dims (seed, time): distance, relative_distance, losses, `descent_stability` and
            `flow_stability`, the eigenvalue of the rule over its threshold, and the distance that
            the theorem allows. Dims (seed, level): what `distance_at_equal_loss` gives, with
            `equal_loss_descent_time` and `equal_loss_flow_time`.
        certificates: The approximation theorem along the flow of each seed; none unless the
            dynamics is gradient descent, which it is about.
        step_size: The step size that was diagnosed, None for a schedule.
        eps: The relative distance that still counts as following the flow.
        rule: The stability rule that was judged by.
        name: The name of the dynamics.
        runs: The two trajectories, the discrete one first.
        apart: Why the flow is not what the dynamics follows as its steps go to 0, so that the two
            are judged at equal loss; empty where it is, and they are judged at equal time.
    """

    regime: str
    sentence: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    regimes: dict[int, str]
    dataset: xr.Dataset
    certificates: tuple[SeedCertificate, ...]
    step_size: float | None
    eps: float
    rule: StabilityRule
    name: str
    runs: tuple[Trajectory, Trajectory]
    apart: str = ""

    @property
    def flow(self) -> str:
        """The name of the flow beside it, as "gradient flow" or "the preconditioned flow"."""
        return flow_named(self.runs[1], self.rule)

    def __str__(self) -> str:
        """The diagnosis as a few lines of text."""
        notes = [f"Note: {warning}" for warning in self.warnings]
        return "\n".join([self.sentence, *(f"- {reason}" for reason in self.reasons), *notes])

    __repr__ = __str__

    def page(self, folder: str | Path, command: str = "", read: str = "") -> Path:
        """Write the page of this comparison into a folder, with the data that it draws.

        Args:
            folder: Where `index.html` goes; what was there of an earlier page is replaced.
            command: What makes it again, if one knows.
            read: What was read as data, in a sentence.

        Returns:
            The path of the page. `thalweg report` builds it again from the folder alone.

        Raises:
            InputError: If the folder cannot be written.

        Examples:
            >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
            >>> steps = tw.run(bowl, tw.gradient_descent(0.1), until=1.0, records=4)
            >>> flow = tw.run(bowl, tw.gradient_flow(1e-8), until=1.0, records=4)
            >>> tw.compare(steps, flow).page("bowl").as_posix()
            'bowl/index.html'
        """
        folder, flow = Path(folder), self.runs[1].dataset
        told = [name for name in OF_THE_SOLVER if name in flow]
        with writing(folder):
            save_dataset(self.dataset, folder / f"{TABLE}.zarr")
            if told:
                save_dataset(flow[told], folder / f"{SOLVER}.zarr")
            write_page(self._page(command, read), folder)
            return build(folder)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What there is to draw: "loss", "distance", and what was measured of the others."""
        flow = self.runs[1]
        drawing = Drawing(
            self.dataset, self.rule, self.step_size, self.eps, self.name, self.flow,
            bool(self.apart),
        )  # fmt: skip
        return (*drawing.figures(), *solver(flow.dataset))

    def plot(self, what: str = "loss", ax: Any = None, *, panel: str = "") -> Any:
        """Draw a picture of the comparison with matplotlib, as the page shows it.

        Args:
            what: "loss", "distance", "curvature" (with the threshold of stability, 2/eta for
                gradient descent), "layers" or "solver", as far as it was measured.
            ax: Axes to draw in, one for each panel; new ones by default.
            panel: The letter of a single panel, as "a"; all by default.

        Returns:
            The axes: of one panel itself, of several an array.

        Raises:
            InputError: If there is no such picture, axes of another number came, or matplotlib is
                not installed.

        Examples:
            >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
            >>> steps = tw.run(bowl, tw.gradient_descent(0.1), until=1.0, records=4)
            >>> flow = tw.run(bowl, tw.gradient_flow(1e-8), until=1.0, records=4)
            >>> tw.compare(steps, flow).plot("distance", panel="a").get_ylabel()
            'parameter'
        """
        from thalweg.report.notebook import plot_figure

        return plot_figure(self.figures, self._drawn, what, ax, panel)

    def html(self, *notes: str) -> str:
        """What a notebook shows: the verdict, key numbers and a small picture; notes beneath."""
        from thalweg.report.notebook import card

        pictures = {figure.name: figure for figure in self.figures}
        second = pictures["curvature"].panels[0] if "curvature" in pictures else None
        first = pictures["loss"].panels[0]
        panels = (first, second or pictures["distance"].panels[-1])
        figure = Figure("card", "Loss and curvature" if second else "Loss and distance", "", panels)
        title = f"{capital(self.name)} against {self.flow}"
        told = (*(f"Note: {text}." for text in self.warnings), *notes)
        return card(
            title, self.sentence, TONES[self.regime], self._numbers(), figure, self._drawn, told
        )

    def _repr_html_(self) -> str:
        return self.html()

    @property
    def _drawn(self) -> dict[str, xr.Dataset]:
        """The datasets of the figures by name."""
        return {TABLE: self.dataset, SOLVER: self.runs[1].dataset}

    def _page(self, command: str, read: str) -> Page:
        """Everything that the page says besides the stored data."""
        descent = self.runs[0]
        about = dict(configuration(descent).get("problem", {}))
        adaptive = self.rule.eigenvalue == "preconditioned_sharpness"
        return Page(
            title=f"{capital(self.name)} against {self.flow}: {subject(about)}",
            kind="comparison",
            question=self._question(about),
            verdict=self.sentence,
            verdict_tone=TONES[self.regime],
            numbers=tuple(self._numbers()),
            paragraphs=(*self.reasons, *(f"Note: {text}." for text in self.warnings)),
            figures=self.figures,
            provenance=({"what was read": read} if read else {}) | self._provenance(about),
            command=command,
            datasets=(TABLE,),
            source=f"{SOURCES}; {PRECONDITIONED}" if adaptive else SOURCES,
            minutes=round(sum(map(_seconds, self.runs)) / 60, 2),
        )

    def _question(self, about: dict[str, Any]) -> str:
        size, rate = self.step_size, learning_rate(self.runs[0])
        steps = "its schedule of step sizes" if size is None else f"step size {size:g}"
        steps = "the steps that it finds itself" if finds_its_steps(self.runs[0]) else steps
        steps = steps if rate is None else f"learning rate {rate:g}"
        way = "go the way of" if self.apart else "follow"
        asked = f"Does {self.name} with {steps} {way} {self.flow}"
        if "model" not in about:
            return f"{asked} on {subject(about)}?"
        return (
            f"{asked} when {_one_line(about['model'])} is trained on {about['examples']:,} "
            f"examples of {subject(about)} with {about['loss']}?"
        )

    def _numbers(self) -> list[Number]:
        table, flow = self.dataset, self.runs[1].dataset
        gap = table["distance"]
        seeds = table.sizes["seed"]
        spread = f"worst of {seeds} seeds" if seeds > 1 else "one seed"
        shown, size, rate = [], self.step_size, learning_rate(self.runs[0])
        if rate is not None:
            shown.append(Number("learning rate", rate, unit=""))
        if size is not None and size != rate:
            shown.append(Number("step size eta", size, unit=""))
        if self.apart:
            shown += self._at_equal_loss(spread)
        elif bool(np.isfinite(gap).any()):
            way = table["displacement"].max("time")
            at = gap.max("time") / way.where(way > 0)
            worst = int(np.nanargmax(at.values)) if bool(np.isfinite(at).any()) else 0
            error = float(table["distance_error"].isel(seed=worst).max())
            shown += [
                Number("largest distance at equal time", float(gap.max()), error, "parameter",
                       spread),
                Number(
                    "relative to the way of the flow",
                    100 * float(at.max()),
                    100 * error / max(float(way[worst]), 1e-300),
                    "%",
                    f"{self.eps:.0%} counts as following it",
                ),
            ]  # fmt: skip
        judged = self.rule.eigenvalue if self.rule.known else ""
        for name in dict.fromkeys(("sharpness", judged)):
            if name and f"descent_{name}" in table:
                shown.append(self._largest(name))
                if name == judged:
                    shown.append(self._threshold(shown[-1].unit))
        if self.certificates:
            least = min(self.certificates, key=lambda c: c.certificate.step_size).certificate
            note = f"for a distance of {least.eps:.3g}; from curvature on the path, no guarantee"
            shown.append(Number("step size the theorem indicates", least.step_size, note=note))
        if "stiffness_budget" in flow and bool(np.isfinite(flow["stiffness_budget"]).any()):
            budget = float(flow["stiffness_budget"].max())
            note = "integral of the sharpness over training time, within a few per cent"
            shown.append(Number("stiffness budget of the flow", budget, note=note))
        for prefix, name in (("descent", self.name), ("flow", self.flow)):
            cost = int(np.max(table[f"{prefix}_evaluations"].isel(time=-1)))
            words = f"gradient evaluations, {name.removeprefix('the ')}"
            shown.append(Number(words, cost, note="measuring not counted"))
        return [replace(number, help=_help(number.label)) for number in shown]

    def _at_equal_loss(self, spread: str) -> list[Number]:
        gap, share = self.dataset["equal_loss_distance"], self.dataset["equal_loss_share_of_way"]
        if not bool(np.isfinite(gap).any()):
            return []
        error = float(self.dataset["equal_loss_distance_error"].max())
        part = 100 * float(share.max())
        return [
            Number("largest distance at equal loss", float(gap.max()), error, "parameter", spread),
            Number(
                "relative to the way of the flow", part, part * error / float(gap.max()) if part
                else None, "%", f"{self.eps:.0%} counts as the same way",
            ),
        ]  # fmt: skip

    def _largest(self, name: str) -> Number:
        """The largest value of a curvature along the dynamics."""
        values = self.dataset[f"descent_{name}"]
        error = np.nan
        if bool(np.isfinite(values).any()):
            error = self.dataset[f"descent_{name}_error"].values.ravel()[
                int(np.nanargmax(values.values))
            ]
        unit = str(values.attrs.get("units", "")).replace("parameter^2", "param²")
        label = f"largest {name.replace('_', ' ')} of {self.name}"
        return Number(label, float(values.max()), float(error), unit)

    def _threshold(self, unit: str) -> Number:
        formula = self.rule.formula
        if formula[:1] in ("2", "("):
            return Number(f"threshold {formula}", self.rule.threshold, unit=unit)
        return Number("threshold of stability", self.rule.threshold, unit=unit, note=formula)

    def _provenance(self, about: dict[str, Any]) -> dict[str, Any]:
        descent, flow = self.runs
        record, given = descent.provenance, configuration(descent)
        return {
            "started": record.get("started", ""),
            f"seconds of {self.name} with measurements": round(_seconds(descent), 2),
            f"seconds of {flow.name} with measurements": round(_seconds(flow), 2),
            "precision": given.get("precision", ""),
            "seeds": ", ".join(str(s) for s in descent.dataset["seed"].values),
            **{
                f"{run.name}: {k}": str(v)
                for run in self.runs
                for k, v in dict(configuration(run).get("dynamics", {})).items()
                if k != "name"
            },
            **{
                f"problem: {k}": _one_line(v)
                for k, v in about.items()
                if k not in ("data", "precision")
            },
            **{f"data: {k}": str(v) for k, v in dict(about.get("data", {})).items()},
            **{f"version of {k}": v for k, v in record.get("versions", {}).items()},
            **{k: str(v) for k, v in record.get("platform", {}).items()},
        }


def subject(about: dict[str, Any]) -> str:
    """What a problem is about, in few words: its data, its function, or its kind.

    Args:
        about: As `Problem.describe` gives it.
    """
    data = dict(about.get("data", {}))
    if data:
        return str(data.get("name", data.get("source", "examples")))
    name = str(about.get("function", "")).rpartition(".")[2]
    if name:
        return "a function" if name == "<lambda>" else f"the function {name}"
    return str(about.get("kind", "the problem")).replace("_", " ")


def _one_line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _help(label: str) -> str:
    """The words for a tile; of two beginnings that fit, the longer one's."""
    fitting = [start for start in HELP if label.startswith(start)]
    return HELP[max(fitting, key=len)] if fitting else ""


def _seconds(run: Trajectory) -> float:
    return float(run.dataset.attrs.get("seconds", 0.0))
