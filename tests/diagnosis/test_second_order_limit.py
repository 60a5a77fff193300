"""A diagnosis that is asked for the equation of second order holds momentum against it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.dynamics.given_limit import second_order

BOWL = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))


def diagnosed(tmp_path: Path, limit: str | None) -> tw.Diagnosis:
    options = {"until": 10.0, "records": 8, "progress": False, "out": tmp_path / str(limit)}
    return tw.diagnose(BOWL, optimizer="momentum(0.05)", limit=limit, **options)


@pytest.mark.thorough
def test_heavy_ball_is_on_the_equation_and_off_gradient_flow(tmp_path: Path) -> None:
    """Whose closed form the path beside it is."""
    found = diagnosed(tmp_path, "second-order")
    assert (found.comparison.flow, found.comparison.regime) == (
        "the second-order flow", "on the flow",
    )  # fmt: skip
    m, k = 0.05 * 1.9 / (2 * 0.1**2), 0.1 / 1.9
    r = np.roots([m, 1, 1])
    a = np.linalg.solve(np.stack([r**0, r]), np.array([1, -k]))  # q = 1, q' = -k at the start
    times = found.flow.dataset["time"].values
    expected = (a * np.exp(r * times[:, None])).sum(axis=1).real
    path = found.flow.dataset["parameters"].values[0]
    np.testing.assert_allclose(path, np.stack([expected] * 2, axis=1), atol=1e-3)
    for limit in (None, "first-order"):
        plain = diagnosed(tmp_path, limit)
        assert plain.comparison.flow == "gradient flow"
        assert plain.comparison.regime != "on the flow"


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
@pytest.mark.parametrize("batch", [None, 5])
def test_the_mass_is_that_of_rate_and_momentum(name: str, batch: int | None) -> None:
    eta, beta = 0.02, 0.8
    flow = second_order(tw.dynamics.optimiser(name, eta, momentum=beta, batch=batch))
    mass = eta * (1 + beta) / (2 * (1 - beta) ** 2)
    mass -= beta * eta / (1 - beta) if name == "nesterov" else 0
    assert float(flow.mass) == pytest.approx(mass, rel=1e-12)
    assert float(flow.friction) == 1


def test_the_schema_has_the_fading_equation() -> None:
    flow = second_order(tw.dynamics.optimiser("accelerated", 0.04))
    assert [float(x) for x in (flow.mass, flow.friction, flow.fading)] == [
        pytest.approx(0.04, rel=1e-12), 0, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("optimizer", "limit", "words"),
    [
        ("momentum(0.1)", "second", "unknown limit 'second'. Did you mean 'second-order'"),
        ("adam(0.1)", "second-order", "with Adam, of which no equation of second order is known"),
        ("sgd(0.1)", "second-order", "of which no equation of second order is known"),
        ("accelerated(0.1, convexity=0.1)", "second-order", "beside a convexity"),
        ("momentum(0.1, momentum=0.0)", "second-order", "momentum came as 0"),
    ],
)
def test_what_has_no_such_equation_is_refused(optimizer: str, limit: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("'", ".")):
        tw.diagnose(BOWL, optimizer=optimizer, limit=limit, until=10.0, out="never")
    assert not Path("never").exists()


def test_a_schedule_has_no_equation_of_one_rate() -> None:
    paced = tw.dynamics.optimiser("momentum", 0.1, schedule="cosine(100)")
    with pytest.raises(InputError, match="with a schedule"):
        second_order(paced)
