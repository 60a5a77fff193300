"""Activity of spiking nets against counts by hand, and what is said of their derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.probes import spiking

STEPS = 5
RNG = np.random.default_rng(11)
X = RNG.normal(size=(23, 3))
NET = tw.models.spiking_mlp([7, 4], STEPS, gain=6.0, neuron=tw.models.LIF(surrogate="triangle:0.5"))
PROBLEM = tw.problems.supervised(NET, (X, RNG.uniform(size=(23, 2))), "squared-error")
PARAMS = PROBLEM.init(jax.random.key(2))
PARAMS[0]["weight"] = PARAMS[0]["weight"].at[0].multiply(0.05)  # a neuron that never fires


def by_hand() -> list[tuple[np.ndarray, np.ndarray]]:
    """Potentials and spikes of every layer, (T, n, width), step by step in NumPy."""
    found, h = [], np.broadcast_to(X, (STEPS, *X.shape))
    for layer in PARAMS:
        u, m_all, s_all = 0.0, [], []
        for t in range(STEPS):
            m = u + (h[t] @ np.asarray(layer["weight"]).T - u) / 2
            s = (m >= 1) * 1.0
            u = (1 - s) * m
            m_all.append(m)
            s_all.append(s)
        found.append((np.array(m_all), np.array(s_all)))
        h = found[-1][1]
    return found


def test_rates_silence_and_life_are_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and in blocks that do not divide the data."""
    layers = by_hand()
    rates = [s.mean() for _, s in layers]
    silent = [np.mean(~s.any(axis=(0, 1))) for _, s in layers]
    slopes = [np.maximum(1 - np.abs(m - 1) / 0.5, 0) for m, _ in layers]
    alive = {least: [np.mean((s > least).any(axis=(0, 1))) for s in slopes] for least in (0.0, 0.9)}
    assert min(rates) > 0
    assert max(silent) > 0
    assert min(alive[0.9]) < 1
    for block in (256, 5):
        monkeypatch.setattr(spiking, "BLOCK", block)
        np.testing.assert_allclose(tw.measure(PROBLEM, PARAMS, "firing-rate").value, rates, 1e-13)
        np.testing.assert_array_equal(tw.measure(PROBLEM, PARAMS, "silent-neurons").value, silent)
        for least, expected in alive.items():
            reading = tw.measure(PROBLEM, PARAMS, tw.probes.surrogate_alive(least))
            np.testing.assert_array_equal(reading.value, expected)


def test_a_layer_that_nothing_reaches_has_no_gradient() -> None:
    """Where the last layer is far from its threshold, a triangle passes nothing back."""
    still = [*PARAMS[:-1], {"weight": jnp.zeros_like(PARAMS[-1]["weight"])}]
    norms = tw.measure(PROBLEM, PARAMS, "layer-gradient-norm").value
    whole = tw.measure(PROBLEM, PARAMS, "gradient-norm").value
    assert float(jnp.min(norms)) > 0
    assert float(jnp.sqrt(jnp.sum(norms**2))) == pytest.approx(float(whole), rel=1e-13)
    assert tw.measure(PROBLEM, still, "surrogate-alive").value[-1] == 0
    assert tw.measure(PROBLEM, still, "layer-gradient-norm").value.tolist() == [0.0, 0.0, 0.0]


def test_of_a_net_from_another_start_and_of_no_spiking_net() -> None:
    again = tw.models.given_start(NET, PARAMS)
    problem = tw.problems.supervised(again, (X, RNG.uniform(size=(23, 2))), "squared-error")
    rates = tw.measure(problem, PARAMS, "firing-rate").value
    np.testing.assert_array_equal(rates, tw.measure(PROBLEM, PARAMS, "firing-rate").value)
    plain = tw.problems.supervised(tw.models.mlp([3]), (X, X))
    with pytest.raises(InputError, match="firing rate needs a spiking network"):
        tw.measure(plain, plain.init(jax.random.key(0)), "firing-rate")


@pytest.mark.parametrize(
    "name", ["sharpness", "smallest-eigenvalue", "top-eigenvalues", "hessian-trace"]
)
def test_what_is_of_the_hessian_of_the_loss_is_refused(name: str) -> None:
    """Also of a net that only wraps a spiking one, or of a function that has spikes in it."""
    slope = tw.models.surrogate_derivative()

    def fires(theta: jax.Array) -> jax.Array:
        return jnp.sum(jax.jit(tw.models.spikes_of, static_argnums=1)(theta, slope))

    for problem in (PROBLEM, tw.problems.Function(fires, jnp.ones(6))):
        with pytest.raises(InputError, match="surrogate of spikes") as caught:
            tw.measure(problem, problem.init(jax.random.key(0)), name)
        assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_a_diagnosis_judges_by_no_hessian(tmp_path) -> None:
    """The flow is that of the surrogate's field, and no threshold is claimed."""
    found = tw.diagnose(PROBLEM, 0.05, until=0.5, records=4, out=tmp_path / "run")
    verdict = found.comparison
    assert "the flow of the surrogate gradient" in verdict.sentence
    assert verdict.regime in ("on the flow", "off the flow")
    assert not any("sharpness" in str(name) for name in found.descent.dataset)
    assert "firing_rate" in found.descent.dataset
    assert any("No stability rule is known" in said for said in verdict.reasons)
    assert any("the loss need not fall" in said for said in verdict.warnings)
    assert not any("linear piece" in said for said in verdict.warnings)
    assert not verdict.certificates
