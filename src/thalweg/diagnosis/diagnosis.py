"""The main job: does this training follow a flow, run at the edge of stability, or beyond it?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from thalweg import dynamics as known
from thalweg import probes
from thalweg.comparison.comparison import Comparison, compare
from thalweg.comparison.verdict import subject
from thalweg.core.digest import identity
from thalweg.core.doors import guarded
from thalweg.core.errors import InputError, require
from thalweg.core.memory import require_memory
from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.diagnosis.call import call_of
from thalweg.diagnosis.checkpoint import checkpoint
from thalweg.diagnosis.remembered import begun_in_words, remembered
from thalweg.driver.recorded import run
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics
from thalweg.dynamics.flow.followed import error_asked
from thalweg.dynamics.flow.gradient_flow import MOST_GRADIENTS
from thalweg.dynamics.given_limit import limit_named
from thalweg.dynamics.stability import stated_rule
from thalweg.models import MLP, SpikingModel
from thalweg.models.spiking.surrogates import takes_surrogates
from thalweg.oracles.in_words import as_oracle
from thalweg.oracles.oracle import Oracle
from thalweg.probes.probe import Every
from thalweg.problems import Problem, Supervised
from thalweg.problems.data.reading import what_was_read
from thalweg.problems.in_words import problem as problem_in_words
from thalweg.report import build_index
from thalweg.storage.files import ReadOnlyError, replace, sealed, writing
from thalweg.storage.lock import LOCK, locked, require_own
from thalweg.trajectory import Trajectory
from thalweg.trajectory.provenance import fingerprint

RESUME = "descent.resume"  # what every run folder of ours holds, from the first moment on
CENTRAL = 200  # gradients that the central flow may take for each step of descent
STEP_SIZE = 0.1  # of gradient descent, unless another dynamics is given
STEPS = 1000  # steps, unless a training time is given


@guarded("plot")
@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found, and where it left it.

    Attributes:
        comparison: Regime, reasons, warnings, the table of both paths.
        descent: The trajectory of the discrete dynamics.
        flow: The trajectory of the flow beside it.
        folder: The run folder.
        page: The report; None if the folder is read-only, where finished runs are read back.
        reading: What the problem is: of data rows, features, target, task, loss, and all that was
            not plain.
    """

    comparison: Comparison
    descent: Trajectory
    flow: Trajectory
    folder: Path
    page: Path | None
    reading: str

    def plot(self, what: str = "loss", ax: Any = None, *, panel: str = "") -> Any:
        """Draw a picture of the comparison; see `Comparison.plot`."""
        return self.comparison.plot(what, ax, panel=panel)

    def __str__(self) -> str:
        """The diagnosis as a few lines of text, and where its page is."""
        return "\n".join([str(self.comparison), *self._where()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.comparison.html(self.reading, *self._where())

    def _where(self) -> tuple[str, ...]:
        return () if self.page is None else (f"Page: {self.page}",)


def diagnose(
    problem: Any = "digits",
    dynamics: float | Dynamics | optax.GradientTransformation = STEP_SIZE,
    *,
    optimizer: str | None = None,
    oracle: Oracle | str | None = None,
    limit: str | None = None,
    start: Any = None,
    state: Any = None,
    until: float | None = None,
    records: int = 40,
    seeds: int = 1,
    eps: float = 0.05,
    flow_error: float | None = None,
    flow_solver: str = "auto",
    most_gradients: int = MOST_GRADIENTS,
    smallest_every: int = 1,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: bool | None = None,
) -> Diagnosis:
    """Compare a training with the flow that it discretises, and say what regime it is in.

    Both run from the same initial parameters on the same clock, training time (the sum of step
    sizes). The curvature that decides stability and the smallest Hessian eigenvalue are measured
    along both. The run folder keeps everything; the same call goes on where it was interrupted. Of
    spiking networks, whose gradients are surrogates, no Hessian is measured or judged by.

    Args:
        problem: A `Problem`, of whatever kind; or what `tw.problem` takes alone, as "digits" or a
            path.
        dynamics: How it is trained: a number, the step size of gradient descent; a dynamics in
            steps, as `tw.dynamics.optimiser("adam", 1e-3)`; or an Optax optimiser whose learning
            rate can be read off it.
        optimizer: Instead, an optimiser by its name and numbers, as "adam(0.001)", "kfac" or
            "trust-region(radius=0.5)"; `thalweg list optimisers` has the names.
        oracle: What its steps see of the problem: an oracle, or its name with numbers, as
            "label_noise(0.1)"; all of it by default.
        limit: What steps are held against: first-order, the flow that they follow as their size
            goes to 0 (by default); or second-order, of momentum, nesterov and accelerated the
            equation of a ball with mass, which is closer.
        start: Where to begin, instead of where the problem draws: a run folder or the store of a
            run (.zarr), whose last record is taken, of several seeds with the one behind it, as in
            run.zarr:seed=3; or a file of flat parameters (.npy, or .npz of one array or where it
            is called parameters); in Python parameters as a tree or flat, or a trajectory, too.
        state: What the optimiser remembers there, with which it goes on; nothing by default. A run
            folder or store of the same optimiser; a file .npz of its parts by their names in Optax
            or PyTorch, as count, mu and nu, flat; on the command line my.py:optimizer, too; in
            Python an Optax state, a PyTorch optimiser of the module, or its state_dict().
        until: Training time to stop at; 1000 steps by default.
        records: How many times to measure.
        seeds: How many initialisations to run at once.
        eps: Distance, relative to the way the flow travels, that still counts as following it.
        flow_error: Wanted error of the flow's path, relative to the norm of the parameters; by
            default 1e-4, and 1e-3 for nets with kinks. The report says what came of it.
        flow_solver: auto (the cheapest at each step), rkc2, rkl2x, tsit5, bosh3, dopri5 or dopri8.
        most_gradients: Gradients of a seed after which the flow ends where it is; the comparison
            then stops there, and says so.
        smallest_every: Measure the smallest eigenvalue at every so many records.
        out: The run folder; a name under runs/ by default, of the problem and the dynamics.
        fresh: Start again even if the folder holds another run.
        progress: Show progress; by default a bar on a terminal, elsewhere a few lines.

    Returns:
        The diagnosis. A training that diverges is a verdict, not an error.

    Raises:
        InputError: On any argument that does not fit: one sentence, nothing half-written.

    Examples:
        >>> data = (np.eye(2), np.array([[1.0], [2.0]]))  # half the squared distance, mean of two
        >>> problem = tw.problem(data, model="linear:2")
        >>> found = tw.diagnose(problem, 5.0, until=100.0, records=4, out="run")
        >>> found.comparison.regime, found.page.name
        ('divergent', 'index.html')
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> momentum = tw.dynamics.optimiser("momentum", 0.01)
        >>> tw.diagnose(bowl, momentum, until=10.0, records=8, out="bowl").comparison.name
        'momentum'
    """
    options = {k: v for k, v in locals().items() if k not in ("problem", "dynamics")}
    call = call_of(diagnose, problem, dynamics, options)
    del options["oracle"], options["optimizer"]
    if optimizer is not None:
        require(
            isinstance(dynamics, int | float) and dynamics == STEP_SIZE,
            "both dynamics and optimizer came; give one of them, the learning rate as in "
            'optimizer="adam(0.001)"',
        )
        dynamics = known.optimiser(optimizer)
    if oracle is not None:
        dynamics = known.noisy(_in_steps(dynamics), as_oracle(oracle))
    if not isinstance(problem, Problem):
        problem = problem_in_words(problem)
    return diagnosed(problem, dynamics, call, **options)


def diagnosed(
    problem: Problem,
    dynamics: float | Dynamics | optax.GradientTransformation,
    command: str,
    *,
    limit: str | None,
    start: Any,
    state: Any,
    until: float | None,
    records: int,
    seeds: int,
    eps: float,
    flow_error: float | None,
    flow_solver: str,
    most_gradients: int,
    smallest_every: int,
    out: str | Path | None,
    fresh: bool,
    progress: bool | None,
) -> Diagnosis:
    """`diagnose` of a problem; its page says the command given."""
    require(seeds >= 1, f"seeds came as {seeds}; give at least 1")
    require_positive(eps=eps)
    require(smallest_every >= 1, f"smallest_every came as {smallest_every}; give at least 1")
    begun = checkpoint(problem, start)
    kept = remembered(problem, _in_steps(dynamics), state, start)
    steps, start = limit_named(kept.dynamics, limit), begun.params
    require(
        start is None or seeds == 1 or steps.random,
        f"seeds came as {seeds} with a start, from which {steps.name} takes the same path each "
        "time; give seeds=1, or leave start out",
    )
    require(
        not kept.words or seeds == 1 or start is not None,
        f"seeds came as {seeds} with a state, which belongs to one start; give seeds=1, or the "
        "start",
    )
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    reading = _reading(problem, shapes)
    flow_error = error_asked(problem, flow_error)
    follow = steps.limit(problem, shapes) or known.gradient_flow(error=flow_error)
    if isinstance(follow, known.Flow):
        follow = follow.asked(flow_error, flow_solver, most_gradients)
    # What it refuses it refuses at once.
    memory = jax.eval_shape(lambda params: steps.init(problem, params), shapes).memory
    with np.errstate(over="ignore"):
        until = float(steps.clock(np.array([STEPS]))[0]) if until is None else until
    require_positive(until=until)
    require(records >= 4, f"records came as {records}; give at least 4")
    last = steps.steps_until(until)
    most = min(records, last)
    require_memory(64.0 * most, f"a list of {most} records", "lower the records")
    marks = _marks(last, records)
    require(
        last >= 3 and len(marks) >= 4,
        f"training time {until:g} holds only {last} steps{_of_size(steps)}; "
        "ask for a longer time or a smaller step",
    )
    about = problem.describe()
    identified = {
        "problem": {k: str(v) for k, v in about.items()} | {"digest": identity(problem)},
        "dynamics": steps.describe(),
        "flow": follow.describe(),
        **({} if start is None else {"start": identity(start)}),
        "until": until, "records": records, "seeds": seeds, "eps": eps,
        "smallest_every": smallest_every,
    }  # fmt: skip
    folder = Path("runs") / _folder_name(about, steps, identified) if out is None else Path(out)
    require_own(folder, RESUME)

    times = np.unique(steps.clock(marks))  # a schedule may begin or end with steps of size 0
    every, own = _probes(problem, steps, shapes, smallest_every)
    options: dict[str, Any] = {"seeds": seeds, "progress": progress, "start": start, "fresh": fresh}
    built: Path | None = None
    with locked(folder / LOCK, folder):
        descent = run(
            problem, steps, times=times, probes=[*every, *own], out=folder / "descent.zarr",
            **options,
        )  # fmt: skip
        # Where every descent has diverged there is nothing left to compare, at a high price.
        times = times[: descent.dataset.sizes["time"]]
        # A flow with a preconditioner of its own tells its 1/D as the steps do.
        told = any(hasattr(follow, name) for name in ("step_gains", "gain_root"))
        beside = [*every, *own] if told else every
        flow = run(problem, follow, times=times, probes=beside, out=folder / "flow.zarr", **options)

        def followed() -> Trajectory | None:
            """The central flow, where there is one."""
            central = steps.central(problem, shapes)
            if not isinstance(central, known.CentralFlow):
                return None
            # What a step at the edge may cost, lest a verdict takes longer than the training.
            most = min(most_gradients, CENTRAL * last)
            central = dataclasses.replace(central, most_gradients=jax.numpy.asarray(most))
            return run(
                problem, central, times=times, probes=[probes.loss()],
                out=folder / "central.zarr", **options,
            )  # fmt: skip

        verdict = compare(descent, flow, eps, problem=problem, central=followed)
        where = begun_in_words(
            begun.words, kept.words, verdict.name, follow, bool(jax.tree.leaves(memory)), bool(own)
        )
        if where:
            verdict = dataclasses.replace(verdict, reasons=(where, *verdict.reasons))
        try:
            with writing(folder):
                summary = {
                    "data": reading,
                    "regime": verdict.regime,
                    "flow": verdict.flow,
                    "sentence": verdict.sentence,
                    "reasons": verdict.reasons,
                    "warnings": verdict.warnings,
                    "seeds": {str(s): r for s, r in verdict.regimes.items()},
                    "settings": {k: str(v) for k, v in identified.items()},
                }
                replace(folder / "verdict.json", sealed(summary))
                built = verdict.page(folder, command, reading)
        except ReadOnlyError:  # both runs were finished before: the verdict stands
            pass
    if built is not None:
        build_index(folder.resolve().parent)
    return Diagnosis(verdict, descent, flow, folder, built, reading)


def _in_steps(dynamics: Any) -> Discrete:
    """What is diagnosed, as a discrete dynamics."""
    if isinstance(dynamics, Continuous):
        raise InputError(
            f"dynamics came as {dynamics.name}, which takes no steps; give what is to be compared "
            "with it: a step size, or a dynamics as tw.dynamics.optimiser('adam', 1e-3)"
        )
    if isinstance(dynamics, optax.GradientTransformation):
        return known.optax_dynamics(dynamics)
    return dynamics if isinstance(dynamics, Discrete) else known.gradient_descent(dynamics)


def _reading(problem: Problem, shapes: Params) -> str:
    """What the problem is, in a sentence or two."""
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    if isinstance(problem, Supervised):
        return what_was_read(problem.examples, problem.loss.name)
    named = subject(problem.describe())
    return f"Problem: {named} of {count:,} parameter{'' if count == 1 else 's'}."


def _of_size(steps: Discrete) -> str:
    size = steps.describe().get("step_size")
    return f" of size {size:g}" if isinstance(size, int | float) else f" of {steps.name}"


def _marks(last: int, records: int) -> np.ndarray:
    """Steps to record at: half of them evenly spaced, half denser towards the start.

    Curvature changes fastest at the start, and the theorem integrates it.
    """
    half = max(min(records, last) // 2, 2)
    even = np.linspace(0, last, half + 1)
    early = np.geomspace(1, max(last, 1), half)
    return np.unique(np.round(np.concatenate([even, early])).astype(int))


def _probes(
    problem: Problem, steps: Discrete, shapes: Params, smallest_every: int
) -> tuple[list[Any], list[Any]]:
    """What is measured along both paths, and what along the discrete one alone."""
    both: list[Any] = [probes.loss(), probes.gradient_norm()]
    if not takes_surrogates(problem.objective, shapes):
        both += [probes.sharpness(), Every(probes.smallest_eigenvalue(), smallest_every)]
    if isinstance(getattr(problem, "model", None), SpikingModel):
        both += [probes.firing_rate(), probes.silent_neurons(), probes.surrogate_alive()]
    if getattr(problem, "classification", False):
        both.append(probes.accuracy())
    if isinstance(getattr(problem, "model", None), MLP):
        both.append(probes.singular_values())
        if problem.model.hidden:  # type: ignore[attr-defined]
            both.append(probes.balancedness())
    own = []
    if stated_rule(steps, problem, shapes).eigenvalue == "preconditioned_sharpness":
        own.append(probes.preconditioned_sharpness())
    return both, own


def _folder_name(about: dict[str, Any], steps: Discrete, identified: dict[str, Any]) -> str:
    size = steps.describe().get("step_size")
    words = [Path(subject(about).removeprefix("the function ")).stem, steps.name]
    words += [f"{size:g}"] if isinstance(size, int | float) else []
    stem = "-".join("".join(c if c.isalnum() or c in ".-" else "-" for c in w) for w in words)
    return f"{stem[:60].strip('.-') or 'run'}-{fingerprint(identified)[:8]}"


__all__ = ["Diagnosis", "diagnose"]
