"""Recovery of tensors: the objective by hand, and what the generators draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.core.tensors import hierarchical_rank, perfect_tree
from thalweg.models.tensor_factorisation import CPFactorisation, HierarchicalFactorisation
from thalweg.probes import measure
from thalweg.probes import tensors as probes
from thalweg.problems.tensor_entries import random_tensor, tensor_completion, tensor_sensing

CP = CPFactorisation((3, 4, 5), 6)


def test_the_target_has_the_norm_and_the_ranks_asked_for():
    truth = HierarchicalFactorisation((3,) * 4, perfect_tree(4), (2, 2))
    target = random_tensor(truth, jax.random.key(0), 4.0)
    assert float(jnp.linalg.norm(target.ravel())) == pytest.approx(4.0)
    assert set(hierarchical_rank(target, perfect_tree(4)).values()) == {2}


def test_completion_is_the_mean_square_over_the_entries_seen():
    target = random_tensor(CPFactorisation((3, 4, 5), 2), jax.random.key(1))
    problem = tensor_completion(CP, target, 20, jax.random.key(2), std=0.5)
    params = problem.init(jax.random.key(3))
    gap = np.asarray(CP.tensor(params) - target)
    assert len(set(problem.index.tolist())) == 20
    expected = np.mean(gap.ravel()[np.asarray(problem.index)] ** 2)
    assert float(problem.objective(params)) == pytest.approx(expected, rel=1e-13)
    assert float(problem.error(params)) == pytest.approx(np.linalg.norm(gap), rel=1e-13)


def test_sensing_every_entry_is_completion_of_all():
    target = random_tensor(CP, jax.random.key(1))
    sensing = tensor_sensing(CP, target, 7, jax.random.key(2))
    params = sensing.init(jax.random.key(3))
    gap = np.asarray(CP.tensor(params) - target).ravel()
    expected = np.mean((np.asarray(sensing.design) @ gap) ** 2)
    assert float(sensing.objective(params)) == pytest.approx(expected, rel=1e-12)
    assert float(sensing.objective(CP.init(jax.random.key(1)))) >= 0


@pytest.mark.parametrize("std", [0.1, 0.7])
def test_starts_have_the_deviation_asked_for(std):
    target = random_tensor(CP, jax.random.key(1))
    for problem in (
        tensor_sensing(CP, target, 7, jax.random.key(2), std=std),
        tensor_completion(CP, target, 7, jax.random.key(2), std=std),
    ):
        keys = jax.random.split(jax.random.key(3), 50)
        drawn = np.concatenate([np.ravel(a) for a in jax.tree.leaves(jax.vmap(problem.init)(keys))])
        assert drawn.std() == pytest.approx(std, rel=4 / np.sqrt(2 * drawn.size))


def test_what_does_not_fit_is_refused():
    target = random_tensor(CP, jax.random.key(1))
    for wrong, sentence in ((61, "at most all"), (0, "at least 1")):
        with pytest.raises(InputError, match=sentence):
            tensor_completion(CP, target, wrong, jax.random.key(0))
    with pytest.raises(InputError, match="agree"):
        tensor_sensing(CP, target[0], 5, jax.random.key(0))


TREE = perfect_tree(4)
HTF = HierarchicalFactorisation((3,) * 4, TREE, (3, 2))


def htf_problem():
    target = random_tensor(HTF, jax.random.key(0))
    return tensor_completion(HTF, target, 40, jax.random.key(1), std=0.7)


def test_probes_measure_components_and_ranks():
    problem = htf_problem()
    params = problem.init(jax.random.key(2))
    norms = HTF.vector_norms(params)
    root = np.sort(np.prod(norms["0-1-2-3"], 0))[::-1]
    np.testing.assert_allclose(measure(problem, params, probes.component_norms()).value, root)
    node = np.sort(np.prod(norms["2-3"], 0))[::-1]
    np.testing.assert_allclose(measure(problem, params, probes.component_norms("2-3")).value, node)
    spread = [np.max(np.ptp(np.asarray(n) ** 2, axis=0)) for n in norms.values()]
    found = measure(problem, params, probes.component_unbalancedness()).value
    np.testing.assert_allclose(found, spread, rtol=1e-12)
    p = np.linalg.svd(np.asarray(HTF.tensor(params)).reshape(9, 9))[1]
    p = p[:3] / p.sum()
    ranks = measure(problem, params, probes.hierarchical_effective_rank(TREE)).value
    assert float(ranks[0]) == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=1e-9)
    error = measure(problem, params, probes.tensor_error()).value
    gap = np.linalg.norm(np.asarray(HTF.tensor(params) - problem.target))
    assert float(error) == pytest.approx(gap, rel=1e-12)


def test_flow_keeps_the_balance_and_probes_go_along():
    problem = htf_problem()
    found = tw.run(
        problem,
        tw.gradient_flow(rtol=1e-9),
        until=2.0,
        records=4,
        probes=[probes.component_unbalancedness(), probes.component_norms()],
    ).dataset
    assert float(found.loss[0, -1]) < float(found.loss[0, 0])
    kept = found.component_unbalancedness[0]
    np.testing.assert_allclose(kept, np.broadcast_to(kept[0], kept.shape), rtol=1e-6)


def test_probes_refuse_other_problems_and_nodes():
    problem = tw.problems.Function(lambda p: jnp.sum(p**2), start=jnp.ones(2))
    with pytest.raises(InputError, match="recovery"):
        measure(problem, jnp.ones(2), probes.component_norms())
    problem = htf_problem()
    params = problem.init(jax.random.key(0))
    with pytest.raises(InputError, match="node"):
        measure(problem, params, probes.component_norms("0-2"))
    with pytest.raises(InputError, match="order"):
        measure(problem, params, probes.hierarchical_effective_rank(perfect_tree(2)))
