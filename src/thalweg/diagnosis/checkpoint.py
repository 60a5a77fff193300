"""Parameters to begin at: a tree, a flat vector, the end of a run, or what lies on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.archives import damaged_part
from thalweg.core.arguments import told
from thalweg.core.errors import InputError, reason, require
from thalweg.core.tree import Params
from thalweg.problems.problem import Problem, unraveller
from thalweg.trajectory import Trajectory, load

SEED = ":seed="  # after the path of a store of several seeds
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")
PARAMETERS = ("parameters", "params")  # in a file that holds more
OF_A_FOLDER = "descent.zarr"  # what is begun at of a run folder of ours


class Checkpoint(NamedTuple):
    """Where a training begins, if not where its problem draws.

    Attributes:
        params: Parameters as the problem has them; None where it draws.
        words: Which they are, as "the parameters in weights.npy"; empty where it draws.
    """

    params: Params | None = None
    words: str = ""


def checkpoint(problem: Problem, start: Any) -> Checkpoint:
    """Where to begin, from what `diagnose` takes.

    Args:
        problem: Whose parameters they are.
        start: None, parameters as a tree, flat (p,) or as a `state_dict` of PyTorch, a trajectory
            of one seed, a store ending in .zarr (of several seeds with `:seed=3` behind it), a run
            folder, or a file of flat parameters ending in .npy or .npz, where it holds more under
            the name parameters; nothing is unpickled.

    Raises:
        InputError: If there is none, it is not what its ending says, one of several seeds must be
            chosen, or the parameters are not the problem's, or not finite.
    """
    if start is None:
        return Checkpoint()
    words, found = "the parameters given", start
    if isinstance(start, str | Path):
        found, words = _read(str(start))
    elif isinstance(start, Trajectory):
        found, words = _last_of(start, f"the run of {start.name} given", "start", "")
    drawn = jax.eval_shape(problem.init, jax.random.key(0))
    if isinstance(found, np.ndarray | jax.Array):
        size = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(drawn))
        own = np.shape(found) == getattr(drawn, "shape", None)
        require(
            (own or np.shape(found) == (size,)) and np.asarray(found).dtype.kind in "biuf",
            f"start came as {told(found)}; the problem has {size} parameters: give real numbers as "
            "problem.init does, or flat as a run records them",
        )
        lost = int((~np.isfinite(np.asarray(found, float))).sum())
        require(
            lost == 0,
            f"start is {words}, of which {lost} parameters are not finite; begin where the run "
            "had not diverged yet",
        )
        kind = jnp.result_type(*jax.tree.leaves(drawn))
        found = found if own else unraveller(problem)(jnp.asarray(found, kind))
    elif isinstance(found, Mapping) and isinstance(drawn, dict):
        found = _by_name(found, drawn)
    return Checkpoint(found, words)


def _by_name(found: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """A `state_dict` of tensors as the problem has its parameters, or what came if it is none.

    What it holds beside them, as the averages of batch normalisation, the problem holds fixed as
    its module has it, so that it cannot come from elsewhere.
    """
    if not any(hasattr(value, "detach") for value in found.values()):
        return dict(found)
    lost = [f"without {name}, which is" for name in drawn if name not in found]
    others = [f"with {name}, which is not" for name in found if name not in drawn]
    for how in (*lost, *others):
        raise InputError(
            f"start came as a state_dict {how} among the parameters of the problem; load it into "
            "the module, net.load_state_dict(start), make the problem of that, and leave start "
            "out: training begins at the weights that the module holds"
        )
    return {name: np.asarray(found[name].detach().cpu()) for name in drawn}


def _read(start: str) -> tuple[np.ndarray, str]:
    """Flat parameters from a path, and what they are."""
    place, _, seed = start.partition(SEED)
    path = Path(place)
    if not path.suffix and (path / OF_A_FOLDER).is_dir():
        path /= OF_A_FOLDER
    require(
        path.suffix not in CHECKPOINTS,
        f"start came as {start!r}, a framework's checkpoint; load it into the module, as "
        "net.load_state_dict(torch.load(...)), make the problem of that, and leave start out: "
        "training begins at the weights that the module holds",
    )
    require(
        path.suffix in (".zarr", ".npy", ".npz"),
        f"start came as {start!r}; give a run (.zarr, or its folder) or flat parameters (.npy, "
        ".npz)",
    )
    if path.suffix == ".zarr":
        return _last_of(load(path), str(path), f"start {str(path)!r}", seed)
    require(not seed, f"start came as {start!r}; only a run (.zarr) has seeds to choose from")
    return _of_a_file(path), f"the parameters in {path}"


def _last_of(run: Trajectory, where: str, what: str, seed: str) -> tuple[np.ndarray, str]:
    """The last record of a seed of a run, and what it is."""
    seeds = [int(s) for s in run.parameters["seed"].values]
    listed = ", ".join(map(str, seeds[:12])) + (", ..." if len(seeds) > 12 else "")
    how = (
        "parameters.sel(seed=...).isel(time=-1).values of the trajectory"
        if what == "start"
        else f"{where}{SEED}{seeds[-1]}"
    )
    require(
        bool(seed) or len(seeds) == 1,
        f"{what} holds {len(seeds)} seeds ({listed}); choose one of them, as {how}",
    )
    chosen = seed or str(seeds[0])
    require(
        chosen in map(str, seeds), f"{what} has no seed {chosen!r}; it has {listed}: choose one"
    )
    last = run.parameters.sel(seed=int(chosen)).isel(time=-1)
    time = float(last["time"])
    return np.asarray(last.values), (
        f"the last record (training time {time:.6g}) of {where}, seed {chosen}"
    )


def _of_a_file(path: Path) -> np.ndarray:
    """The one array in a file in NumPy's format, or that of the parameters."""
    found = arrays_of(path, "start")
    named = [name for name in PARAMETERS if name in found]
    require(
        len(found) == 1 or len(named) == 1,
        f"start {str(path)!r} holds {len(found)} arrays ({', '.join(list(found)[:5])}); give one "
        "of flat parameters, or call it parameters",
    )
    return found[named[0]] if named else next(iter(found.values()))


def arrays_of(path: Path, what: str) -> dict[str, np.ndarray]:
    """The arrays in a file in NumPy's format by name; of an .npy its one.

    Raises:
        InputError: If there is no such file, or it cannot be read; nothing is unpickled.
    """
    require(path.is_file(), f"{what} {str(path)!r}: there is no such file; check the path")
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                require(not file.read(1), "there is more in it than its header says")
                return {PARAMETERS[0]: found}
            damaged = damaged_part(path)
            require(damaged is None, f"{damaged} is not as its checksum says")
            return {name: np.asarray(found[name]) for name in found}
    except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
        raise InputError(
            f"{what} {str(path)!r} cannot be read as NumPy's format ({reason(error)}); save it "
            "again"
        ) from None
