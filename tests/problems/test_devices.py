"""How many devices share the examples changes no result beyond rounding."""

import os
import subprocess
import sys

import jax
import pytest

import thalweg as tw

# A process of its own: the number of devices is fixed when JAX starts.
PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
import thalweg as tw
from thalweg import curvature

assert len(jax.devices()) == 4
for microbatch in (None, 12):
    problem = tw.problems.digits(tw.models.mlp([6], "tanh"), samples=40, microbatch=microbatch)
    shared = problem.over_devices()
    assert len(shared.inputs.sharding.device_set) == 4
    assert len(problem.over_devices(jax.devices()[:2]).inputs.sharding.device_set) == 2
    params = problem.init(jax.random.key(0))
    v = jnp.cos(jnp.arange(460.0))

    def everything(p):
        H = curvature.hessian(p, params)
        yield "objective", p.objective(params)
        for operator in (H, curvature.gauss_newton(p, params), curvature.fisher(p, params),
                         curvature.empirical_fisher(p, params), curvature.jacobian(p, params)):
            yield type(operator).__name__, operator @ v
        yield "eigenvalues", curvature.top_k(H, 2, jax.random.key(1)).values
        yield "trace", curvature.trace(H, jax.random.key(2), products=20).value
        yield "kernel", tw.kernels.tangent_kernel(p, params, outputs="trace")
        run = tw.run(p, tw.gradient_descent(0.1), until=2.0, records=2,
                     probes=[tw.probes.sharpness()])
        yield "loss", run.dataset.loss.values
        yield "sharpness", run.dataset.sharpness.values

    for (name, one), (_, four) in zip(everything(problem), everything(shared), strict=True):
        one, four = np.asarray(one), np.asarray(four)
        assert np.allclose(one, four, rtol=1e-10, atol=1e-12 * np.abs(one).max()), name
print("equal")
"""


@pytest.mark.slow
def test_four_devices_give_what_one_gives():
    flags = "--xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("equal")


def test_examples_that_do_not_divide_are_told():
    problem = tw.problems.digits(tw.models.mlp([4], "tanh"), samples=30)
    assert problem.over_devices(jax.devices()[:1]).inputs.shape == problem.inputs.shape
    with pytest.raises(tw.InputError, match="came twice"):
        problem.over_devices(list(jax.devices()[:1]) * 2)
    with pytest.raises(tw.InputError, match="leave out 2 examples"):
        problem.over_devices(list(jax.devices()[:1]) * 4)
