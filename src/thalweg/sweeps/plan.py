"""How the lanes of a sweep are laid out in blocks: by kind, by cost, by memory; and nothing else.

The layout follows from what is asked for alone, not from how many processes there are or how much
memory is free, so that it is the same everywhere: the bits of a lane may depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from thalweg.core.errors import require
from thalweg.driver.block import Block, Horizon, program_key
from thalweg.driver.footprint import room_for_lane
from thalweg.driver.layout import schedule_of, work_of
from thalweg.probes.probe import Every
from thalweg.problems.problem import Problem
from thalweg.sweeps.members import Members
from thalweg.trajectory.provenance import fingerprint

MOST_LANES = 64  # of a block
LARGEST = 1e9  # bytes that the lanes of a block may work with side by side
ALONE = 200_000  # parameters times examples from which on members have blocks of their own


class Place(NamedTuple):
    """A lane by what it is: the digest of its member, and its seed."""

    member: str
    seed: int


Lanes = tuple[Place, ...]


def block_name(common: str, lanes: Lanes) -> str:
    """The name of a block, from all that decides its numbers."""
    return f"block-{fingerprint({'common': common, 'lanes': [list(lane) for lane in lanes]})}"


def planned(
    problem: Problem, members: Members, places: Sequence[Place], horizon: Horizon, probes: Any
) -> list[Lanes]:
    """Blocks that hold every place once at least.

    A block has lanes of one kind, and members of like cost. Where a lane is much work by itself it
    has the seeds of one member; else so many members that it has at most `MOST_LANES` lanes. Blocks
    of one kind and the same seeds have one shape, and so share what was compiled: the last repeats
    a member where they do not come out even.
    """
    index = {mark: i for i, mark in enumerate(members.prints)}
    seeds: dict[str, list[int]] = {}
    for place in places:
        seeds.setdefault(place.member, []).append(place.seed)
    kinds: list[tuple[Any, list[str]]] = []
    for mark in seeds:
        kind = (program_key(members.dynamics[index[mark]]), tuple(seeds[mark]))
        alike = [group for known, group in kinds if known == kind]
        if alike:
            alike[0].append(mark)
        else:
            kinds.append((kind, [mark]))
    blocks: list[Lanes] = []
    for (_, labels), group in kinds:
        group = sorted(group, key=lambda mark: _steps(horizon, members, index[mark]))
        size = _members_at_once(problem, members, index[group[0]], len(labels), probes)
        count = math.ceil(len(group) / size)
        size = math.ceil(len(group) / count)
        padded = group + [group[-1]] * (size * count - len(group))
        blocks += [
            tuple(Place(mark, seed) for mark in padded[i : i + size] for seed in labels)
            for i in range(0, len(padded), size)
        ]
    return blocks


def block_of(lanes: Lanes, members: Members) -> Block:
    """What is worked on, from its places."""
    index = {mark: i for i, mark in enumerate(members.prints)}
    dynamics = tuple(members.dynamics[index[lane.member]] for lane in lanes)
    return Block(dynamics, tuple(lane.seed for lane in lanes))


def _steps(horizon: Horizon, members: Members, index: int) -> int:
    marks = horizon.marks(members.dynamics[index])
    require(marks.steps is not None, "a sweep takes dynamics in steps")
    assert marks.steps is not None
    return int(marks.steps[-1])


def _members_at_once(
    problem: Problem, members: Members, first: int, seeds: int, probes: Any
) -> int:
    if work_of(problem) > ALONE:
        return 1
    member = members.dynamics[first]
    schedule = [Every(s.probe.along(member), s.period) for s in schedule_of(probes)[0]]
    room = room_for_lane(problem, member, schedule, LARGEST / MOST_LANES)
    most = min(MOST_LANES, LARGEST / max(room, 1))
    return max(1, int(most // seeds))
