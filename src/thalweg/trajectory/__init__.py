"""The labelled result of a run and its store."""

from thalweg.core.doors import guard
from thalweg.storage.files import StoreError
from thalweg.trajectory.ensemble import over_seeds
from thalweg.trajectory.store import MemoryStore, Store, Variable, ZarrStore
from thalweg.trajectory.survival import staying_share
from thalweg.trajectory.trajectory import Trajectory, load

__all__ = [
    "MemoryStore",
    "Store",
    "StoreError",
    "Trajectory",
    "Variable",
    "ZarrStore",
    "load",
    "over_seeds",
    "staying_share",
]

guard(globals(), ["over_seeds", "staying_share"])
