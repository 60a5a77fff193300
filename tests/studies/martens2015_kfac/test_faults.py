"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg.curvature.kronecker import block_diagonal, fisher, tridiagonal, whole
from thalweg.curvature.kronecker.tridiagonal import Difference, Tridiagonal
from thalweg.dynamics.natural_gradient.quadratic_model import QuadraticModel
from thalweg.problems import LOSSES
from thalweg.studies.martens2015_kfac import exact, structure, training

# The smallest autoencoder on which what the claims of training say holds.
LONG = {
    "images": 150,
    "widths": training.WIDTHS,
    "records": 20,
    "every": 10,
    "seeds": 1,
    "own_seeds": 1,
}


def one_draw(right, problem, outputs, targets):
    return right(problem, outputs, "sampled", jax.random.key(0))


def always_linear(right, seed, examples, activation="tanh", labels=True):
    return right(seed, examples, "linear", labels=False)


def neighbours_forgotten(right, self, shared, blocks):
    return self.diagonal.solved(shared[0], blocks)


def plus(right, self, V):
    return right(self._replace(sign=1.0), V)


def sum_for_difference(right, A, B, C, D):
    return right(A, B, C, D, 1.0)


def turned(right, A, C):
    K, s = right(A, C)
    return K.T, s


def damped(right, problem, params, **options):
    return right(problem, params, **{"damping": 0.1, **options})


def inverse_for_its_root(right, M):
    return np.linalg.inv(M)


def twice_as_far(right, self, alpha=None, mu=None):
    return 2 * right(self, alpha, mu)


def coins(right, loss):
    return right(LOSSES["binary-cross-entropy"])


def upside_down(right, A, G):
    return 1 / right(A, G)


def sizes_forgotten(right, A, G):
    return jnp.sqrt(jnp.trace(A) / jnp.trace(G))


def half_a_step(right, *arguments, **options):
    return right(*arguments, **{**options, "learning_rate": 0.5})


def mean_over_examples_of_the_mean(right, layers, at, *rest):
    found = right(layers, at, *rest)
    return eqx.tree_at(
        lambda f: f.outputs, found, tuple(G / len(at.outputs) for G in found.outputs)
    )


def no_momentum(right, name):
    return right("K-FAC without momentum")


def never_adapted(right, *arguments, **options):
    return right(*arguments, **{**options, "damping_decay": None})


def the_papers_damping(right, *arguments, **options):
    return right(150.0, damping_decay=0.95)


def half_the_entropy(right, images):
    return 2 * right(images)


def no_inverse(right, M):
    return M


def tridiagonal_without_momentum(right, name):
    return right("K-FAC without momentum" if "tridiagonal" in name else name)


def hardly_a_step(right, *arguments, **options):
    return right(learning_rate=1e-9, momentum=0.0)


def planted(claim, name, wrong, about, place=exact, sizes=None, **more):
    return Fault(claim, place, name, wrong, about, sizes or {}, **more)


@fault_table(
    planted("C1", "covectors_of", one_draw, "one draw for the expectation", whole, compiled=True),
    planted("C1", "drawn", always_linear, "a linear net with Gaussian noise for tanh"),
    planted("C2", "solved", neighbours_forgotten, "the block-diagonal inverse", Tridiagonal),
    planted("C2", "solve", plus, "plus in E7", Difference),
    planted("C3", "kronecker_difference", sum_for_difference, "the sum for the difference"),
    planted("C3", "_congruence", turned, "K transposed", tridiagonal),
    planted("C4", "kronecker_fisher", damped, "damping left in"),
    planted("C4", "_root", inverse_for_its_root, "M^-1 for M^-1/2"),
    planted("C5", "lowest", twice_as_far, "twice as far", QuadraticModel),
    planted("C5", "likelihood", coins, "the Fisher matrix of coins"),
    planted("C6", "balance", upside_down, "1/pi"),
    planted("C6", "balance", sizes_forgotten, "traces without dims", block_diagonal),
    planted("C7", "kfac", half_a_step, "half a step"),
    planted("C7", "factors_of", mean_over_examples_of_the_mean, "1/n^2 in G", fisher,
            compiled=True),
    planted("C8", "method", no_momentum, "no momentum in any", training, LONG, reruns=("X2",)),
    planted("C8", "kfac", never_adapted, "lambda kept", training, LONG, reruns=("X2",)),
    planted("C8b", "kfac", the_papers_damping, "the paper's damping", training, LONG),
    planted("C8b", "entropy", half_the_entropy, "twice the entropy", training, LONG),
    planted("C9", "inverse_of", no_inverse, "the matrix for its inverse", structure),
    planted("C10", "method", tridiagonal_without_momentum, "no momentum in one", training, LONG),
    planted("C11", "kfac", hardly_a_step, "hardly a step", training),
)  # fmt: skip
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
