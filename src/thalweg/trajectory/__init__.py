"""The labelled result of a run and its store."""

from thalweg.trajectory.store import MemoryStore, Store, StoreError, Variable, ZarrStore
from thalweg.trajectory.trajectory import Trajectory, load

__all__ = [
    "MemoryStore",
    "Store",
    "StoreError",
    "Trajectory",
    "Variable",
    "ZarrStore",
    "load",
]
