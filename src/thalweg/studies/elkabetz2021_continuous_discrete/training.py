"""Nets on images: descent refined (X3), its curvature (X4), and the paper's own curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.comparison.equal_time import distance
from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.dynamics import gradient_descent, gradient_flow
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table, variable
from thalweg.models import MLP, ConvNet, Convolution, Model, layer_weights, linear, mlp
from thalweg.probes import smallest_eigenvalue
from thalweg.problems import Data, Supervised, supervised
from thalweg.problems.data import images
from thalweg.problems.problem import unraveller
from thalweg.studies.elkabetz2021_continuous_discrete.points import spectra
from thalweg.theory.linear_nets import homogeneous
from thalweg.trajectory import Trajectory

FLOW_ERROR, KINKED_ERROR = 1e-6, 1e-3  # of the path, relative to the parameters


@dataclass(frozen=True)
class Refinement:
    """The nets of X3 and how their gradient descent is refined; convolutions are dear.

    Attributes:
        paper: The paper's nets and images, or small nets on digits.
        every: The digits 0, every, 2 every, ... are taken.
    """

    paper: bool = False
    every: int = 9
    step_size: float = 0.01
    steps: int = 1000
    seeds: int = 5
    factors: tuple[int, ...] = (2, 5, 10, 20)
    conv_seeds: int = 2
    conv_factors: tuple[int, ...] = (5,)
    records: int = 100


SHORT = {"every": 36, "step_size": 0.002, "steps": 100, "seeds": 1, "conv_seeds": 1, "records": 10}
PAPER = {
    "paper": True, "step_size": 0.001, "steps": 10_000, "seeds": 1, "conv_seeds": 1,
    "conv_factors": (2, 5, 10, 20),
}  # fmt: skip


def nets(paper: bool) -> dict[str, Model]:
    """The nets of X3 by name: the paper's, or small ones."""
    if not paper:
        small = (Convolution(4, 3, stride=2, padding=1), Convolution(8, 3, stride=2, padding=1))
        hidden = (20, 20)
        more: dict[str, Model] = {"conv": ConvNet(small, (20,))}
    else:
        strided = (Convolution(6, 5, stride=2, padding=2), Convolution(16, 5, stride=2))
        pooled = (Convolution(6, 5, padding=2, pool=2), Convolution(16, 5, pool=2))
        hidden, dense = (50, 50), (120, 84)
        more = {"conv": ConvNet(strided, dense), "lenet": ConvNet(pooled, dense, bias=True)}
    return {"linear": linear(hidden), "relu": mlp(hidden, "relu", bias=False), **more}


def paper_images(image: bool, samples: int = 1000) -> Data:
    """Images of MNIST: every 50th of the first 50000, or others; digits if none are at hand.

    The others are as many of each class out of `mnist5k`. The network is not asked.
    """

    def of_the_files() -> Data:
        mnist = images.mnist_images(every=50, image=image, network=False)
        name = f"MNIST, images 0, 50, ..., {50 * (samples - 1)}"
        return Data.of(mnist.inputs[:samples], mnist.targets[:samples], name)

    return images.first_at_hand(
        of_the_files,
        lambda: images.mnist5k_images(samples=samples, image=image),
        lambda: images.digit_images(samples=samples, image=image, size=28),
    )


@experiment("X3", Refinement(), smoke=SHORT, full=PAPER)
def refinement(lab: Lab, size: Refinement) -> xr.Dataset:
    """Gradient descent with steps of eta and of eta/r, compared at equal training time."""
    found = [_refined(lab, size, name, model) for name, model in nets(size.paper).items()]
    joined = xr.concat(found, "model", join="outer", combine_attrs="drop_conflicts")
    return joined.assign_coords(model=list(nets(size.paper)))


def _refined(lab: Lab, size: Refinement, name: str, model: Model) -> xr.Dataset:
    image, eta = isinstance(model, ConvNet), size.step_size
    seeds, factors = (size.conv_seeds, size.conv_factors) if image else (size.seeds, size.factors)
    data = paper_images(image) if size.paper else images.digit_images(every=size.every, image=image)
    problem = supervised(model, data, "cross-entropy")
    options: dict[str, Any] = {"until": eta * size.steps, "records": size.records, "seeds": seeds}
    runs = {
        r: lab.run(f"{name}-{r}", problem, gradient_descent(eta / r), **options)
        for r in (1, *factors)
    }
    follow = gradient_flow(error=FLOW_ERROR if problem.smooth else KINKED_ERROR)
    flow = lab.run(f"{name}-flow", problem, follow, **options)
    gaps, apart = (_beside(runs, reference, _weights(problem)) for reference in (runs[1], flow))
    losses = [run.dataset["loss"] for run in runs.values()]
    found = {
        "loss": xr.concat(losses, _factors(runs), join="override"),
        "distance": gaps["distance"].sel(refinement=list(factors)),
        "displacement": gaps["displacement"].isel(refinement=0, drop=True),
        "flow_loss": flow.dataset["loss"].assign_coords(time=gaps["time"]),
        "flow_distance": apart["distance"].assign_attrs(long_name="distance from the flow"),
        "flow_distance_error": apart["distance_error"],
    }
    return xr.Dataset(found, attrs={"step_size": eta, "data": dict(problem.source)["source"]})


def _beside(runs: dict[int, Trajectory], reference: Trajectory, mask: np.ndarray) -> xr.Dataset:
    """Distances of all runs from one, at its times; the clocks agree to rounding only."""
    gaps = [distance(run, reference, mask) for run in runs.values()]
    return xr.concat(gaps, _factors(runs), join="override")


def _weights(problem: Supervised) -> np.ndarray:
    """Which parameters are weights: the paper leaves biases out of distances."""
    return tree.entries(jax.eval_shape(problem.init, jax.random.key(0)), "weight")


def _factors(runs: dict[int, Trajectory]) -> xr.Variable:
    return variable("refinement", list(runs), "1", "step size divided by")


@dataclass(frozen=True)
class Curvature:
    """The nets of X4, 64-hidden-10, and how long they are trained.

    Attributes:
        every: The digits 0, every, 2 every, ... are taken.
        checkpoints: Records out of the last of them at which the whole Hessian is decomposed.
        radii: Norms of the random points, in units of the final point's.
    """

    hidden: tuple[int, ...] = (10, 10)
    every: int = 9
    seeds: int = 5
    until: float = 10.0
    checkpoints: tuple[int, ...] = (0, 1, 5, 20)  # the start, 5 %, 25 % and the end
    radii: tuple[float, ...] = (1.0, 2.0)


@experiment(
    "X4", Curvature(), smoke={"hidden": (6, 6), "every": 36, "seeds": 1}, full={"hidden": (20, 20)}
)
def curvature(lab: Lab, size: Curvature) -> xr.Dataset:
    """The smallest Hessian eigenvalue along training, and far from the path."""
    models = {"linear": linear(size.hidden), "relu": mlp(size.hidden, "relu", bias=False)}
    return over(lambda model: _curved(lab, size, model, models[model]), model=models)


def _curved(lab: Lab, size: Curvature, name: str, model: MLP) -> xr.Dataset:
    problem = supervised(model, images.digit_images(every=size.every), "cross-entropy")
    run = lab.run(
        f"curvature-{name}", problem, gradient_descent(0.01), until=size.until,
        records=size.checkpoints[-1], probes=[smallest_eigenvalue()], seeds=size.seeds,
    )  # fmt: skip
    flat, at = run.parameters.values, list(size.checkpoints)
    away = np.random.default_rng(4).standard_normal((len(flat), flat.shape[2]))
    away *= (np.linalg.norm(flat[:, -1], axis=1) / np.linalg.norm(away, axis=1))[:, None]
    on_path, on_bound = _smallest(problem, flat[:, at])
    off_path, off_bound = _smallest(problem, np.stack([r * away for r in size.radii], axis=1))
    unit, words, bound = "loss/parameter^2", "smallest Hessian eigenvalue", "lower bound on it"
    points = {
        "seed checkpoint": {
            "path_min_eig": (on_path, unit, words),
            "path_bound": (on_bound, unit, bound),
        },
        "seed radius": {
            "random_min_eig": (off_path, unit, f"{words}, random point"),
            "random_bound": (off_bound, unit, bound),
        },
    }
    checkpoint = (run.dataset["time"].values[at], "step size", "training time")
    radius = (size.radii, "1", "norm over that of the final point")
    tracked = run.dataset[["loss", "smallest_eigenvalue", "smallest_eigenvalue_error"]].load()
    tracked.attrs = {}
    return tracked.merge(table(points, checkpoint=checkpoint, radius=radius))


def _smallest(problem: Supervised, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest Hessian eigenvalues at flat parameters (..., p), and the bound of the paper."""
    model = problem.model
    assert isinstance(model, MLP)
    assert model.slopes is not None
    params = jax.vmap(unraveller(problem))(jnp.asarray(flat.reshape(-1, flat.shape[-1])))
    bounds = homogeneous.homogeneous_min_eig_bound(
        layer_weights(params), model.slopes, _by_output(problem, params), problem.inputs
    )
    smallest = spectra(problem, params)[:, 0]
    return smallest.reshape(flat.shape[:-1]), np.reshape(bounds, flat.shape[:-1])


@eqx.filter_jit
def _by_output(problem: Supervised, params: Params) -> Array:
    """Derivatives of each example's loss by its outputs, (points, examples, outputs)."""
    slopes = jax.vmap(jax.grad(problem.loss.one))
    return jax.lax.map(lambda at: slopes(problem.outputs(at), problem.targets), params)


# Read off the paper's figures at iteration 10000: loss, and distance of the weights from the start.
CURVES = {"linear": (0.09, 2.6), "relu": (0.10, 3.0), "conv": (0.04, 2.9), "lenet": (0.03, 2.55)}
UNTIL = 10.0  # 10000 steps of 0.001


@dataclass(frozen=True)
class Published:
    """Which of the paper's nets are trained, and how finely.

    Attributes:
        models: Names of nets.
        step_size: The paper's is 0.001; larger ones reach the same training time.
        until: Training time.
        samples: Images; the paper has 1000.
        records: Taken on the way.
    """

    models: tuple[str, ...] = ("linear", "relu")
    step_size: float = 0.01
    until: float = UNTIL
    samples: int = 1000
    records: int = 20


@experiment(
    "X3-published",
    Published(),
    smoke={"until": 0.2, "samples": 100, "records": 2},
    full={"models": tuple(CURVES), "step_size": 0.001, "records": 100},
)
def published(lab: Lab, size: Published) -> xr.Dataset:
    """Loss and distance travelled of the paper's nets at its size, and what it published."""
    found = over(lambda model: _trained(lab, size, model), model=list(size.models))
    return found.assign_attrs(step_size=size.step_size, steps=round(size.until / size.step_size))


def _trained(lab: Lab, size: Published, name: str) -> xr.Dataset:
    model = nets(paper=True)[name]
    data = paper_images(isinstance(model, ConvNet), size.samples)
    problem = supervised(model, data, "cross-entropy")
    run = lab.run(
        f"published-{name}", problem, gradient_descent(size.step_size),
        until=size.until, records=size.records,
    )  # fmt: skip
    path = run.parameters.values[0][:, _weights(problem)]
    loss, moved = run.dataset["loss"].values[0], np.linalg.norm(path - path[0], axis=1)
    end = np.arange(len(loss)) == len(loss) - 1  # nothing is published of what lies before
    there, away = (np.where(end, value, np.nan) for value in CURVES[name])
    return table(
        {
            "": {"mnist": (int("MNIST" in data.description["source"]), "1", "images are of MNIST")},
            "time": {
                "loss": (loss, "loss", "loss"),
                "displacement": (moved, "parameter", "distance from the start"),
                "published_loss": (there, "loss", "published"),
                "published_displacement": (away, "parameter", "published"),
            },
        },
        time=run.dataset["time"].values,
    )
