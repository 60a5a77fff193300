"""A diagnosis of what people have: any problem, any optimiser, any start; and its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.report import read_page

CURVATURES = np.array([1.0, 4.0])


def bowl() -> tw.problems.Function:
    """1/2 sum of c x^2, of known paths."""

    def half_a_square(x: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum(jnp.asarray(CURVATURES) * x**2)

    return tw.problems.Function(half_a_square, start=jnp.array([3.0, -1.0]))


def found(problem: Any, dynamics: Any = 0.1, **options: Any) -> tw.Diagnosis:
    return tw.diagnose(problem, dynamics, **({"records": 6, "out": Path("mine")} | options))


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.thorough
def test_a_function_is_followed_as_its_closed_form_says() -> None:
    done = found(bowl(), 0.1, until=2.0, flow_error=1e-8)
    start, end = np.array([3.0, -1.0]), 2.0
    euler, exact = start * (1 - 0.1 * CURVATURES) ** 20, start * np.exp(-end * CURVATURES)
    last = done.comparison.dataset.isel(time=-1, seed=0)
    assert float(last["distance"]) == pytest.approx(np.linalg.norm(euler - exact), abs=1e-6)
    assert float(last["descent_sharpness"]) == pytest.approx(4.0)
    page = read_page(done.folder)
    assert page.question == (
        "Does gradient descent with step size 0.1 follow gradient flow on the function "
        "half_a_square?"
    )
    assert done.reading == "Problem: the function half_a_square of 2 parameters."
    assert "accuracy" not in done.descent.dataset
    assert [figure.name for figure in page.figures] == ["loss", "distance", "curvature", "solver"]


@pytest.mark.thorough
def test_the_special_case_is_the_general_one() -> None:
    """A number, the dynamics of that number, and run and compare by hand give the same."""
    problem = bowl()
    done = found(problem, 0.1, until=2.0)
    named = found(problem, tw.gradient_descent(0.1), until=2.0, out=Path("named"))
    times = done.descent.dataset["time"].values
    measured = ["sharpness", "smallest_eigenvalue", "gradient_norm"]
    steps = tw.run(problem, tw.gradient_descent(0.1), times=times, probes=measured)
    flow = tw.run(problem, tw.gradient_flow(error=1e-4), times=times, probes=measured)
    by_hand = tw.compare(steps, flow, problem=problem)
    for other in (named.comparison, by_hand):
        assert other.regime == done.comparison.regime
        assert other.reasons == done.comparison.reasons
        np.testing.assert_array_equal(
            other.dataset["distance"], done.comparison.dataset["distance"]
        )
    index = by_hand.page("hand")
    assert index.is_file()
    assert read_page("hand").numbers == read_page(done.folder).numbers
    assert read_page("hand").figures == read_page(done.folder).figures


def test_momentum_is_beside_gradient_flow_on_its_own_clock() -> None:
    """Heavy ball: x_{k+1} = x_k - lr c x_k + beta (x_k - x_{k-1}), at time k lr/(1 - beta)."""
    rate, beta = 0.0002, 0.9
    ball = tw.dynamics.optimiser("momentum", rate, momentum=beta)
    done = found(bowl(), ball, until=2.0, flow_error=1e-8)
    before, here = (np.array([3.0, -1.0]),) * 2
    for _ in range(1000):
        before, here = here, here - rate * CURVATURES * here + beta * (here - before)
    exact = np.array([3.0, -1.0]) * np.exp(-2.0 * CURVATURES)
    last = done.comparison.dataset.isel(time=-1, seed=0)
    assert float(last["distance"]) == pytest.approx(np.linalg.norm(here - exact), abs=1e-6)
    assert done.comparison.rule.threshold == pytest.approx(2 * (1 + beta) / rate)
    assert done.comparison.regime == "on the flow"
    page = json.dumps(read_page(done.folder).to_json(), ensure_ascii=False)
    assert "radient descent of" not in page
    assert "Momentum follows gradient flow at learning rate 0.0002" in page
    assert "Does momentum with learning rate 0.0002 follow gradient flow" in page
    assert "step k of momentum is drawn at training time 0.002 k" in page
    assert "Distance from gradient flow at equal time (a step counts 0.002): at most" in page
    verdict = json.loads((done.folder / "verdict.json").read_text())
    assert (verdict["regime"], verdict["flow"]) == ("on the flow", "gradient flow")


@pytest.mark.thorough
def test_adam_is_judged_by_its_own_sharpness() -> None:
    problem = tw.problem("digits", samples=40, model="mlp:4")
    done = found(problem, tw.dynamics.optimiser("adam", 0.02, b2=0.99), until=2.0, records=8)
    assert done.comparison.rule.eigenvalue == "preconditioned_sharpness"
    table = done.comparison.dataset
    known = table["descent_preconditioned_sharpness"].values
    assert np.isfinite(known).any()
    np.testing.assert_allclose(
        table["descent_stability"], known / done.comparison.rule.threshold, rtol=1e-12
    )
    page = read_page(done.folder)
    labels = [number.label for number in page.numbers]
    assert "largest preconditioned sharpness of Adam" in labels
    assert "largest sharpness of Adam" in labels
    assert page.title.startswith("Adam against ")
    assert all(len(number.help) > 40 for number in page.numbers)
    (curvature,) = [figure for figure in page.figures if figure.name == "curvature"]
    assert len(curvature.panels) == 3


@pytest.mark.thorough
def test_what_has_no_rule_has_a_page_without_a_threshold() -> None:
    done = found(bowl(), tw.dynamics.optimiser("sign", 0.01), until=0.5)
    page = read_page(done.folder)
    assert done.comparison.apart
    assert "largest distance at equal loss" in [number.label for number in page.numbers]
    assert page.question.startswith("Does sign descent with learning rate 0.01 go the way of")
    assert all(len(number.help) > 40 for number in page.numbers)
    assert not any(number.label.startswith("threshold") for number in page.numbers)
    assert "No stability rule is known for sign descent" in " ".join(page.paragraphs)


@pytest.mark.thorough
def test_an_optax_transformation_is_taken_as_run_takes_it() -> None:
    transform = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    done = found(bowl(), transform, until=2.0)
    plain = found(bowl(), 0.1, until=2.0, out=Path("plain"))
    np.testing.assert_allclose(
        done.comparison.dataset["distance"], plain.comparison.dataset["distance"], rtol=1e-12
    )


# ---- where it starts ----------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_checkpoint_is_where_both_begin() -> None:
    problem = tw.problem(
        (np.array([[1.0], [2.0], [-1.0]]), np.array([[1.0, 0.0], [2.0, 1.0], [0.0, -1.0]])),
        model="linear:2",
    )
    first = tw.run(problem, tw.gradient_descent(0.1), until=1.0, records=2)
    flat = first.parameters.isel(seed=0, time=-1).values
    tree = tw.problems.problem.unraveller(problem)(jnp.asarray(flat))
    np.savez("flat.npz", flat)
    np.save("flat.npy", flat)
    tw.run(problem, tw.gradient_descent(0.1), until=1.0, records=2, out="stored.zarr")
    starts = {"tree": tree, "flat": flat, "run": first, "npz": "flat.npz", "npy": "flat.npy"}
    starts |= {"stored": Path("stored.zarr")}
    done = {k: found(problem, start=s, until=1.0, out=Path(k)) for k, s in starts.items()}
    for each in done.values():
        for run in (each.descent, each.flow):
            np.testing.assert_array_equal(run.parameters.isel(seed=0, time=0), flat)
    assert len({each.comparison.sentence for each in done.values()}) == 1
    (losses,) = {float(each.comparison.dataset["descent_loss"][0, 0]) for each in done.values()}
    assert losses == pytest.approx(float(first.dataset["loss"][0, -1]), rel=1e-14)


def stored_seeds() -> tw.Trajectory:
    """A run of two seeds from other starts, kept at several.zarr."""

    class Drawn(type(bowl())):  # type: ignore[misc]
        def init(self, key: Any) -> jax.Array:
            return jax.random.normal(key, (2,))

    problem = Drawn(bowl().function, jnp.ones(2))
    return tw.run(problem, tw.gradient_descent(0.1), until=1.0, records=2, seeds=[4, 7],
                  out="several.zarr")  # fmt: skip


@pytest.mark.thorough
def test_one_of_several_seeds_is_chosen_and_the_page_says_which() -> None:
    kept = stored_seeds()
    done = found(bowl(), 0.1, start="several.zarr:seed=7", until=1.0)
    wanted = kept.parameters.sel(seed=7).isel(time=-1)
    np.testing.assert_array_equal(done.flow.parameters.isel(seed=0, time=0), wanted)
    told = "Both begin at the last record (training time 1) of several.zarr, seed 7, not where the"
    assert told in str(done.comparison)
    assert told in " ".join(read_page(done.folder).paragraphs)
    assert told in (done.folder / "verdict.json").read_text()
    assert "start='several.zarr:seed=7'" in read_page(done.folder).command
    ball = tw.dynamics.optimiser("momentum", 0.01)
    again = found(bowl(), ball, start="mine", until=1.0, out=Path("again"))  # a run folder
    np.testing.assert_array_equal(
        again.descent.parameters.isel(time=0), done.descent.parameters.isel(time=-1)
    )
    assert "of mine/descent.zarr, seed 0, not" in str(again)
    assert "What momentum remembers of earlier steps begins anew there." in str(again)
    assert "of this restart" not in str(
        again
    )  # what a threshold is held against does not hang on it
    assert "begins anew" not in str(done)
    assert "Both begin" not in str(found(bowl(), 0.1, until=1.0, out=Path("drawn")))


@pytest.mark.slow
def test_a_restart_of_averages_is_told_where_the_first_records_show_it() -> None:
    """At the end of a descent gradients are small, and Adam divides by no others."""
    bent = tw.problems.Function(
        lambda x: jnp.sum((x**2 - 1) ** 2), start=jnp.array([0.999, -1.001])
    )
    adam = tw.dynamics.optimiser("adam", 0.01)
    done = found(bent, adam, start=jnp.array([0.9999, -1.0001]), until=0.1)
    first = done.descent.dataset["preconditioned_sharpness"].values[0, 0]
    assert first > 3800  # a run that came from afar holds squares of larger gradients
    told = (
        "preconditioned sharpness of the first records, and what is said of its threshold there, "
    )
    assert told + "is that of this restart" in str(done)
    assert told in " ".join(read_page(done.folder).paragraphs)
    drawn = found(bent, adam, until=0.1, out=Path("drawn"))
    assert "restart" not in str(drawn)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("several.zarr", r"holds 2 seeds \(4, 7\); choose one of them, as several.zarr:seed=7"),
        ("several.zarr:seed=3", "has no seed '3'; it has 4, 7"),
        ("several.zarr:seed=", "holds 2 seeds"),
        ("flat.npy:seed=3", "only a run"),
        ("lost.npy", "1 parameters are not finite"),
        (None, r"start holds 2 seeds .*parameters.sel\(seed="),
    ],
)
def test_which_seed_is_asked_in_a_sentence(start: str | None, words: str) -> None:
    kept = stored_seeds()
    np.save("lost.npy", np.array([np.nan, 1.0]))
    with pytest.raises(tw.InputError, match=words):
        found(bowl(), 0.1, start=kept if start is None else start, until=1.0)
    assert not Path("mine").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": np.ones(3)}, "the problem has 2 parameters"),
        ({"start": np.ones(2, complex)}, "real numbers"),
        ({"start": {"x": np.ones(2)}}, "give parameters as problem.init does"),
        ({"start": np.ones(2), "seeds": 2}, "seeds came as 2 with a start"),
        ({"dynamics": tw.gradient_flow(1e-3)}, "gradient flow, which takes no steps"),
        ({"dynamics": optax.adam(1e-3)}, "give it as step_size"),
        ({"dynamics": "adam"}, "dynamics came as the text 'adam'"),
        ({"oracle": "adam"}, "oracle='adam': unknown oracle 'adam'"),
        ({"oracle": "single", "dynamics": tw.gradient_flow(1e-3)}, "which takes no steps"),
        ({"oracle": "single"}, "no examples to draw batches"),
        ({"dynamics": tw.dynamics.optimiser("sgd", 0.1, batch=2)}, "no examples to draw batches"),
        ({"problem": 3}, "give a data frame"),
        ({"problem": "digitz"}, "'digits'"),
        ({"records": 4, "until": 0.1}, "holds only 1 steps of size 0.1"),
    ],
)
def test_what_does_not_fit_is_one_sentence(options: dict[str, Any], words: str) -> None:
    given = {"problem": bowl(), "dynamics": 0.1, "until": 1.0} | options
    with pytest.raises(tw.InputError, match=words) as caught:
        found(given.pop("problem"), given.pop("dynamics"), **given)
    assert "\n" not in str(caught.value)
    assert list(Path().iterdir()) == []


@pytest.mark.thorough
def test_random_steps_may_start_at_one_point_with_several_seeds() -> None:
    data = (np.arange(6.0)[:, None], np.arange(6.0)[:, None] / 3)
    problem = tw.problem(data, model="linear:", standardize=False)
    noisy = tw.dynamics.optimiser("sgd", 0.01, batch=2)
    start = problem.init(jax.random.key(7))
    done = found(problem, noisy, start=start, seeds=2, until=0.2)
    ends = done.descent.parameters.isel(time=-1).values
    assert not np.array_equal(*ends)
    # The same noise said beside the dynamics, in words or as an oracle.
    for oracle in ("minibatch(2)", tw.oracles.minibatch(2)):
        again = found(problem, 0.01, oracle=oracle, start=start, seeds=2, until=0.2, out="other")
        np.testing.assert_array_equal(again.descent.parameters.isel(time=-1).values, ends)
    told = read_page(again.folder).command
    assert "oracle = ...  # mini-batches" in told
    assert "tw.diagnose(problem, 0.01, oracle=oracle, start=start" in told


# ---- what a folder stands for -------------------------------------------------------------------


class Reached(BaseException):
    """All arguments were accepted; the work would begin."""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Where a diagnosis would be kept."""

    def reached(*_: Any, out: Path, **__: Any) -> None:
        raise Reached(out.parent)

    monkeypatch.setattr("thalweg.diagnosis.diagnosis.run", reached)

    def folder(problem: Any, dynamics: Any = 0.1, **options: Any) -> Path:
        with pytest.raises(Reached) as caught:
            found(problem, dynamics, out=None, until=1.0, **options)
        return caught.value.args[0]

    return folder


def test_a_changed_problem_or_dynamics_gets_another_folder(place: Callable[..., Path]) -> None:
    def steeper(scale: float) -> tw.problems.Function:
        return tw.problems.Function(lambda x: scale * jnp.sum(x**2), start=jnp.ones(2))

    folders = [
        place(steeper(1.0)),
        place(steeper(1.5)),
        place(tw.problems.Function(steeper(1.0).function, start=2 * jnp.ones(2))),
        place(steeper(1.0), 0.2),
        place(steeper(1.0), tw.dynamics.optimiser("momentum", 0.01)),
        place(steeper(1.0), tw.dynamics.optimiser("momentum", 0.01, momentum=0.8)),
        place(steeper(1.0), start=3 * jnp.ones(2)),
    ]
    assert len(set(folders)) == len(folders)
    assert place(steeper(1.0)) == folders[0]
    assert all(folder.parent == Path("runs") for folder in folders)
    assert folders[3].name.startswith("a-function-gradient-descent-0.2-")


@pytest.mark.thorough
def test_the_page_says_the_call_that_makes_it_again() -> None:
    done = found(bowl(), tw.dynamics.optimiser("momentum", 0.01), until=1.0, eps=0.1)
    told = read_page(done.folder).command
    assert told.startswith("import thalweg as tw")
    assert "problem = ...  # the function half_a_square" in told
    assert "tw.diagnose(problem, dynamics, until=1.0, records=6, eps=0.1, out='mine')" in told
    compile(told, "page", "exec")


# ---- words --------------------------------------------------------------------------------------


def test_words_and_objects_make_the_same_problem() -> None:
    said = tw.problem("digits", samples=20, model="mlp:4", activation="gelu")
    data = tw.problems.read_data("digits", samples=20)
    model = tw.models.mlp([4], "gelu")
    made = tw.problem(data, model=model, loss=lambda y, t: jnp.sum((y - t) ** 2))
    np.testing.assert_array_equal(said.inputs, made.inputs)
    assert isinstance(made.model, tw.models.MLP)
    assert (made.model.hidden, made.model.activation) == ((4,), "gelu")
    params = said.init(jax.random.key(0))
    gaps = jnp.sum((made.outputs(params) - made.targets) ** 2, axis=1)
    assert float(made.objective(params)) == pytest.approx(float(jnp.mean(gaps)))
    assert said.examples.classes == data.classes
    np.testing.assert_array_equal(said.examples.targets, data.targets)
    assert dict(said.examples.description) == {**data.description, "name": "digits"}


def test_images_are_flat_or_not_as_the_network_takes_them() -> None:
    assert tw.problem("digits", samples=20, model="conv:2k3").inputs.shape == (20, 1, 8, 8)
    flat = eqx.nn.MLP(64, 10, 8, 1, key=jax.random.key(0))
    assert tw.problem("digits", samples=20, model=flat).inputs.shape == (20, 64)
    conv = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 2, 8, key=jax.random.key(0)),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(2, 10, key=jax.random.key(1)),
        ]
    )
    assert tw.problem("digits", samples=20, model=conv).inputs.shape == (20, 1, 8, 8)
    with pytest.raises(tw.InputError, match="activation= came beside a model that is made"):
        tw.problem("digits", model=flat, activation="relu")
    with pytest.raises(tw.InputError, match="these examples are ready"):
        tw.problem(tw.problems.read_data("digits", samples=20), task="regression")
