"""Calls of all public functions that are right, and what users put in place of an argument."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx

import shapes
import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.problems.margin_losses import MARGIN_LOSSES

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(6, 3))
Y = np.sin(X[:, :2])
TREE = tw.models.perfect_tree(4)
CP = tw.models.CPFactorisation((3, 3), 2)


class Foreign:
    """A stranger, as a module of another framework."""


Foreign.__module__ = "torch.nn.modules.linear"

HOSTILE: dict[str, Any] = {
    "None": None,
    "text": "0.1",
    "empty text": "",
    "negative": -1,
    "fraction": 2.5,
    "zero": 0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "True": True,
    "complex": 1j,
    "empty list": [],
    "texts": ["a", "b"],
    "dictionary": {"a": 1},
    "object": object(),
    "class": Foreign,
    "foreign": Foreign(),
    "function": jnp.tanh,
    "jitted": jax.jit(lambda x: x),
    "optimiser": optax.adam(1e-3),
    "ragged": [[1.0], [1.0, 2.0]],
    "array": np.ones((2, 2, 2)),
    "factory": tw.probes.sharpness,
    "dynamics": tw.gradient_descent(0.1),
}


def problem() -> tw.problems.Supervised:
    return tw.problems.supervised(tw.models.mlp([3]), (X, Y))


def calls() -> dict[str, dict[str, Any]]:
    """Arguments of a right call of every public function, by "room.function"."""
    one = problem()
    params = one.init(KEY)
    hessian = tw.curvature.hessian(one, params)
    wide = tw.models.WideNet("fully-connected", 4, 2)
    descent = tw.run(one, tw.gradient_descent(0.1), 0.2, records=2)
    flow = tw.run(one, tw.gradient_flow(), 0.2, records=2)
    at = {"problem": one, "params": params}
    spectrum = {"operator": hessian, "key": KEY}
    kernel = tw.kernels.tangent_kernel(one, params, outputs="trace")
    flat = jax.flatten_util.ravel_pytree(params)[0]
    residual = tw.models.ResidualMLP([3, 3], "relu")
    piece = {"model": residual, "params": residual.init(KEY, (3,), 2), "x": X[0]}
    slopes = {"model": residual, "params": piece["params"]}
    slopes["slopes"] = tw.models.activation_slopes(**piece)
    squares = tw.problems.over_parametrised_linear(X[:2], [1.0, 0.0])
    squares_at = {"problem": squares, "params": squares.init(KEY)}
    noise = tw.oracles.isotropic(0.1)
    featured = {"model": tw.models.mlp([3]), "x": X}
    fitted = tw.estimators.trend_filter(Y, 0.1, 0)
    penalised = {"y": Y, "penalties": [0.1, 1.0], "order": 0, "tolerance": 1e-2}
    spline = {"design": [0.0, 1.0, 2.0], "values": [0.0, 1.0, 4.0], "order": 1}
    smoothed = {"truth": Y, "sigma": 0.1}
    laplacian = tw.estimators.lattice_laplacian(Y.shape)
    halved = tw.estimators.laplacian_filter(1.0)
    factored = {"w": {"left": X[:, :2], "right": Y}}
    return {
        "run": {
            "problem": one, "dynamics": tw.gradient_descent(0.1), "until": 0.2, "records": 2,
            "probes": ["loss"], "seeds": 1, "parameters": True, "out": None, "fresh": False,
            "progress": False,
        },
        "race": {
            "problem": one, "optimisers": "gd", "grid": [0.1], "budget": 4, "seeds": 1,
            "records": 2, "goal": 0.1, "by": "goal", "oracle": None, "out": None,
        },
        "rates": {"problem": one, "steps": 10, "seeds": 1, "batch": 2, "out": None},
        "measure": {**at, "probe": tw.probes.loss(), "key": 0},
        "every": {"period": 2, "probe": tw.probes.loss()},
        "compare": {"descent": descent, "flow": flow, "eps": 0.1},
        "distance": {"left": descent, "right": descent, "mask": None},
        "flow_limit": {**at, "error": 1e-3, "gradient_norm": None, "most_evaluations": 100},
        "gradient_descent": {"step_size": 0.1, "oracle": tw.oracles.isotropic(0.1)},
        "noisy": {"dynamics": tw.gradient_descent(0.1), "oracle": tw.oracles.minibatch(2)},
        "oracles.minibatch": {"batch": 2, "replace": False},
        "oracles.label_noise": {"sigma": 0.1, "single": True, "law": "sign"},
        "oracles.isotropic": {"sigma": 0.1},
        "oracles.langevin": {"temperature": 0.1, "step_size": 0.1},
        "oracles.svrg": {"batch": 2, "period": 3, "replace": True},
        "oracles.sarah": {"batch": 2, "period": 3, "replace": True},
        "oracles.spider": {"batch": 2, "period": 3, "reference": 4},
        "oracles.saga": {"batch": 2},
        "oracles.two_point": {"smoothing": 1e-3, "directions": 2, "law": "sphere"},
        "oracles.coordinate": {"count": 2},
        "oracles.surrogate": {"oracle": tw.oracles.minibatch(2), "scale": 1.0},
        "gradient_flow": {"rtol": 1e-3, "solver": "auto", "error": None},
        "dynamics.optimiser": {
            "name": "momentum", "learning_rate": 0.1, "batch": 2, "momentum": 0.5,
        },
        "probes.measured_assumptions": {
            "problem": one, "points": jax.vmap(one.init)(jax.random.split(KEY, 3)),
            "minimum": params, "least": 0.0,
        },
        "curvature.difference_gradient": {**at, "step": 1e-4, "central": True},
        "dynamics.continued": {
            "dynamics": tw.dynamics.optimiser("adam", 0.1),
            "state": optax.adam(0.1).init(jnp.ones(2)),
        },
        "dynamics.method": {"name": "heavy-ball", "smoothness": 4.0, "convexity": 1.0},
        "dynamics.accelerated_descent": {"smoothness": 4.0, "convexity": 1.0, "first": 0.5},
        "dynamics.natural_gradient_descent": {"step_size": 0.1, "damping": 0.1, "matrix": "fisher"},
        "dynamics.natural_gradient_flow": {
            "damping": 0.1, "matrix": "fisher", "rtol": 1e-3, "solver": None,
            "most_gradients": 100,
        },
        "dynamics.newton_type": {"kind": "cubic", "number": 1.0, "krylov": 2},
        "dynamics.perturbed_descent": {
            "step_size": 0.1, "radius": 0.1, "threshold": 0.1, "wait": 10,
        },
        "dynamics.optimistix_dynamics": {"minimiser": optx.BFGS(1e-8, 1e-8), "name": "mine"},
        "problems.hard_chain": {"dimensions": 5, "smoothness": 2.0, "convexity": 0.1},
        "problems.heavy_ball_trap": {"start": 3.3},
        "problems.robust_regression": {"examples": 6, "dimensions": 3, "seed": 0},
        "dynamics.preconditioned_flow": {
            "step_size": 0.1, "b1": 0.9, "b2": 0.99, "epsilon": 1e-8, "epsilon_root": 0.0,
            "weight_decay": 0.1, "initial": 0.0, "corrected": True, "largest": False,
            "rtol": 1e-3, "solver": None, "most_gradients": 100,
        },
        "dynamics.adagrad_flow": {
            "learning_rate": 0.1, "step_size": 0.1, "initial": 0.1, "epsilon": 1e-8,
            "epsilon_root": 0.0, "rtol": 1e-3, "solver": None, "most_gradients": 100,
        },
        "dynamics.momentum_flow": {
            "learning_rate": 0.1, "momentum": 0.5, "nesterov": True, "rtol": 1e-3, "solver": None,
            "most_gradients": 100,
        },
        "dynamics.accelerated_flow": {
            "step_size": 0.1, "rtol": 1e-3, "solver": None, "most_gradients": 100,
        },
        "dynamics.with_limit": {
            "dynamics": tw.gradient_descent(0.1), "flow": tw.gradient_flow(1e-3),
        },
        "optax_dynamics": {"transform": optax.sgd(0.1), "step_size": 0.1, "name": "x", "batch": 2},
        "stabilised_descent": {"most_stages": 10},
        "kfac": {
            "damping": 0.1, "learning_rate": 0.1, "momentum": 0.5, "structure": "diagonal",
            "targets": "exact", "samples": 1, "damping_decay": 0.9, "damping_period": 5,
            "least_damping": 0.0, "gamma_decay": 0.9, "gamma_period": 20, "refresh": 2,
            "average": 0.9, "norm_constraint": 1.0, "polyak": 0.9, "reject": True,
            "damped_model": True, "factor_examples": 3, "model_examples": None,
        },
        "problems.supervised": {
            "model": tw.models.mlp([3]), "data": (X, Y), "loss": "squared-error",
            "reduction": "mean", "precision": "float64", "microbatch": 2,
        },
        "problems.Function": {"function": jnp.sum, "start": np.ones(3), "is_smooth": True},
        "problems.Data.of": {"inputs": X, "targets": Y, "name": "mine"},
        "problems.linear_classifier": {"X": X, "loss": "logistic", "start": np.ones(3)},
        "problems.low_rank_matrix": {"key": KEY, "out": 3, "inputs": 4, "rank": 2},
        "problems.observed_entries": {"key": KEY, "truth": X, "count": 4},
        "problems.gaussian_measurements": {"key": KEY, "truth": X, "count": 4},
        "problems.lp_optimum": {"X": X, "y": Y[:, 0], "p": 2.0, "tolerance": 1e-10},
        "problems.lp_regression": {"X": X, "y": Y[:, 0], "p": 2.0, "hidden": [3]},
        "problems.random_data": {"examples": 5, "inputs": 3, "labels": 2, "norm": 1.0, "seed": 0},
        "problems.random_tensor": {"factorisation": CP, "key": KEY, "norm": 1.0},
        "problems.tensor_completion": {
            "factorisation": CP, "target": np.ones((3, 3)), "observed": 4, "key": KEY, "std": 0.1,
        },
        "problems.tensor_sensing": {
            "factorisation": CP, "target": np.ones((3, 3)), "measurements": 4, "key": KEY,
            "std": 0.1,
        },
        "problems.trained_part": {**at, "where": None},
        "problems.noisy_prototypes": {"classes": 2, "size": 4, "each": 2, "noise": 0.1, "seed": 0},
        "problems.causal_toeplitz": {"response": [1.0, 2.0]},
        "problems.driven_wave": {
            "grid": tw.problems.travel_time_grid([1.0, 2.0], 0.5), "time_step": 0.5,
            "source": [1.0, 0.0],
        },
        "problems.layered_media": {
            "speeds": [1.0, 2.0], "steps": 2, "horizon": 0.5, "grid": "physical",
        },
        "problems.travel_time_grid": {"slowness": [1.0, 2.0], "time_step": 0.5},
        "problems.volume_data": {
            "media": tw.problems.layered_media([1.0, 2.0], 2), "scale": 1.0,
        },
        "problems.wave_media": {
            "key": KEY, "count": 2, "steps": 2, "horizon": 0.5, "layers": 3, "slowest": 0.5,
            "fastest": 1.5, "grid": "travel-time",
        },
        "problems.read_data": {"source": "digits"},
        "problems.digits": {"model": tw.models.mlp([3]), "loss": None, "samples": 20},
        "models.mlp": {
            "hidden": [3], "activation": "tanh", "bias": True, "initialiser": "xavier-uniform",
            "gain": 1.0,
        },
        "models.MLP": {"hidden": [3], "activation": "tanh", "bias": True, "gain": 1.0},
        "models.spiking_mlp": {
            "hidden": [3], "steps": 2, "neuron": tw.models.LIF(), "bias": False, "gain": 1.0,
            "readout": "rate", "voters": 1,
        },
        "models.spiking_convolutional": {
            "convolutions": [tw.models.Convolution(2, 3)], "hidden": [3], "steps": 2,
            "neuron": tw.models.LIF(), "normalised": True, "gain": 1.0, "voters": 1,
        },
        "models.SpikingConvNet": {
            "convolutions": [tw.models.Convolution(2, 3)], "hidden": [3], "gain": 1.0, "steps": 2,
        },
        "probes.surrogate_alive": {"least": 0.1},
        "models.SpikingMLP": {"hidden": [3], "bias": True, "gain": 1.0, "steps": 2},
        "models.LIF": {"tau": 2.0, "threshold": 1.0, "rest": 0.0, "reset": "hard"},
        "models.lif_rollout": {
            "neuron": tw.models.LIF(), "current": np.ones((2, 2)), "steps": 3,
        },
        "models.surrogate_derivative": {"kind": "arctan", "width": 1.0, "height": 1.0},
        "models.SurrogateDerivative": {"kind": "arctan", "width": 1.0, "height": 1.0},
        "models.spikes_of": {
            "z": np.ones(2), "surrogate": tw.models.surrogate_derivative("arctan"),
        },
        "models.rate_coded": {"x": np.ones((2, 2)), "steps": 3, "key": KEY},
        "models.linear": {"hidden": [3], "initialiser": "xavier-uniform", "gain": 1.0},
        "models.Applied": {
            "apply_function": lambda p, x: x @ p, "start": np.ones((3, 2)), "is_smooth": True,
        },
        "models.from_equinox": {"module": eqx.nn.Linear(3, 2, key=KEY), "smooth": True},
        "models.activation": {"name": "tanh"},
        "models.gaussian_start": {"model": tw.models.mlp([3]), "std": 0.1},
        "models.zero_last_start": {"model": tw.models.mlp([3]), "std": 0.1},
        "models.given_start": {"model": tw.models.mlp([3]), "start": params},
        "models.parse_model": {"text": "mlp:3", "activation": "tanh", "bias": True},
        "models.mode_tree": {"nested": ((0, 1), 2)},
        "models.balanced_pair": {"matrix": X, "rank": 2},
        "models.factor_norms": {"params": factored},
        "models.factor_pairs": {"params": factored},
        "models.factor_regulariser": {"params": factored, "exponent": 0.5},
        "problems.penalised": {
            "problem": one, "penalty": lambda p: p[0]["weight"].sum(), "strength": 0.1,
            "is_smooth": True,
        },
        "models.layer_weights": {"params": tw.models.linear([2]).init(KEY, (3,), 2)},
        "models.perfect_tree": {"order": 4, "pool": 2},
        "models.weight_normalised": {"model": tw.models.mlp([3]), "sphere": False},
        "models.ResidualMLP": {"hidden": [3], "activation": "relu", "skip": 1.0, "join": "add"},
        "models.TwoLayerNet": {"width": 3, "activation": "relu"},
        "models.WideNet": {"architecture": "fully-connected", "width": 3, "depth": 2},
        "models.CPFactorisation": {"dims": [3, 3], "components": 2},
        "models.HierarchicalFactorisation": {"dims": [2] * 4, "tree": TREE, "widths": [2, 2]},
        "models.SignalConvNet": {"filters": [2], "activation": "relu"},
        "models.Overparametrised": {"model": tw.models.mlp([3]), "factors": 2},
        "models.ConvNet": {"convolutions": [tw.models.Convolution(2, 3)], "hidden": [3]},
        "dynamics.entropy_sgd": {
            "learning_rate": 0.1, "inner_steps": 2, "inner_rate": 0.1, "averaging": 0.5,
            "noise": 0.1, "momentum": 0.5, "coupling": 0.1, "most_coupling": 1.0,
            "coupling_steps": 10.0, "factor": 10.0, "free_steps": 1.0, "drops": (3.0,),
            "drop": 0.5, "oracle": tw.oracles.minibatch(2), "convention": "code",
        },
        "dynamics.replicated_sgd": {
            "learning_rate": 0.1, "replicas": 2, "momentum": 0.5, "every": 2, "coupling": 0.1,
            "coupling_steps": 10.0, "factor": 10.0, "raise_every": 2.0, "drops": (3.0,),
            "drop": 0.5, "oracle": tw.oracles.minibatch(2), "starts": np.ones((2, 3)),
        },
        "dynamics.end_to_end_descent": {"step_size": 0.1, "depth": 2, "weight_decay": 0.0},
        "dynamics.group_rmsprop": {"learning_rate": 0.1, "decay": 0.9, "epsilon": 1e-6},
        "dynamics.levenberg_marquardt": {"tries": 3},
        "dynamics.growing_batches": {
            "first": 2, "examples": 8, "whole_at": 3, "steps": 4, "sizes": 3,
        },
        "dynamics.optax_kfac": {"problem": one, "dynamics": tw.kfac(), "seed": 0},
        "dynamics.normalised_descent": {"step_size": 0.1, "by": "gradient", "name": "x"},
        "dynamics.projected_descent": {"step_size": 0.1, "scale_step_size": 0.1},
        "dynamics.weight_normalised_descent": {"step_size": 0.1, "scale_step_size": 0.1},
        "dynamics.two_phase_projected_descent": {
            "first_step_size": 0.1, "switch": 3, "step_size": 0.1, "scale_step_size": 0.1,
        },
        "dynamics.two_phase": {
            "transform": optax.sgd(0.1), "step_size": 0.1, "tau": 3, "noise": 0.1, "batch": None,
        },
        "probes.sharpness": {"tolerance": 0.01, "recheck": 5, "most_products": 50},
        "probes.top_eigenvalues": {"count": 2, "tolerance": 0.01, "recheck": 5},
        "probes.smallest_eigenvalue": {"products": 20, "failure": 0.01},
        "probes.diagonal_ratio": {"count": 5, "draw": 0},
        "probes.kernel_drift": {"examples": 5},
        "probes.kernel_alignment": {"examples": 5},
        "probes.kernel_effective_rank": {"examples": 5},
        "probes.kernel_smallest_eigenvalue": {"examples": 5},
        "probes.angle_gap": {"direction": np.ones(3)},
        "probes.direction_distance": {"direction": np.ones(3)},
        "probes.validation_error": {"X": X},
        "probes.validation_loss": {"X": X, "loss": next(iter(MARGIN_LOSSES.values()))},
        "probes.reconstruction_error": {"target": X},
        "probes.second_moment": {"b2": 0.9, "epsilon": 1e-8, "corrected": True},
        "probes.preconditioned_sharpness": {"diagonal": None, "tolerance": 0.1, "recheck": 2},
        "probes.singular_values": {"outputs": "first"},
        "probes.weight_matrices": {"params": params, "outputs": "last"},
        "probes.normal_derivative": {"tolerance": 1e-5},
        "probes.component_norms": {"node": ""},
        "probes.growing_strengths": {"U": np.eye(3, 2), "V": np.eye(3, 2)},
        "probes.mode_strengths": {"U": np.eye(3, 2), "V": np.eye(3, 2)},
        "probes.hierarchical_effective_rank": {"tree": TREE},
        "models.hierarchical_rank": {"T": np.ones((2,) * 4), "tree": TREE, "tolerance": 1e-10},
        "probes.Tracker": {
            "function": lambda p, b: jnp.sum(p * b), "probes": [tw.probes.loss()], "seed": 0,
        },
        "problems.mnist5k_images": {
            "samples": 5, "every": 2, "classes": None, "image": False, "split": "all",
        },
        "problems.digit_images": {
            "samples": 5, "standardize": "global", "every": 2, "classes": None, "image": False,
            "size": 8,
        },
        "problems.coordinate_plane": {"dimension": 3, "codimension": 1},
        "problems.random_plane": {"dimension": 3, "codimension": 1, "seed": 0},
        "problems.plane_of": {"points": X[:, :2] @ np.ones((2, 3)), "tolerance": 1e-8},
        "problems.deep_linear_params": {"weights": [np.ones((2, 3)), np.ones((1, 2))]},
        "problems.hierarchical_dataset": {"levels": 2},
        "problems.stream": {
            "model": tw.models.mlp([3]), "data": (X, Y), "loss": None, "lengths": (4, 2),
            "stages": ["a", "b"], "precision": "float64",
        },
        "problems.geoff_stream": {
            "model": tw.models.mlp([3]), "seed": 1, "stages": ["a", "b", "a"], "length": 4,
            "inputs": 5, "features": 3, "redrawn": 0.5, "noise": 0.1, "precision": "float64",
        },
        "problems.shifted_labels_stream": {
            "model": tw.models.mlp([3]), "data": (X, np.array([0, 1, 0, 1, 0, 1])),
            "shifts": (0, 1), "passes": 1, "seed": 0, "precision": "float64",
        },
        "problems.last_layer_problem": {**at, "features": None},
        "problems.likelihood": {"loss": tw.problems.LOSSES["squared-error"]},
        "problems.loss_smoothness": {"loss": tw.problems.LOSSES["squared-error"]},
        "problems.modes_of": {"matrix": X},
        "problems.random_modes": {"key": KEY, "s": [2.0, 1.0], "outputs": 2, "inputs": 3},
        "problems.scalar_chain": {"depth": 2, "s": 1.0, "u0": 0.1},
        "problems.power_tail": {"power": 2.0},
        "problems.stretched_exponential": {"exponent": 0.5},
        "problems.whitened_modes": {"data": tw.problems.Data.of(X, Y), "tolerance": 1e-6},
        "models.activation_slopes": piece,
        "models.downstream_matrix": {**piece, "layer": 0},
        "models.local_matrix": {**piece, "layer": 0},
        "models.passage": piece,
        "models.two_slopes": {"model": residual},
        "models.downstream_of_slopes": {**slopes, "layer": 0},
        "models.own_slopes": {**slopes, "layer": 0},
        "models.affine_piece": {
            "W": X[:3], "slopes": np.ones(3), "skip": 1.0, "branch": 1.0, "join": "add",
        },
        "models.constructed_witness": {
            "model": tw.models.mlp([8], "softplus:100"), "x": X, "key": KEY, "outputs": 1,
            "scale": None,
        },
        "models.expressivity": {**featured, "params": params, "ones": True},
        "models.expressivity_search": {**featured, "key": KEY, "draws": 2, "bias_std": 1.0},
        "models.feature_matrix": {**featured, "params": params, "ones": True},
        "models.parameter_count": {"model": tw.models.mlp([3]), "inputs": 3, "outputs": 2},
        "models.rank_of": {"A": X},
        "dynamics.central_flow": {
            "step_size": 0.1, "substeps": 4, "threshold": 1.95, "average": "none", "decay": 0.99,
            "epsilon": 0.0, "initial": None, "vectors": 8, "most_gradients": 100,
        },
        "dynamics.modified_flow": {
            "step_size": 0.1, "rtol": 1e-3, "solver": None, "most_gradients": 100,
        },
        "problems.circle_of_minima": {"slope": 3.0},
        "probes.spherical_sharpness": {"tolerance": 0.01, "recheck": 5, "most_products": 50},
        "probes.effective_learning_rate": {"step_size": 0.1, "weight_decay": 0.1},
        "dynamics.crossprop": {
            "step_size": 0.1, "mix": 0.5, "trace": "factored", "decay": "lms",
            "feature_step_size": 0.05,
        },
        "dynamics.online": {"dynamics": tw.gradient_descent(0.1)},
        "dynamics.decayed_descent": {"step_size": 0.1, "weight_decay": 0.1},
        "dynamics.spherical_rmsprop": {"step_size": 0.1, "averaging": 2.0, "initial": 1.0},
        "dynamics.sharpness_reduction_flow": {
            "step": 0.1, "averaging": 2.0, "rank_tolerance": 1e-6,
        },
        "flatness": {**at, "key": 0, "measures": ["hessian-trace"]},
        "probes.hessian_trace": {"products": 20},
        "probes.log_pseudo_determinant": {"tolerance": 1e-6},
        "probes.sam_sharpness": {"rho": 0.1, "steps": 3, "starts": 1, "tolerance": 0.1},
        "probes.adaptive_sharpness": {"rho": 0.1, "steps": 3, "starts": 1, "tolerance": 0.1},
        "probes.local_energy": {
            "sigmas": (0.1, 0.2), "draws": 4, "quantity": "loss", "noise": "additive",
            "pairs": True, "draw": 0,
        },
        "probes.local_entropy": {
            "inverse_temperature": 4.0, "coupling": 1.0, "nodes": 4, "chains": 4, "draws": 8,
            "warm_up": 4, "most_leaps": 4,
        },
        "probes.learning_coefficient": {
            "inverse_temperature": 4.0, "localisation": 1.0, "chains": 4, "draws": 8,
            "warm_up": 4, "most_leaps": 4,
        },
        "probes.learning_coefficients": {
            **at, "key": KEY, "inverse_temperatures": (4.0, 8.0), "localisation": 1.0,
            "chains": 4, "draws": 8, "warm_up": 4, "most_leaps": 4,
        },
        "dynamics.diffusion": {"step_size": 0.1, "oracle": tw.oracles.isotropic(0.1), "dt": 0.1},
        "dynamics.langevin_dynamics": {"temperature": 0.1, "dt": 0.1},
        "curvature.gradient_domination": at,
        "curvature.jacobian_rank": {"J": X},
        "curvature.layer_hessian": {
            "model": residual, "params": piece["params"], "x": X, "layer": 0, "part": "weight",
            "reduction": "mean",
        },
        "curvature.pl_constant": {"gradient_norm": [1.0, 0.5], "loss": [1.0, 0.3], "least": 0.0},
        "curvature.third_derivative": {**at, "u": flat, "v": flat},
        "problems.fitted_trace": squares_at,
        "problems.linear_weights": {"params": squares_at["params"]},
        "problems.over_parametrised_linear": {"Z": X[:2], "y": [1.0, 0.0], "scale": 1.0},
        "models.function_knots": {"function": np.abs, "grid": np.linspace(-1, 1, 9), "heavy": 0.1},
        "models.knots_of_gaps": {"knots": [0.5], "x": [0.0, 1.0], "tolerance": 0.01},
        "models.net_knots": {
            "params": tw.models.mlp([3], "relu").init(KEY, (1,), 1), "low": -1.0, "high": 1.0,
            "heavy": 1e-3, "together": 0.01,
        },
        "models.spread_biases": {
            "model": tw.models.mlp([3], "relu"), "law": "pytorch", "examples": None,
        },
        "dynamics.limiting_flow": {
            "oracle": noise, "step_size": 1.0, "rtol": 1e-3, "solver": None, "method": "auto",
            "rank": None, "most_gradients": 100,
        },
        "dynamics.limiting_diffusion": {
            "oracle": noise, "step_size": 0.1, "method": "auto", "rank": None,
        },
        "dynamics.limiting_drift": {**squares_at, "noise": noise, "method": "auto", "rank": None},
        "dynamics.limit_map": {
            **squares_at, "along": None, "beside": None, "rtol": 1e-6, "most_steps": 100,
        },
        "curvature.stiff_set": {**at, "share": 0.1, "seed": 0},
        "curvature.affine_set": {"centre": params, "normal": np.eye(flat.size)[:, :2]},
        "curvature.nearest_points": {"function": lambda p: p},
        "curvature.essential_convexity": {
            "problem": one, "region": tw.curvature.affine_set(params),
            "points": jax.tree.map(lambda a: jnp.stack([a + 1, a - 1]), params),
        },
        "curvature.subspace_overlap": {"basis": np.eye(3)[:, :2], "vectors": X},
        "curvature.participation_ratio": {"points": X},
        "curvature.walk_participation": {"points": 5, "dimensions": 4, "walks": 3, "seed": 0},
        "curvature.spectral_norm": {"function": lambda x: 2 * x, "like": np.ones(3), "seed": 0},
        "dynamics.monitored": {
            "dynamics": tw.gradient_descent(0.1), "region": tw.curvature.affine_set(params),
            "radii": [0.1, 1.0],
        },
        "probes.gradient_overlap": {"count": 2, "tolerance": 0.1, "recheck": 5},
        "dynamics.laplace_centre": {"sparsity": 0.9, "alpha": 1.0},
        "dynamics.only_matrices": {"params": params},
        "dynamics.magnitude_pruned": {"params": params, "sparsity": 0.5, "mask": None},
        "dynamics.magnitude_pruning": {
            "inner": optax.sgd(0.1), "sparsity": 0.5, "begin": 0, "every": 1, "mask": None,
        },
        "dynamics.grad_r": {
            "learning_rate": 0.1, "alpha": 0.1, "sparsity": 0.9, "rule": "adam", "centre": -0.1,
            "accurate": True, "b1": 0.9, "b2": 0.99, "epsilon": 1e-8, "mask": None, "others": None,
        },
        "dynamics.deep_r": {
            "learning_rate": 0.1, "l1": 0.1, "sparsity": 0.9, "noise": 0.1, "rule": "adam",
            "b1": 0.9, "b2": 0.99, "epsilon": 1e-8, "seed": 0, "mask": None, "others": None,
        },
        "dynamics.soft_deep_r": {
            "learning_rate": 0.1, "l1": 0.1, "noise": 0.1, "sparsity": 0.9, "rule": "adam",
            "b1": 0.9, "b2": 0.99, "epsilon": 1e-8, "seed": 0, "mask": None, "others": None,
        },
        "probes.weight_histogram": {"edges": [0.0, 1.0]},
        "probes.strength_histogram": {"edges": [0.0, 1.0]},
        "probes.set_distance": {"region": tw.curvature.affine_set(params)},
        "curvature.lyapunov_solve": {"H": np.eye(2), "S": np.eye(2), "tolerance": None},
        "curvature.normal_space": {
            **squares_at, "method": "auto", "rank": None, "tolerance": None,
        },
        "curvature.retracted": {**squares_at, "method": "auto", "rank": None},
        "curvature.third_contracted": {**at, "left": flat[:, None], "right": flat[:, None]},
        "curvature.hessian": {**at, "where": None},
        "curvature.gauss_newton": {**at, "where": None},
        "curvature.fisher": {**at, "where": None},
        "curvature.empirical_fisher": {**at, "where": None},
        "curvature.jacobian": {**at, "where": None},
        "curvature.fisher_sampled": {**at, "key": KEY, "samples": 1, "where": None},
        "curvature.kronecker_difference": {
            "A": np.eye(2), "B": np.eye(3), "C": np.eye(2) / 2, "D": np.eye(3) / 2, "sign": -1.0,
        },
        "curvature.kronecker_fisher": {
            **at, "structure": "diagonal", "targets": "exact", "key": KEY, "samples": 1,
            "damping": 0.1,
        },
        "curvature.kronecker_layers": {**at},
        "curvature.whole_matrices": {**at, "last": None},
        "curvature.max_over_median": {"values": np.ones(3)},
        "curvature.preconditioned": {
            "operator": hessian, "diagonal": jax.tree.map(jnp.ones_like, params),
        },
        "curvature.trace": {**spectrum, "method": "xtrace", "products": 12},
        "curvature.diagonal": {**spectrum, "method": "xdiag", "products": 20},
        "curvature.top_k": {**spectrum, "k": 2, "tolerance": 1e-3, "width": None, "check": True},
        "curvature.smallest": {**spectrum, "k": 2, "tolerance": 1e-3, "most_products": 100},
        "curvature.above": {**spectrum, "threshold": 0.1, "capacity": 4},
        "curvature.spectral_density": {**spectrum, "probes": 2, "depth": 5, "grid": 10},
        "curvature.block_ratios": {**at, "method": "exact", "key": KEY, "products": 12},
        "curvature.trace_gradient": {**at, "key": KEY, "method": "hutchinson", "samples": 10},
        "curvature.sharpness_gradient": {**at, "key": KEY, "most_products": 100},
        "estimators.best_eigenmap": {**smoothed, "operator": laplacian},
        "estimators.best_laplacian": {**smoothed, "power": 1, "penalties": [0.1, 1.0]},
        "estimators.centred_spike": {"side": 8, "dims": 2, "order": 0},
        "estimators.pyramid_on_plane": {"side": 8},
        "estimators.degrees_of_freedom": {"fit": fitted},
        "estimators.difference_operator": {"shape": (4, 5), "order": 1, "designs": None},
        "estimators.divided_differences": spline,
        "estimators.eigenmap_filter": {"largest": 0.5},
        "estimators.falling_factorial_basis": {
            "design": [0.0, 1.0, 2.0], "order": 1, "points": [0.5],
        },
        "estimators.falling_factorial_coefficients": spline,
        "estimators.interpolate": {
            "points": [0.5], "values": [0.0, 1.0, 4.0], "order": 1, "designs": [[0.0, 1.0, 2.0]],
        },
        "estimators.laplacian_filter": {"penalty": 0.1, "power": 1},
        "estimators.lattice_laplacian": {"shape": (4, 5)},
        "estimators.linear_risk": {**smoothed, "operator": laplacian, "shrink": halved},
        "estimators.piece_labels": {"shape": (3,), "signs": [np.array([0, 1])]},
        "estimators.smooth": {"y": Y, "operator": laplacian, "shrink": halved},
        "estimators.spline_total_variation": spline,
        "estimators.stein_risk": {"fit": fitted, "y": Y, "sigma": 0.1},
        "estimators.total_variation_prox": {"values": Y, "threshold": 0.1, "axis": 0},
        "estimators.trend_filter": {
            "y": Y, "penalty": 0.1, "order": 0, "designs": None, "weights": None, "draws": False,
            "tolerance": 1e-2, "start": None, "most_iterations": 50,
        },
        "estimators.trend_filter_path": {**penalised, "weights": None},
        "estimators.tune_by_cross_validation": {**penalised, "folds": 2, "seed": 0},
        "estimators.tune_by_stein": {**penalised, "sigma": 0.1},
        "estimators.tune_by_truth": {**penalised, "truth": Y},
        "kernels.alignment": {"left": kernel, "right": kernel, "centred": False},
        "kernels.arc_cosine_kernel": {"x1": X, "x2": X, "order": 1},
        "kernels.as_matrix": {"kernel": kernel},
        "kernels.effective_rank_of": {"kernel": kernel, "form": "entropy"},
        "kernels.infinite_width_kernels": {
            "x1": X, "depth": 2, "activation": "relu", "weight_variance": 1.0,
            "bias_variance": 0.0, "nodes": 20,
        },
        "kernels.kernel_cost": {**at, "n1": 2, "n2": 2, "outputs": "full", "memory": 1e6},
        "kernels.drift": {"kernel": kernel, "start": kernel},
        "kernels.layer_grams": at,
        "kernels.linearised_flow": {**at, "times": [0.0, 1.0], "rtol": 1e-3},
        "kernels.normalisation": {"activation": "relu", "nodes": 20},
        "kernels.two_layer_relu_gram": {"x": X / np.linalg.norm(X, axis=1, keepdims=True)},
        "kernels.gaussian_mean": {"activation": "tanh", "variances": np.ones(2), "nodes": 20},
        "kernels.pattern_change": {"weights": X, "start": X, "x": X},
        "kernels.population_gram": {
            "architecture": "fully-connected", "depth": 2,
            "x": X / np.linalg.norm(X, axis=1, keepdims=True), "activation": "softplus",
            "nodes": 20,
        },
        "kernels.smallest_eigenvalue_of": {"kernel": kernel, "entry_error": 0.0},
        "kernels.tangent_kernel": {
            **at, "x1": X, "outputs": "trace", "layers": False, "where": "*", "method": "auto",
            "block": 2, "memory": 1e6,
        },
        "kernels.target_alignment": {"kernel": kernel, "targets": Y, "centred": False},
        "kernels.two_layer_gram": {"weights": X, "x": X, "activation": "relu"},
        "kernels.last_layer_gram": {
            "model": wide, "params": wide.init(KEY, (3,), 1, jnp.float64), "x": X,
        },
    }  # fmt: skip


# Doors that other tests walk (the first five), or whose right calls take files or long preparation.
UNLISTED = {
    "diagnose", "load", "oracles.gaussian", "oracles.page", "oracles.particle_noise",
    "trajectory.over_seeds", "trajectory.staying_share", "theory.make_prediction",
    "study", "problem", "sweep", "problems.mnist5k",
    "problems.interaction_regulariser", "problems.is_same_class",
    "problems.long_range", "problems.near_plane", "problems.column_change",
    "problems.error_off_plane", "models.first_layer_gradient", "models.normal_derivatives",
    "kernels.expectations", "kernels.linearised_outputs", "kernels.linearised_parameters",
    "kernels.tangent_kernel_to_zarr", "models.from_flax", "models.from_haiku",
    "models.from_keras", "models.from_torch", "problems.cifar10_images", "problems.mnist_images",
}  # fmt: skip


def function_of(name: str) -> Callable[..., Any]:
    found: Any = tw
    for part in name.split("."):
        found = getattr(found, part)
    return found


def attempts(
    right: dict[str, dict[str, Any]], of: Callable[[str], Callable[..., Any]]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every right call with every argument replaced in turn by everything hostile."""
    for name, arguments in right.items():
        function = of(name)
        for argument in arguments:
            for what, value in HOSTILE.items():
                wrong = {**arguments, argument: value}
                yield f"{name}({argument}={what})", lambda f=function, a=wrong: f(**a)


def failures(
    right: dict[str, dict[str, Any]], of: Callable[[str], Callable[..., Any]] = function_of
) -> tuple[int, list[str]]:
    """How many hostile calls were made, and those that ended in anything but a sentence."""
    count, wrong = 0, []
    held = shapes.unchecked.set(True)  # what is said must be said by the package
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label, attempt in attempts(right, of):
            count += 1
            try:
                attempt()
            except InputError as error:
                if len(str(error).splitlines()) != 1:
                    wrong.append(f"{label}: not one line: {error}")
            except Exception as error:  # whatever else there is, is what is looked for
                first = (str(error) or "-").splitlines()[0][:100]
                wrong.append(f"{label}: {type(error).__name__}: {first}")
    shapes.unchecked.reset(held)
    return count, wrong


def missing() -> list[str]:
    """Public functions that no right call is listed of, under this name or another."""
    listed = {function_of(name) for name in calls()} | {function_of(name) for name in UNLISTED}
    listed = {getattr(function, "__wrapped__", function) for function in listed}
    rooms = (
        "", "problems.", "models.", "dynamics.", "probes.", "curvature.", "kernels.", "estimators.",
        "oracles.", "trajectory.", "theory.",
    )  # fmt: skip
    return [
        room + name
        for room in rooms
        for name in (function_of(room[:-1]) if room else tw).__all__
        if inspect.isfunction(function_of(room + name))
        and inspect.signature(function_of(room + name)).parameters
        and getattr(f := function_of(room + name), "__wrapped__", f) not in listed
    ]


if __name__ == "__main__":
    import os
    import sys
    import tempfile

    os.chdir(tempfile.mkdtemp())  # a text in place of a folder makes one
    chosen = calls()
    if sys.argv[1:]:
        chosen = {n: a for n, a in chosen.items() if any(n.startswith(p) for p in sys.argv[1:])}
    for name, arguments in chosen.items():
        try:
            function_of(name)(**arguments)
        except Exception as error:
            print("NOT RIGHT:", name, type(error).__name__, error)
    number, found = failures(chosen)
    print(*found, sep="\n")
    print(number, "hostile calls,", len(found), "failures")
