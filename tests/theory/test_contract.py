"""What holds for every prediction: the table is walked, each held against the run it is about."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

import jax
import numpy as np
import pytest

import thalweg as tw
from thalweg import theory
from thalweg.theory.examples import PREDICTIONS, Example
from thalweg.theory.prediction import KINDS, Prediction


@cache
def example(name: str) -> Example:
    return PREDICTIONS[name]()


def judged(kind: str, measured: np.ndarray, predicted: np.ndarray, error: float) -> bool:
    """Whether measured values are to their prediction as its kind says, where it is finite."""
    asked = np.isfinite(predicted)
    m, p = measured[asked], predicted[asked]
    slack = error * np.maximum(np.abs(p), np.abs(m))
    if kind == "upper":
        return bool(np.all(m <= p + slack))
    if kind == "lower":
        return bool(np.all(m >= p - slack))
    if kind == "asymptotic":  # at the last time, the nearest to the limit
        m, p, slack = m[-1:], p[-1:], slack[-1:]
    return bool(np.all(np.abs(m - p) <= slack))


def test_the_judge_has_teeth() -> None:
    values = np.array([3.0, 2.0, 1.0])
    for kind, wrong in {"upper": 0.9, "lower": 1.1, "exact": 1.1, "asymptotic": 1.1}.items():
        assert judged(kind, values, values, 1e-9)
        assert not judged(kind, values, wrong * values, 1e-9)
    assert judged("upper", values, 2 * values, 0.0)
    assert judged("asymptotic", values, np.array([np.inf, 9.0, 1.0]), 0.0)


@pytest.mark.parametrize("name", PREDICTIONS)
class TestPredictions:
    def test_says_what_it_is_and_when_it_holds(self, name: str) -> None:
        prediction = example(name).prediction
        assert prediction.kind in KINDS
        for words in (prediction.name, prediction.unit, prediction.holds, prediction.source):
            assert words.strip()
        units = {maker().name: maker().unit for maker in tw.probes.PROBES.values()}
        if prediction.name in units and prediction.name != "component_norms":
            assert prediction.unit == units[prediction.name]

    def test_maps_times_to_values(self, name: str) -> None:
        """The first axis is that of time; one time alone is that time among others."""
        prediction, times = example(name).prediction, example(name).times
        together = np.asarray(prediction.at(times))
        assert together.shape[0] == len(times)
        assert not np.any(np.isnan(together[1:]))
        for at, time in enumerate(times[1:], start=1):
            alone = np.asarray(prediction.at([time]))
            np.testing.assert_allclose(alone[0], together[at], rtol=1e-12)

    def test_holds_of_its_run(self, name: str) -> None:
        found = example(name)
        if found.problem is None:
            assert found.prediction.kind in ("asymptotic", "indicative")
            return
        flow = found.step_size is None
        dynamics = tw.gradient_flow(1e-9) if flow else tw.gradient_descent(found.step_size)
        seen = tw.problems.Function(lambda p: found.problem.objective(p), start=found.start)
        run = tw.run(seen, dynamics, times=found.times, progress=False)
        time = run.dataset["time"].values
        np.testing.assert_allclose(time, found.times, rtol=1e-12, atol=1e-12)
        _, structure = jax.tree.flatten(found.start)
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(found.start)]
        measured = []
        for record, t in enumerate(time):
            row = np.asarray(run.parameters.values[0, record])
            sizes = np.cumsum([int(np.prod(s)) for s in shapes])[:-1]
            leaves = [p.reshape(s) for p, s in zip(np.split(row, sizes), shapes, strict=True)]
            params = jax.tree.unflatten(structure, [jax.numpy.asarray(p) for p in leaves])
            measured.append(float(found.measured(found.problem, params, t)))
        values, predicted = np.array(measured), np.asarray(found.prediction.at(found.times))
        assert np.all(np.isfinite(values))
        assert np.sum(np.isfinite(predicted)) > len(time) / 2
        assert judged(found.prediction.kind, values, predicted, found.error)


def makers() -> set[str]:
    """Functions and methods of theory that make a prediction, or several."""
    found = set()
    for module in pkgutil.walk_packages(theory.__path__, "thalweg.theory."):
        if module.ispkg or module.name.endswith((".prediction", ".examples")):
            continue
        loaded = importlib.import_module(module.name)
        short = module.name.rpartition(".")[2]
        for name, thing in vars(loaded).items():
            if getattr(thing, "__module__", None) != module.name or name.startswith("_"):
                continue
            members = vars(thing).items() if inspect.isclass(thing) else [("", thing)]
            for member, function in members:
                if inspect.isfunction(function):
                    made = inspect.get_annotations(function).get("return", "")
                    if "Prediction" in str(made).replace("PredictionE", ""):
                        found.add(".".join(filter(None, (short, name, member))))
    return found


def test_every_prediction_is_in_the_table() -> None:
    assert Prediction._fields[0] == "name"
    assert len(makers()) > 8
    assert makers() == {name.partition(":")[0] for name in PREDICTIONS}
