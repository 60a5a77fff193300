"""Races: winners and counts known in closed form, equal budgets, hostile input, resuming."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.counting import counted, marked
from thalweg.core.result import Result
from thalweg.storage.files import ReadOnlyError
from thalweg.sweeps import race_page, raced
from thalweg.sweeps.contestants import contestants, price_of
from thalweg.sweeps.race_page import cost_table, race_curves, race_figure
from thalweg.sweeps.race_result import _beside, _notes_told, _one_of
from thalweg.sweeps.tuning import chosen, first_at, level_with_best, median_error
from thalweg.theory.quadratics.linear_methods import linear_method, modal_trajectory

CURVATURE = np.array([1.0, 9.0])
START = np.array([1.0, 1.0])
GRID = np.geomspace(0.02, 0.4, 8)
BUDGET, GOAL = 30, 1e-2
WORDS = "gd, momentum(momentum=0.25), newton, bfgs"


def bowl() -> tw.problems.Quadratic:
    return tw.problems.Quadratic(CURVATURE, slope=[0.0, 0.0], start=START)


def exact_losses(name: str, rate: float, momentum: float) -> np.ndarray:
    method = linear_method(name, rate, momentum)
    errors = modal_trajectory(method, CURVATURE, START, BUDGET)
    return 0.5 * np.sum(CURVATURE * errors**2, axis=1)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tw.Race:
    return tw.race(
        bowl(), WORDS, grid=GRID, budget=BUDGET, records=BUDGET, seeds=1, goal=GOAL,
        out=tmp_path_factory.mktemp("race") / "bowl", progress=False,
    )  # fmt: skip


def test_curves_are_those_of_the_quadratic_laboratory(found: tw.Race) -> None:
    for name, exact, momentum in (
        ("gd", "gradient-descent", 0.0), ("momentum(momentum=0.25)", "heavy-ball", 0.25),
    ):  # fmt: skip
        row = found.dataset.sel(optimiser=name)
        np.testing.assert_allclose(row["value"].values, GRID)
        for i, rate in enumerate(GRID):
            truth = exact_losses(exact, rate, momentum)
            np.testing.assert_allclose(row["loss"].values[i, 0], truth, rtol=1e-9)
        np.testing.assert_array_equal(row["cost"].values[0, 0], np.arange(BUDGET + 1))


def test_the_tuned_step_is_within_a_grid_step_of_the_best(found: tw.Race) -> None:
    rows = {row["optimiser"]: row for row in found.rows()}
    exact = 2 / CURVATURE.sum()
    best = rows["gd"]["setting"]
    assert abs(np.log(best / exact)) <= np.log(GRID[1] / GRID[0])


def test_the_winner_and_its_gradients_are_those_of_theory(found: tw.Race) -> None:
    told = {}
    for name, exact, momentum in (
        ("gd", "gradient-descent", 0.0), ("momentum(momentum=0.25)", "heavy-ball", 0.25),
    ):  # fmt: skip
        counts = [np.argmax(exact_losses(exact, rate, momentum) <= GOAL) for rate in GRID]
        told[name] = min(count for count in counts if count)
    told["newton"] = 5  # a gradient and two products of two each
    rows = {row["optimiser"]: row for row in found.rows()}
    for name, count in told.items():
        assert rows[name]["to_goal"] == count, name
        assert rows[name]["to_goal_error"] >= 1  # what the records leave open
    assert found.by == "goal"
    order = [row["optimiser"] for row in found.rows() if row["optimiser"] in told]
    assert order == sorted(told, key=lambda name: told[name])
    first = found.rows()[0]
    assert first["to_goal"] == min(row["to_goal"] for row in rows.values())
    assert first["optimiser"] in found.sentence


@pytest.mark.parametrize("name", ["gd", "bfgs"])
def test_equal_budgets_are_spent_counted_independently(found: tw.Race, name: str) -> None:
    """Evaluations are seen in the traced program, not asked of the method."""
    row = found.dataset.sel(optimiser=name)
    at = max(int(row["best"]), 0)
    rate = {"learning_rate": GRID[at]} if name == "gd" else {}
    member = tw.dynamics.optimiser(name, **rate)
    curved = jnp.asarray(CURVATURE)
    seen = tw.problems.Function(marked(lambda w: 0.5 * curved @ w**2), start=jnp.asarray(START))
    step = jax.jit(counted(lambda state: member.step(seen, state, jax.random.key(0))[0]))
    state, spent, history = member.init(seen, jnp.asarray(START)), 0.0, []
    if name == "bfgs":
        spent = 1.0  # the linearisation at the start
    for _ in range(BUDGET + 1):
        history.append((spent, float(0.5 * CURVATURE @ np.asarray(state.params) ** 2)))
        state, evaluations, sight = step(state)
        assert sight.whole
        spent += float(evaluations.gradients) + float(evaluations.values) / 3
        assert float(evaluations.values) == (name == "bfgs")  # the loss of where it stands
    within = [(cost, loss) for cost, loss in history if cost <= BUDGET]
    cost, loss = within[-1]
    assert float(row["cost"].values[at, 0, -1]) == pytest.approx(cost, rel=1e-12)
    assert int(row["steps"].values[at, 0, -1]) == len(within) - 1
    np.testing.assert_allclose(row["loss"].values[at, 0, -1], loss, rtol=1e-9, atol=1e-30)
    if len(within) < len(history):
        assert history[len(within)][0] > BUDGET


def test_a_step_of_newton_costs_a_gradient_and_two_for_each_product(found: tw.Race) -> None:
    row = found.dataset.sel(optimiser="newton").isel(setting=0, seed=0)
    price = 1 + 2 * len(CURVATURE)
    np.testing.assert_array_equal(row["steps"], np.arange(BUDGET + 1) // price)
    np.testing.assert_array_equal(row["cost"], np.arange(BUDGET + 1) // price * price)
    assert (row["loss"].values[price:] < 1e-28).all()
    assert (row["loss"].values[:price] == 5.0).all()


def test_it_is_shown(found: tw.Race) -> None:
    assert found.page is not None
    text = found.page.read_text(encoding="utf-8")
    for row in found.rows():
        assert row["optimiser"] in text
    assert "What each costs" in text
    assert "gradients to goal" in text
    assert found.sentence in str(found)
    assert "Race" in found._repr_html_()
    axes = found.plot()
    assert [axis.get_xlabel() for axis in axes] == ["gradients spent", "CPU seconds"]


def test_a_loss_of_zero_but_for_rounding_stays_on_a_logarithmic_axis(found: tw.Race) -> None:
    drawn = race_curves(found)["loss"]
    assert float(drawn.min()) == np.finfo(float).eps * 5.0  # Newton's, in place of less than 1e-28
    figure = race_figure(found)
    assert all(panel.y_log for panel in figure.panels)
    assert "rounding" in figure.caption


def test_what_is_there_is_not_run_again(
    found: tw.Race, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, followed, stop = tmp_path / "race", [], ["newton"]
    real = raced._followed

    def watched(problem: Any, each: Any, *rest: Any) -> Any:
        if each.name in stop:
            raise KeyboardInterrupt
        followed.append(each.name)
        return real(problem, each, *rest)

    monkeypatch.setattr(raced, "_followed", watched)
    told: dict[str, Any] = {
        "grid": GRID, "budget": BUDGET, "records": BUDGET, "seeds": 1, "goal": GOAL, "out": folder,
        "progress": False,
    }  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        tw.race(bowl(), WORDS, **told)
    assert followed == ["gd", "momentum(momentum=0.25)"]
    assert not (folder / "index.html").exists()
    half = next(folder.glob("race-*.zarr"))
    half.rename(half.with_suffix(".unfinished"))  # as one that was killed while it was written
    stop.clear()
    followed.clear()
    again = tw.race(bowl(), WORDS, **told)
    assert len(followed) == 3
    for name in ("loss", "cost", "steps"):
        np.testing.assert_array_equal(again.dataset[name], found.dataset[name])
    followed.clear()
    third = tw.race(bowl(), WORDS, **told)
    assert followed == []
    assert str(third) == str(again)
    with pytest.raises(tw.InputError, match="holds another race"):
        tw.race(bowl(), "gd", **told | {"budget": 40})
    tw.race(bowl(), "gd", **told | {"fresh": True, "grid": [0.2]})
    assert followed == ["gd"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(tw.InputError, match="in use for other things"):
        tw.race(bowl(), "gd", **told | {"out": tmp_path / "mine"})


@pytest.mark.parametrize("harm", ["flipped", "short", "lost"])
def test_a_damaged_result_is_told_with_what_to_do_and_raced_again(
    tmp_path: Path, harm: str
) -> None:
    told: dict[str, Any] = {
        "grid": [0.1, 0.2], "budget": 10, "records": 5, "seeds": 1, "out": tmp_path / "race",
        "progress": False,
    }  # fmt: skip
    first = tw.race(bowl(), "gd, momentum", **told)
    store = sorted((tmp_path / "race").glob("race-*.zarr"))[0]
    chunk = next(file for file in (store / "loss" / "c").rglob("*") if file.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    match harm:
        case "flipped":
            chunk.write_bytes(content)
        case "short":
            chunk.write_bytes(content[:-3])
        case _:
            chunk.unlink()
    with pytest.raises(tw.InputError, match=f"damaged.*{chunk.name}.*delete .*{store.name}"):
        tw.race(bowl(), "gd, momentum", **told)
    shutil.rmtree(store)  # as it says
    again = tw.race(bowl(), "gd, momentum", **told)
    np.testing.assert_array_equal(again.dataset["loss"], first.dataset["loss"])


def test_a_finished_race_on_a_read_only_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {
        "grid": [0.1, 0.2], "budget": 10, "records": 5, "seeds": 1, "out": tmp_path / "race",
        "progress": False,
    }  # fmt: skip
    first = tw.race(bowl(), "gd", **told)

    def refuses(*_: Any) -> None:
        raise ReadOnlyError("the file system is read-only")

    monkeypatch.setattr(race_page, "save_dataset", refuses)
    again = tw.race(bowl(), "gd", **told)
    assert (again.page, again.sentence) == (None, first.sentence)


def test_divergence_is_a_result() -> None:
    lost = tw.race(
        bowl(), ["gd", tw.gradient_descent(0.2)], grid=[5.0, 1e3], budget=1000, records=20, seeds=1,
        progress=False,
    )  # fmt: skip
    rows = {row["optimiser"]: row for row in lost.rows()}
    assert rows["gd"]["final_loss"] == np.inf
    assert rows["gd"]["diverged"] == 2
    assert any("diverges at every learning rate" in note for note in rows["gd"]["notes"])
    assert lost.rows()[0]["optimiser"] == "gradient descent"
    codes = lost.dataset["result"].sel(optimiser="gd").values
    assert (codes[:, 0, -1] == int(Result.NONFINITE)).all()
    assert (codes[:, 0, 0] == int(Result.OK)).all()
    assert "diverge" in str(lost)


class Steep(tw.problems.Problem):
    """x^4/4, on which descent of step size h diverges from where h x^2 > 2."""

    def init(self, key: jax.Array) -> jax.Array:
        return 20 * jax.random.uniform(key)

    def objective(self, params: jax.Array) -> jax.Array:
        return params**4 / 4


def test_what_diverges_for_some_seeds_is_not_said_to_diverge_for_all() -> None:
    lost = tw.race(Steep(), "gd", grid=[0.02, 0.05], budget=30, seeds=5, progress=False)
    row = lost.rows()[0]
    begun = (4 * lost.dataset["loss"].values[0, :, :, 0]) ** 0.5
    gone = np.array([[0.02], [0.05]]) * begun > 2
    assert row["diverged"] == gone.sum()
    assert gone.any(axis=1).all()
    assert not gone.all()
    assert any("at every learning rate for some seed" in note for note in row["notes"])
    assert "every optimiser diverges for some seed at each setting" in lost.sentence
    assert "which there is none of" in cost_table(lost).caption


def test_ties_and_edges_are_told() -> None:
    """With one curvature both 0.5 and 1.5 halve the error a step."""
    one = tw.problems.Quadratic([1.0], slope=[0.0], start=[1.0])
    tied = tw.race(one, "gd", grid=[0.5, 1.5, 1.9], budget=10, seeds=1, progress=False).rows()[0]
    assert tied["setting"] == 0.5
    assert any("1.5 would do as well" in note for note in tied["notes"])
    assert any("edge of the grid" in note and "widen" in note for note in tied["notes"])
    best = chosen(np.array([[3.0, 3.2], [1.0, 1.15], [1.1, 0.9], [np.inf, 1.0]]))
    assert (best.place, best.edge, best.ties) == (2, "", (1,))
    assert best.score[3] == np.inf
    assert chosen(np.array([[2.0], [1.0]])).edge == "upper"
    assert chosen(np.array([[2.0]])).edge == ""
    assert chosen(np.full((2, 2), np.nan)).place == -1


def test_who_could_not_pay_a_step_is_said_to_stand_at_the_start() -> None:
    """Two line searches and two gradients a step are more than 1; edges and ties are of nobody."""
    one = tw.problems.Quadratic([1.0], slope=[0.0], start=[1.0])
    row = tw.race(one, "agmsdr", budget=1, seeds=1, progress=False).rows()[0]
    assert row["notes"] == ("took no step: its first costs more than the budget of 1",)
    assert row["final_loss"] == 0.5


def test_what_many_have_in_common_is_said_once() -> None:
    row = {"score": 1.0, "level": True, "notes": ("widen",), "seconds_to_goal": np.inf, "trials": 1}
    names = ["a", "b", "c", "d", "e", "f"]
    assert _notes_told([row | {"optimiser": name} for name in names]) == [
        "a, b, c, d, e, f: widen."
    ]
    own = [row | {"optimiser": name, "notes": (f"{name}0 does as well",)} for name in [*names, "g"]]
    assert len(_notes_told(own)) == 1
    assert _beside(names) == ", not told apart from a, b, c and 3 others"
    assert _beside(names[:2]) == ", not told apart from a and b"
    assert _beside(names[:1]) == ", not told apart from a"
    assert _beside([]) == ""
    assert _one_of([1.5]) == "1.5"
    assert _one_of([3.16, 10.0]) == "3.16 or 10"
    assert _one_of([0.1, 1.0, 10.0, 20.0, 30.0]) == "0.1, 1, 10 or 2 others"


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_equals_are_told_apart_once_in_twenty(seeds: int) -> None:
    """Races of two, of one normal law; and the error of a median is its spread."""
    losses = np.random.default_rng(0).normal(size=(2000, 2, seeds))
    score, error = np.median(losses, axis=2), median_error(losses)
    level = [level_with_best(s, e, seeds).all() for s, e in zip(score, error, strict=True)]
    assert 0.94 <= np.mean(level) <= 0.99
    spread = np.sqrt(np.mean(error**2))
    assert 0.98 * score.std() <= spread <= 1.3 * score.std()
    far = level_with_best(np.array([0.0, 100.0, np.inf]), np.array([1.0, 1.0, np.inf]), seeds)
    assert far.tolist() == [True, False, False]


def test_the_first_record_at_a_goal() -> None:
    loss = np.array([[4.0, 2.0, 1.0, 1.0], [4.0, np.inf, np.nan, np.nan]])
    cost = np.array([[0.0, 3.0, 7.0, 9.0]] * 2)
    at, error = first_at(loss, cost, 1.0)
    assert at.tolist() == [7.0, np.inf]
    assert error.tolist() == [4.0, np.inf]


@pytest.mark.thorough
def test_a_batch_costs_its_share() -> None:
    data = (np.arange(20.0).reshape(10, 2) / 10, np.ones((10, 1)))
    problem = tw.problems.supervised(tw.models.linear([]), data)
    assert price_of(tw.gradient_descent(0.1), problem) == 1
    assert price_of(tw.gradient_descent(0.1, tw.oracles.minibatch(2)), problem) == 0.2
    run = tw.race(
        problem, "gd(0.1)", budget=6, records=6, seeds=2, oracle="minibatch(2)", progress=False
    )
    assert (run.dataset["steps"].values[0, 0, :, -1] == 30).all()
    beside = tw.run(
        problem, tw.gradient_descent(0.1, tw.oracles.minibatch(2)), until=3.0, records=6, seeds=2
    )
    np.testing.assert_allclose(
        run.dataset["loss"].values[0, 0], beside.dataset["loss"].values, rtol=1e-9
    )


@pytest.mark.thorough
def test_corrected_batches_race_by_name_at_what_they_cost() -> None:
    """In gradients of the whole of 10 examples; weight decay about them changes nothing."""
    data = (np.arange(20.0).reshape(10, 2) / 10, np.ones((10, 1)))
    plain = tw.problems.supervised(tw.models.linear([]), data)
    for problem in (plain, tw.problems.Decayed(plain, 0.1)):
        found = contestants("svrg, sarah(0.1), saga, spider(period=4, reference=8)", problem, [0.1], "minibatch(2)", 50.0)  # fmt: skip # noqa: E501
        prices = {each.name: price_of(each.members[0], problem) for each in found}
        assert prices == {
            "svrg": 0.5, "sarah(0.1)": 0.5, "saga": 0.4, "spider(period=4, reference=8)": 0.6,
        }  # fmt: skip
        assert [each.tuned for each in found] == ["learning_rate", "", *["learning_rate"] * 2]
    bowl = tw.problems.Quadratic([1.0, 9.0], slope=[0.0, 0.0], start=[1.0, 1.0])
    assert "no examples to draw" in contestants("gd, svrg", bowl, [0.1], None, 9.0)[1].refused
    noisy = contestants("gd, saga", plain, [0.1], "label_noise(0.1)", 9.0)[1]
    assert "draws batches of its own" in noisy.refused


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimisers": "gd, gdd"}, "unknown optimiser 'gdd'"),
        ({"optimisers": "gd, gd"}, "gd comes twice"),
        ({"optimisers": ""}, "cannot be read"),
        ({"optimisers": []}, "give names"),
        ({"optimisers": 3}, "optimisers came as 3"),
        ({"optimisers": ["all", "gd"]}, '"all" came beside other optimisers'),
        ({"optimisers": "newton(0.1)"}, "newton has no learning rate"),
        ({"optimisers": "kfac"}, "none of the optimisers can take part: kfac: "),
        (
            {"optimisers": "newton", "budget": 4},
            "2 Hessian products, 5 gradients in all",
        ),
        ({"grid": "1:2"}, "grid= came as '1:2'"),
        ({"grid": [0.1, 0.1]}, "different positive numbers"),
        ({"grid": [-1.0]}, "different positive numbers"),
        ({"grid": []}, "different positive numbers"),
        ({"grid": {"a": 1}}, "different positive numbers"),
        ({"budget": 0.5}, "budget came as 0.5"),
        ({"budget": float("nan")}, "budget came as nan"),
        ({"records": 1}, "records came as 1"),
        ({"seeds": 0}, "seeds came as 0"),
        ({"goal": float("nan")}, "goal came as nan"),
        ({"by": "luck"}, "give final or goal"),
        ({"oracle": "noise"}, "unknown oracle 'noise'"),
    ],
)
def test_bad_input_is_one_sentence(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    told: dict[str, Any] = {"optimisers": "gd", "out": tmp_path / "run"}
    with pytest.raises(tw.InputError) as caught:
        tw.race(bowl(), **told | given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
