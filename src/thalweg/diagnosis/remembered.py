"""What an optimiser remembers where a training begins: an Optax or PyTorch state, a file, a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params
from thalweg.diagnosis.checkpoint import CHECKPOINTS, OF_A_FOLDER, PARAMETERS, SEED, arrays_of
from thalweg.driver.chunks import typed
from thalweg.dynamics import continued
from thalweg.dynamics.around import Around
from thalweg.dynamics.dynamics import Continuous, Discrete
from thalweg.dynamics.noisy_steps import Noisy
from thalweg.dynamics.optax_descent import OptaxDescent
from thalweg.dynamics.optax_update import manner_of
from thalweg.dynamics.optimiser_state import PARTS, from_parts, named_parts, steps_counted
from thalweg.problems.problem import Problem
from thalweg.trajectory import ZarrStore, load

# What PyTorch calls the parts of a state, and what Optax does.
OF_TORCH = {
    "step": "count", "exp_avg": "mu", "exp_avg_sq": "nu", "square_avg": "nu", "grad_avg": "mu",
    "momentum_buffer": "trace", "sum": "sum_of_squares",
}  # fmt: skip
NOT_ALIKE = {
    "max_exp_avg_sq": "amsgrad, which keeps the largest moment before its correction, where Optax "
    "keeps it after",
    "mu_product": "NAdam, whose momentum has a schedule that Optax's has not",
}


class GoneOn(NamedTuple):
    """A dynamics with what its optimiser remembers.

    Attributes:
        dynamics: It begins there.
        words: Which state that is, as "the state in adam.npz, after 100 steps"; empty for none.
    """

    dynamics: Discrete
    words: str = ""


def remembered(problem: Problem, steps: Discrete, state: Any, start: Any) -> GoneOn:
    """The dynamics with the state that `diagnose` takes.

    Args:
        problem: What is trained.
        steps: Its training.
        state: None; an Optax state; its parts by their names there, or by PyTorch's, as trees or
            flat; a PyTorch optimiser, or its `state_dict()`; a file .npz of the parts; a run
            folder or a store, of several seeds with `:seed=3` behind it.
        start: What came as the start.

    Raises:
        InputError: If the dynamics has no state, or it is of another optimiser or other parameters.
    """
    if state is None:
        return GoneOn(steps)
    owner = continued(steps, state)  # which refuses what has none
    inner = _innermost(owner)
    params = jax.eval_shape(problem.init, jax.random.key(0))
    like = manner_of(inner.alike, params).state
    words = "the state given"
    if isinstance(state, str | Path):
        path = _path_of(str(state))
        words = f"the state in {path}"
        if path.suffix == ".zarr":
            require(
                start is not None,
                f"state came as {str(state)!r} without a start, to whose parameters it belongs; "
                "give start, too",
            )
            state = _of_a_run(problem, steps, params, str(state).partition(SEED)[2], path)
        else:
            state = {n: a for n, a in arrays_of(path, "state").items() if n not in PARAMETERS}
    elif hasattr(state, "state_dict") or _is_state_dict(state):
        state = _of_torch(problem, state, params)
    if isinstance(state, Mapping):
        parts: dict[str, Any] = {OF_TORCH.get(str(n), str(n)): a for n, a in state.items()}
        known = ", ".join(PARTS)
        for name in state:
            require(
                name in OF_TORCH or name in PARTS,
                f"state holds {name!r}; what an optimiser remembers is called {known}, or as in "
                f"PyTorch {', '.join(OF_TORCH)}",
            )
        if "step" in state and "count" not in named_parts(like):
            del parts["count"]  # which PyTorch counts, but Optax does not
        state = from_parts(parts, like, params, steps.name)
    elif not _alike(state, like):
        # As within a chain of more, or with its learning rate beside.
        state = from_parts(named_parts(state), like, params, steps.name)
    begun = continued(steps, state)
    jax.eval_shape(lambda p: begun.init(problem, p), params)  # which refuses what does not fit
    count = steps_counted(state)
    counted = "" if count is None else f", after {count:,} step{'' if count == 1 else 's'}"
    return GoneOn(begun, words + counted)


def begun_in_words(
    at: str, state: str, name: str, flow: Continuous, remembers: bool, preconditioned: bool
) -> str:
    """Where both begin and what the optimiser remembers there; empty where the problem draws."""
    where = f"Both begin at {at}, not where the problem draws." if at else ""
    begins = f"{name[:1].upper()}{name[1:]}"
    if state:
        where += f" {begins} goes on from {state}"
        begun = (getattr(flow, field, None) for field in ("begin", "pushed"))
        with_it = any(field is not None for field in begun) or np.ndim(getattr(flow, "initial", 0))
        where += f", and {flow.name} with it." if with_it else "."
    elif at and remembers:
        where += (
            f" What {name} remembers of earlier steps begins anew there; state= goes on from that "
            "of your run."
        )
        if preconditioned:
            where += (
                " Its preconditioner is made of the few gradients since: the preconditioned "
                "sharpness of the first records, and what is said of its threshold there, is that "
                "of this restart, not of the run before."
            )
    return where.strip()


def _alike(state: Any, like: Any) -> bool:
    own: Any = jax.tree.structure(state)
    return own == jax.tree.structure(like)


def _innermost(dynamics: Discrete) -> OptaxDescent:
    while isinstance(dynamics, Around):
        dynamics = dynamics.base
    assert isinstance(dynamics, OptaxDescent)
    return dynamics


def _path_of(state: str) -> Path:
    path = Path(state.partition(SEED)[0])
    if not path.suffix and (path / OF_A_FOLDER).is_dir():
        path /= OF_A_FOLDER
    require(
        path.suffix not in CHECKPOINTS,
        f"state came as {state!r}, a framework's checkpoint; load it, as "
        "optimizer.load_state_dict(torch.load(...)), and give the optimizer itself",
    )
    require(
        path.suffix in (".zarr", ".npz"),
        f"state came as {state!r}; give a run (.zarr, or its folder), or a file .npz with what the "
        f"optimiser remembers by name, as {', '.join(PARTS[:4])}",
    )
    return path


def _of_a_run(problem: Problem, steps: Discrete, params: Params, seed: str, path: Path) -> Any:
    """The Optax state at the last record of a run of the same optimiser."""
    run = load(path)
    require(
        run.name == steps.name,
        f"state came as {str(path)!r}, a run of {run.name}; give one of {steps.name}",
    )
    seeds = [str(int(s)) for s in run.dataset["seed"].values]
    chosen = seed.removeprefix(SEED) or seeds[0]
    require(
        chosen in seeds and (bool(seed) or len(seeds) == 1),
        f"state came as {str(path)!r}, which holds the seeds {', '.join(seeds[:12])}; choose one, "
        f"as {path}{SEED}{seeds[-1]}",
    )
    like = jax.eval_shape(lambda p: steps.init(problem, p), params)
    leaves, structure = jax.tree.flatten(like)
    found = (ZarrStore(path).state() or [])[: len(leaves)]
    require(
        [a.shape[1:] for a in found] == [_kept_shape(leaf) for leaf in leaves],
        f"state came as {str(path)!r}, a run of other parameters, or of another kind of "
        f"{steps.name}; give one of the same problem",
    )
    lane = seeds.index(chosen)
    whole = [typed(a[lane], leaf) for a, leaf in zip(found, leaves, strict=True)]
    reached = jax.tree.unflatten(structure, whole)
    while isinstance(steps, Noisy):
        reached, steps = steps.inner(reached), steps.base
    return reached.memory.state


def _kept_shape(leaf: Any) -> tuple[int, ...]:
    """The shape of a leaf as a run keeps it: of a random key that of its data."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return tuple(leaf.shape)


def _is_state_dict(state: Any) -> bool:
    return isinstance(state, Mapping) and {"state", "param_groups"} <= set(state)


def _of_torch(problem: Problem, optimiser: Any, params: Params) -> dict[str, Any]:
    """The parts of a PyTorch optimiser's state by PyTorch's names, as the parameters are named."""
    whole = optimiser if _is_state_dict(optimiser) else optimiser.state_dict()
    named = getattr(getattr(problem, "model", None), "named", None)
    require(
        named is not None and isinstance(params, dict),
        "state came as that of a PyTorch optimiser for a problem that is no PyTorch module's; give "
        "an Optax state, or its parts by name",
    )
    assert named is not None
    names = _names_by_index(optimiser, whole, named())
    by_part: dict[str, dict[str, Any]] = {}
    for group in whole["param_groups"]:
        require(
            not group.get("maximize") and not group.get("dampening"),
            "state came from a PyTorch optimiser that maximises or dampens, which no optimiser "
            "here does",
        )
        # Optax keeps the momentum of RMSProp's steps, PyTorch that of the directions.
        scale = -float(group["lr"]) if "alpha" in group else 1.0
        for index in group["params"]:
            held = whole["state"].get(index, {})
            for part, value in held.items():
                require(
                    part not in NOT_ALIKE,
                    f"state came from PyTorch's {NOT_ALIKE.get(part, '')}: neither goes on from "
                    "the other",
                )
                if value is not None:
                    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
                    array = scale * array if part == "momentum_buffer" else array
                    by_part.setdefault(part, {})[names[index]] = array
    require(
        bool(by_part),
        "state came from a PyTorch optimiser that has taken no step, or remembers nothing; leave "
        "state out",
    )
    for part, found in by_part.items():
        lost = [name for name in params if name not in found]
        require(
            not lost,
            f"state came from a PyTorch optimiser without {part} of {', '.join(lost[:3])}, which "
            "is trained here; give the optimizer of all of them",
        )
    parts: dict[str, Any] = {
        part: {name: found[name] for name in params}
        for part, found in by_part.items()
        if part != "step"
    }
    counts = {float(count) for count in by_part.get("step", {}).values()}
    require(
        len(counts) <= 1,
        f"state came from a PyTorch optimiser whose weights have taken {len(counts)} different "
        "numbers of steps, where Optax counts one for all; give one that moves them together",
    )
    return parts | ({"step": counts.pop()} if counts else {})


def _names_by_index(optimiser: Any, whole: Any, weights: list[tuple[str, Any]]) -> dict[int, str]:
    """The module's names of an optimiser's weights, by the index in its state."""
    groups = whole["param_groups"]
    own = {id(p): name for name, p in weights}
    if not _is_state_dict(optimiser):
        pairs = [
            (index, own.get(id(p)))
            for group, plain in zip(optimiser.param_groups, groups, strict=True)
            for index, p in zip(plain["params"], group["params"], strict=True)
        ]
        if all(name is not None for _, name in pairs):
            return {index: str(name) for index, name in pairs}
    if all("param_names" in group for group in groups):
        return {
            index: name
            for group in groups
            for index, name in zip(group["params"], group["param_names"], strict=True)
        }
    indices = [index for group in groups for index in group["params"]]
    every = [name for name, _ in weights]
    trained = [name for name, p in weights if p.requires_grad]
    for names in (every, trained):
        if len(groups) == 1 and len(indices) == len(names):
            return dict(zip(indices, names, strict=True))
    raise InputError(
        f"state came from a PyTorch optimiser of {len(indices)} weights in {len(groups)} groups, "
        f"and the module of the problem has {len(every)}: which is which cannot be told; give the "
        "optimizer itself that was made of this module's parameters"
    )
