"""Velocities of singular values and vectors, modes under constant pulls, escape times."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import thalweg as tw
from thalweg.theory.linear_nets import singular_value_flow as flow
from thalweg.theory.linear_nets.end_to_end import end_to_end_field


def decomposed(seed, shape=(4, 6)):
    W, G = np.random.default_rng(seed).normal(size=(2, *shape))
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    return W, G, U, s, Vt.T


@pytest.mark.parametrize("N", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 3)])
def test_velocities_make_up_the_end_to_end_rule(N, shape):
    """d(U S V^T)/dt is the end-to-end velocity, and bases stay orthonormal."""
    W, G, U, s, V = decomposed(1, shape)
    ds = flow.singular_value_velocity(U, s, V, G, N)
    dU, dV = flow.singular_vector_velocity(U, s, V, G, N)
    moved = (dU * s) @ V.T + (U * ds) @ V.T + (U * s) @ dV.T
    exact = -np.asarray(end_to_end_field(jnp.asarray(W), jnp.asarray(G), N))
    np.testing.assert_allclose(moved, exact, atol=1e-10)
    for basis, velocity in ((U, dU), (V, dV)):
        skew = basis.T @ velocity
        np.testing.assert_allclose(skew + skew.T, 0, atol=1e-11)


@pytest.mark.parametrize("N", [1, 2, 4])
def test_signs_do_not_matter(N):
    _, G, U, s, V = decomposed(2)
    sign = np.array([1.0, -1.0, 1.0, -1.0])
    there = flow.singular_value_velocity(U * sign, sign * s, V, G, N)
    np.testing.assert_allclose(
        there, sign * flow.singular_value_velocity(U, s, V, G, N), rtol=1e-12
    )
    dU, dV = flow.singular_vector_velocity(U, s, V, G, N)
    turned = flow.singular_vector_velocity(U * sign, sign * s, V, G, N)
    np.testing.assert_allclose(turned.V, dV, atol=1e-10)
    np.testing.assert_allclose(turned.U, dU * sign, atol=1e-10)


def test_vectors_stand_still_where_the_gradient_is_aligned():
    _, _, U, s, V = decomposed(3)
    G = (U * np.array([1.0, -2.0, 0.5, 3.0])) @ V.T
    dU, dV = flow.singular_vector_velocity(U, s, V, G, 3)
    np.testing.assert_allclose(np.abs(dU).max() + np.abs(dV).max(), 0, atol=1e-12)
    aligned = flow.singular_alignment(U, V, G)
    assert aligned.diagonal == pytest.approx(np.sqrt((1 + 4 + 0.25 + 9) / 4))
    assert aligned.rest == pytest.approx(0, abs=1e-12)


def test_alignment_by_hand():
    found = flow.singular_alignment(np.eye(2), np.eye(2), [[3.0, 1.0], [2.0, 4.0]])
    assert found == pytest.approx((np.sqrt(12.5), np.sqrt(2.5)))


def test_zero_stays_zero_below_depth_one():
    U, V, G = np.eye(2), np.eye(2), -np.eye(2)
    assert flow.singular_value_velocity(U, [0.0, 1.0], V, G, 2)[0] == 0
    assert flow.singular_value_velocity(U, [0.0, 1.0], V, G, 1)[0] == 1


def test_the_track_goes_through_a_crossing_and_through_zero():
    rng = np.random.default_rng(0)
    Q, R = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    t = np.linspace(0, 1, 41)
    s = np.stack([2 - t, 0.95 + t, 0.505 - t], axis=1)  # two cross, one changes sign
    path = np.einsum("ir,tr,jr->tij", Q, s, R)
    track = flow.signed_svd_track(path)
    np.testing.assert_allclose(track.s, s, atol=1e-12)
    rebuilt = np.einsum("tir,tr,tjr->tij", track.U, track.s, track.V)
    np.testing.assert_allclose(rebuilt, path, atol=1e-12)


def test_mode_relation():
    assert flow.mode_relation(6.25, 0.6, 3, 0.05) == pytest.approx(0.355599, abs=5e-7)
    assert flow.mode_ceiling(0.6, 3, 0.05) == pytest.approx(0.78125)
    leader = np.geomspace(0.05, 6, 9)
    for N in (1, 2, 3, 5):
        np.testing.assert_allclose(flow.mode_relation(leader, 1, N, 0.05), leader, rtol=1e-13)
        np.testing.assert_allclose(flow.mode_relation(0.05, 0.3, N, 0.05), 0.05)
    assert flow.mode_relation(1e30, 0.6, 3, 0.05) == pytest.approx(0.78125, rel=1e-8)
    # d sigma_2/d sigma_1 = a (sigma_2/sigma_1)^{2-2/N}
    for N in (1, 2, 3, 4):
        x, h = 0.7, 1e-6
        low, here, high = (flow.mode_relation(v, 0.6, N, 0.05) for v in (x - h, x, x + h))
        slope = 0.6 * (here / x) ** (2 - 2 / N)
        assert (high - low) / (2 * h) == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize(("N", "share"), [(2, 0.001), (3, 0.05), (4, 0.01), (6, 0.003)])
def test_escape_time_against_quadrature(N, share):
    target, start = 1.5, 1e-5
    exact, _ = quad(
        lambda x: np.exp(x) / (N * np.exp(x) ** (2 - 2 / N) * (target - np.exp(x))),
        np.log(start),
        np.log(target / 2),
        limit=500,
    )
    assert flow.lift_off_time(target, start, N) == pytest.approx(exact, rel=share)


def test_escape_time_of_the_docstring():
    exact, _ = quad(lambda x: 1 / (3 * x ** (4 / 3) * (1 - x)), 1e-3, 0.5)
    assert flow.lift_off_time(1, 1e-3, 3) / exact == pytest.approx(1.09, abs=0.005)


@pytest.mark.parametrize(
    "call",
    [
        lambda: flow.singular_value_velocity(np.eye(2), [1.0, 2.0], np.eye(3), np.eye(2), 2),
        lambda: flow.singular_value_velocity(np.eye(2), [1.0, 2.0], np.eye(2), np.eye(2), 0),
        lambda: flow.singular_vector_velocity(np.eye(2), [1.0, 1.0], np.eye(2), np.eye(2), 2),
        lambda: flow.signed_svd_track(np.eye(2)),
        lambda: flow.mode_relation(1.0, 2.0, 3, 0.1),
        lambda: flow.mode_relation(1.0, 0.5, 3, 0.0),
        lambda: flow.mode_ceiling(0.5, 2, 0.1),
        lambda: flow.lift_off_time(1.0, 0.6, 2),
    ],
)
def test_bad_input(call):
    with pytest.raises(tw.InputError, match="give"):
        call()
