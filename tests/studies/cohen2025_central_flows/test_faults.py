"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg.core.sdcp import smat, svec
from thalweg.dynamics.flow.edge import Edge, Scaling
from thalweg.studies.cohen2025_central_flows import digits, exact, methods, runs


def other_sign(right, A, B):
    return right(-A, B)


def diagonal_kept(right, A, B):
    found = right(A, B)
    return found._replace(X=jnp.diag(jnp.diag(found.X)))


def twice_the_map(right, A, B):
    return right(A, 2 * B)


def weighed(share):
    """Off-diagonal third-order products taken with another weight than the square root of two."""

    def wrong(right, *arguments):
        found = right(*arguments)
        one = svec(jnp.eye(len(found.slack)))
        W = jnp.diag(one + share * (1 - one))
        return found._replace(slack=smat(W @ svec(found.slack)), growth=W @ found.growth @ W)

    return wrong


def half_dropped(right, *arguments):
    found = right(*arguments)
    return found._replace(growth=2 * found.growth)


def half_dropped_in_the_drift(right, *arguments):
    found = right(*arguments)
    return found._replace(thirds=2 * found.thirds)


def a_clock_of_its_own(right, *arguments):
    found = right(*arguments)
    return found._replace(slack=1.5 * found.slack)


def half_the_step(right, step_size):
    return right(step_size / 2)


def twice_the_push(right, c):
    return right(2 * c)


def only_the_diagonal(right, C):
    return right(np.diag(np.diag(C)))


def twice_the_step(right, step_size):
    return right(2 * step_size)


def twice_the_eigenvalues(right, *arguments):
    found = right(*arguments)
    return found._replace(values=2 * found.values)


def flows_exchanged(right, size, seed):
    at = right(size, seed)
    return at._replace(plain=at.told.theta, told=at.told._replace(theta=at.plain))


def told(**changed):
    """What the central flow tells, changed: by name, of the statistics and of its own values."""

    def wrong(right, size, seed):
        at = right(size, seed)
        s = at.told.statistics
        new = {name: change(s[name], at) for name, change in changed.items()}
        return at._replace(told=at.told._replace(statistics=s | new))

    return wrong


def own_loss(at):
    return np.asarray(digits.seen(at.problem, jnp.asarray(at.told.theta))[0])


def own_square(at):
    gradients = digits.seen(at.problem, jnp.asarray(at.told.theta))[1]
    return np.sum(np.asarray(gradients) ** 2, axis=1)


def of_midpoints(right, size, seed):
    at = right(size, seed)
    losses, gradients = digits.seen(at.problem, jnp.asarray(at.middle))
    return at._replace(losses=np.asarray(losses), gradients=np.asarray(gradients))


def no_mean(right, steps):
    return steps


def mean_of_two(right, steps):
    found = right(steps)
    found[1:-1] = (steps[:-2] + steps[1:-1]) / 2
    return found


def unequal_weights(right, steps):
    found = right(steps)
    found[1:-1] = (steps[:-2] + steps[1:-1] + steps[2:]) / 3
    return found


HALF_LOSS = told(predicted_loss=lambda v, at: (v + own_loss(at)) / 2)
HALF_SQUARE = told(predicted_squared_gradient=lambda v, at: (v + own_square(at)) / 2)
HALF_TRACE = told(oscillation=lambda v, at: v / 2)
FORGETS_EARLY = property(lambda self: 1 - self.decay)


def forgets_ten_times_faster(right, *arguments, **options):
    return right(*arguments, **options | {"decay": 0.9})


def begins_elsewhere(right, *arguments, **options):
    return right(*arguments, **options | {"initial": 2 * options["initial"]})


def average_without_oscillation(right, edge, X):
    return 0 * right(edge, X)


def variances_alone(right, edge, X):
    return edge.variances(X)


def never_warned(right, table):
    return np.zeros_like(right(table))


def always_oscillating(right, table):
    return ~right(table)


def twice_the_substeps(right, step_size):
    return right(step_size, 8)


WHOLE = {"net": digits.Net(), "steps": 140}  # the onset of the net is at step 113
WATCHED = WHOLE | {"every": 10}
EARLY = {"net": digits.Net(), "steps": 24}


def twice_beta(right, alpha, beta, *others):
    return right(alpha, 2 * beta, *others)


@fault_table(
    Fault("C1", exact, "sdcp", other_sign, "sign of A"),
    Fault("C1", exact, "sdcp", diagonal_kept, "diagonal of X"),
    Fault("C1", exact, "sdcp", twice_the_map, "twice B"),
    Fault("C2", exact, "edge", weighed(np.sqrt(0.5)), "off-diagonal products once"),
    Fault("C2", exact, "edge", half_dropped, "half dropped in B"),
    Fault("C2", exact, "edge", weighed(0.0), "diagonal only"),
    Fault("C3", runs, "edge", half_dropped_in_the_drift, "half dropped in w'", compiled=True),
    Fault("C3", runs, "edge", a_clock_of_its_own, "A in training time", compiled=True),
    Fault("C4", exact, "valley", twice_the_push, "2 c"),
    Fault("C4", exact, "gradient_descent", half_the_step, "half the step"),
    Fault("C5", exact, "matrix_valley", only_the_diagonal, "off-diagonal C left out"),
    Fault("C5", exact, "gradient_descent", half_the_step, "half the step"),
    Fault("C6", runs, "leading", twice_the_eigenvalues, "factor 2 in the sharpness"),
    Fault("C6", runs, "beside", flows_exchanged, "flows exchanged"),
    Fault("C7", runs, "beside", flows_exchanged, "flows exchanged"),
    Fault("C7", methods, "central_flow", twice_the_step, "the edge of twice the step"),
    Fault("C8", runs, "beside", HALF_LOSS, "half tr Sigma/eta"),
    Fault("C8", runs, "beside", of_midpoints, "loss of midpoints"),
    Fault("C9", runs, "beside", HALF_SQUARE, "2 for 4 tr Sigma/eta^2"),
    Fault("C9", runs, "beside", of_midpoints, "gradient at midpoints"),
    Fault("C10", runs, "beside", HALF_TRACE, "half Sigma"),
    Fault("C10", digits, "midpoints", no_mean, "the step for the midpoint"),
    Fault("C10", runs, "midpoints", mean_of_two, "mean of two steps"),
    Fault("C10", runs, "midpoints", unequal_weights, "weights of one third"),
    Fault("C7b", runs, "beside", flows_exchanged, "flows exchanged", WHOLE),
    Fault("C11", runs, "delayed", always_oscillating, "warning turned round", WATCHED),
    Fault("C11a", runs, "delayed", never_warned, "no warning"),
    Fault("C11a", methods, "central_flow", half_the_step, "the edge of half the step"),
    Fault("C13", methods, "central_flow", twice_the_substeps, "eight substeps", EARLY),
    Fault("C12a", runs, "beside", flows_exchanged, "flows exchanged"),
    Fault("C12a", methods, "central_flow", forgets_ten_times_faster, "decay 0.9 for 0.99"),
    Fault("C12a", Edge, "excess", average_without_oscillation, "average without Sigma"),
    Fault("C12a", Edge, "excess", variances_alone, "diag(Sigma) for diag(H Sigma H)"),
    Fault("C12b", methods, "central_flow", forgets_ten_times_faster, "decay 0.9 for 0.99"),
    Fault("C12b", methods, "central_flow", begins_elsewhere, "average begins at twice"),
    Fault("C12b", runs, "beside", HALF_LOSS, "half tr P Sigma"),
    Fault("C12b", Edge, "excess", average_without_oscillation, "average without Sigma"),
    Fault("C12", Scaling, "kappa", FORGETS_EARLY, "1 - b for (1 - b)/b", value=True),
    Fault("C12", exact, "closed_square", twice_beta, "half of beta dropped", compiled=True),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
