"""Training of a part: the same objective, the rest untouched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.core.selection import part_of
from thalweg.models import mlp
from thalweg.problems import Function, Supervised, supervised, trained_part


def small():
    rng = np.random.default_rng(0)
    net = mlp([4], "relu")
    problem = supervised(net, (rng.normal(size=(6, 3)), rng.normal(size=(6, 2))))
    return problem, problem.init(jax.random.key(0))


def layer(path):
    return path == "0.weight"


def test_a_supervised_problem_stays_one():
    problem, params = small()
    part = trained_part(problem, params, layer)
    assert isinstance(part, Supervised)
    assert part.smooth is problem.smooth
    assert part.model.separable
    theta = part.init(jax.random.key(5))
    np.testing.assert_array_equal(theta, params[0]["weight"].ravel())
    assert float(part.objective(theta)) == float(problem.objective(params))
    block = jax.grad(problem.objective)(params)[0]["weight"]
    np.testing.assert_allclose(jax.grad(part.objective)(theta), block.ravel(), rtol=1e-14)


def test_the_rest_does_not_move():
    problem, params = small()
    part = trained_part(problem, params, layer)
    probes = [tw.probes.gradient_norm(), tw.probes.sharpness()]
    found = tw.run(part, tw.gradient_descent(0.05), 1.0, records=4, probes=probes)
    assert float(found.dataset["loss"][0, -1]) < float(found.dataset["loss"][0, 0])
    whole = part.model.part.params(jnp.asarray(found.parameters[0, -1].values))
    assert not np.array_equal(whole[0]["weight"], params[0]["weight"])
    for j, name in ((0, "bias"), (1, "weight"), (1, "bias")):
        np.testing.assert_array_equal(whole[j][name], params[j][name])
    assert float(problem.objective(whole)) == pytest.approx(float(found.dataset["loss"][0, -1]))


def test_single_entries_of_a_bare_function():
    problem = Function(lambda p: jnp.sum(jnp.arange(1.0, 4) * p**2), start=jnp.ones(3))
    part = trained_part(problem, jnp.ones(3), np.array([True, False, True]))
    assert part.describe()["kind"] == "part"
    assert part.smooth
    theta = part.init(jax.random.key(0))
    np.testing.assert_allclose(jax.grad(part.objective)(theta), [2.0, 6.0])
    assert float(part.objective(jnp.zeros(2))) == 2.0
    flow = tw.run(part, tw.gradient_flow(1e-8), times=[0.0, 0.2])
    np.testing.assert_allclose(flow.parameters[0, -1], np.exp([-0.4, -1.2]), atol=1e-6)


def test_another_rest_is_another_run(tmp_path):
    problem, params = small()
    other = [params[0], params[1] | {"weight": 2 * params[1]["weight"]}]
    out, options = tmp_path / "a.zarr", {"until": 0.1, "records": 1}
    tw.run(trained_part(problem, params, layer), tw.gradient_descent(0.05), out=out, **options)
    with pytest.raises(InputError, match="another run"):
        tw.run(trained_part(problem, other, layer), tw.gradient_descent(0.05), out=out, **options)


def test_bad_input():
    problem, params = small()
    with pytest.raises(InputError, match="chooses no parameter"):
        trained_part(problem, params, lambda path: False)
    part = trained_part(problem, params, layer)
    with pytest.raises(InputError, match="a part already"):
        trained_part(part, part.init(jax.random.key(0)))


def test_under_vmap():
    problem, _ = small()
    keys = jax.random.split(jax.random.key(2), 3)
    starts = jax.vmap(problem.init)(keys)

    def one(params):
        return trained_part(problem, params, layer).objective(part_of(params, layer).theta)

    np.testing.assert_allclose(jax.vmap(one)(starts), jax.vmap(problem.objective)(starts))
