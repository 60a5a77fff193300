"""Tensor factorisations, entry by entry, and the circuits that are the same function."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.core.tensors import mode_tree, perfect_tree
from thalweg.models.tensor_factorisation import (
    ArithmeticCircuit,
    CPFactorisation,
    HierarchicalFactorisation,
    cp_tensor,
    htf_tensor,
    local_component_norms,
    norm_differences,
    unbalancedness,
)

CP = CPFactorisation((2, 3, 4), 5)
BINARY = HierarchicalFactorisation((2, 3, 2, 3), perfect_tree(4), (3, 4))
CROSSED = HierarchicalFactorisation((2, 3, 2, 4), mode_tree(((2, 0), (3, 1))), (3, 2))
TERNARY = HierarchicalFactorisation((2, 3, 2, 3), mode_tree((3, (0, 2, 1))), (3, 2))
ALL = {"cp": CP, "binary": BINARY, "crossed": CROSSED, "ternary": TERNARY}


@pytest.fixture(params=ALL)
def one(request):
    factorisation = ALL[request.param]
    return factorisation, factorisation.init(jax.random.key(3))


def test_the_cp_tensor_is_a_sum_of_outer_products():
    a, b, c = CP.factors(CP.init(jax.random.key(0)))
    expected = sum(
        np.multiply.outer(np.multiply.outer(a[:, r], b[:, r]), c[:, r]) for r in range(5)
    )
    np.testing.assert_allclose(cp_tensor([a, b, c]), expected, atol=1e-14)


def test_the_binary_tensor_of_order_four_is_its_formula():
    w = BINARY.init(jax.random.key(1))
    A, B = [w[str(n)] for n in range(4)], [w["0-1"], w["2-3"]]
    left = np.einsum("ar,br,rs->abs", A[0], A[1], B[0])
    right = np.einsum("xr,yr,rs->xys", A[2], A[3], B[1])
    expected = np.einsum("abs,xys,s->abxy", left, right, w["0-1-2-3"][:, 0])
    np.testing.assert_allclose(htf_tensor(w, perfect_tree(4)), expected, atol=1e-13)


def test_axes_are_sorted_and_nodes_may_have_any_number_of_children():
    w = CROSSED.init(jax.random.key(2))
    left = np.einsum("cr,ar,rs->cas", w["2"], w["0"], w["0-2"])
    right = np.einsum("dr,br,rs->dbs", w["3"], w["1"], w["1-3"])
    expected = np.einsum("cas,dbs,s->abcd", left, right, w["0-1-2-3"][:, 0])
    np.testing.assert_allclose(CROSSED.tensor(w), expected, atol=1e-13)
    w = TERNARY.init(jax.random.key(2))
    inner = np.einsum("ar,cr,br,rs->acbs", w["0"], w["2"], w["1"], w["0-1-2"])
    expected = np.einsum("ds,acbs,s->abcd", w["3"], inner, w["0-1-2-3"][:, 0])
    np.testing.assert_allclose(TERNARY.tensor(w), expected, atol=1e-13)


def test_the_circuit_is_the_tensor_contracted(one):
    factorisation, params = one
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(6, D)) for D in factorisation.dims]
    axes = "abcd"[: len(x)]
    formula = ",".join([axes, *(f"n{axis}" for axis in axes)]) + "->n"
    expected = np.einsum(formula, factorisation.tensor(params), *x)
    np.testing.assert_allclose(factorisation.contract(params, x), expected, rtol=1e-11)


def test_a_circuit_reads_entries_off_one_hot_inputs():
    model = ArithmeticCircuit(HierarchicalFactorisation((3,) * 4, perfect_tree(4), (2, 5)), 1.0)
    params = model.init(jax.random.key(0), (4, 3), 1)
    places = list(itertools.product(range(3), repeat=4))
    out = model.apply(params, jnp.eye(3)[jnp.array(places)])
    tensor = model.factorisation.tensor(params)
    np.testing.assert_allclose(out[:, 0], tensor.ravel(), atol=1e-13)
    with pytest.raises(InputError, match="every mode"):
        model.init(jax.random.key(0), (4, 2), 1)


def test_components_sum_to_the_tensor_and_vanish_with_their_vectors(one):
    factorisation, params = one
    norms = factorisation.component_norms(params)
    for name, parts in factorisation.component_tensors(params).items():
        np.testing.assert_allclose(parts.sum(0), factorisation.tensor(params), atol=1e-12)
        assert len(parts) == len(norms[name])


def test_local_component_norms_are_their_formula():
    w = {name: np.asarray(leaf) for name, leaf in BINARY.init(jax.random.key(4)).items()}
    size = np.linalg.norm
    found = local_component_norms(w, perfect_tree(4))
    c, B = w["0-1-2-3"][:, 0], [w["0-1"], w["2-3"]]
    root = [abs(c[s]) * size(B[0][:, s]) * size(B[1][:, s]) for s in range(3)]
    np.testing.assert_allclose(found["0-1-2-3"], root, rtol=1e-14)
    node = [size(B[1][r]) * size(w["2"][:, r]) * size(w["3"][:, r]) for r in range(4)]
    np.testing.assert_allclose(found["2-3"], node, rtol=1e-14)
    assert list(found) == ["0-1-2-3", "0-1", "2-3"]


def test_scaling_a_vector_scales_its_component_alone(one):
    factorisation, params = one
    name, parts = next(iter(factorisation.component_tensors(params).items()))
    child = next(node for node in params if node != name)  # its columns belong to the root
    scaled = {**params, child: params[child].at[:, 1].multiply(3.0)}
    after = factorisation.component_tensors(scaled)[name]
    factors = np.where(np.arange(len(parts)) == 1, 3.0, 1.0)
    np.testing.assert_allclose(after, np.einsum("r,r...->r...", factors, parts), atol=1e-12)


def test_conserved_quantities_are_differences_of_squares():
    norms = jnp.array([[1.0, 2.0], [3.0, 2.0], [0.0, 1.0]])
    np.testing.assert_allclose(norm_differences(norms), [[8.0, 0.0], [-1.0, -3.0]])
    assert float(unbalancedness(norms)) == 9.0


def test_wrong_sizes_are_refused():
    with pytest.raises(InputError, match="widths"):
        HierarchicalFactorisation((2, 2, 2, 2), perfect_tree(4), (3,))
    with pytest.raises(InputError, match="modes"):
        HierarchicalFactorisation((2, 2, 2), perfect_tree(4), (3, 3))
    with pytest.raises(InputError, match="at least 1"):
        CPFactorisation((2, 0), 3)
