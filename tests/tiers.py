"""Which tests run when, and what one of them may cost.

Three tiers, told by markers: the fast one (neither marker, `make test`), the thorough one (`make
check`), the slow one (`make verify`). A test dearer than its tier allows fails, so that the tiers
stay as short as their targets promise. What counts is CPU time of the process and of its finished
children: a busy machine fails nothing. `@pytest.mark.thorough(after=2)` on a parametrised test
leaves its first two cases in the fast tier; `after` of a large number leaves all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Budget(NamedTuple):
    """CPU seconds without stored programs, on a core of 2024; nothing means no limit."""

    setup: float | None
    """For the first test that asks for a module's fixtures, which are shared by its neighbours."""
    call: float | None


FAST, THOROUGH, SLOW = "fast", "thorough", "slow"

BUDGETS = {
    FAST: Budget(setup=30, call=25),
    THOROUGH: Budget(setup=90, call=60),
    SLOW: Budget(setup=None, call=None),
}

NEXT = {FAST: THOROUGH, THOROUGH: SLOW}
TARGETS = {FAST: "make test", THOROUGH: "make check", SLOW: "make verify"}

# Planted faults: each runs a claim again on a study that was made wrong.
THOROUGH_FILES = {"test_faults.py"}

# Where each case of a test compiles programs of its own, the first ones of it are fast, the last
# ones slow, but for what a contract asks of each newcomer.
COMPILING_ROOMS = {"curvature", "dynamics", "kernels", "models", "probes", "theory"}
FAST_CASES, THOROUGH_CASES = 2, 4
CONTRACTS = {"test_contract.py"}

# A study's smoke run compiles all that is in it: that of one study is fast, a sample of the rest.
SMOKE, FAST_STUDY = "smoke", "wu2020"

# Tests that were measured to be dear, and cases too dear for `make check`, a line each;
# `tools/tier_tests.py` writes both from a run.
HERE = Path(__file__).parent
MEASURED = frozenset((HERE / "thorough.txt").read_text("utf-8").splitlines())
DEAREST = frozenset((HERE / "slow.txt").read_text("utf-8").splitlines())

LONGEST_SHOWN = 10

SPENT = pytest.StashKey[dict[str, float]]()


def tier_of(item: pytest.Item) -> str:
    """Of the tier's markers the slower one counts."""
    for tier in (SLOW, THOROUGH):
        if item.get_closest_marker(tier) is not None:
            return tier
    return FAST


def cpu_seconds() -> float:
    """Of this process and of the children that it waited for, since it began."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tiers", "what tests may cost")
    group.addoption(
        "--budget",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="times the CPU seconds that a tier allows a test (a slow machine: 2; no limit: inf)",
    )
    group.addoption(
        "--cpu-times",
        type=Path,
        metavar="FILE",
        help="write each test's tier and CPU seconds (set-up, call, teardown) to a JSON file",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ledger(config.getoption("--cpu-times")), "ledger")


def case(item: pytest.Item) -> int:
    """Which case of its test this is, from 0, however few of them are asked for."""
    callspec = getattr(item, "callspec", None)
    return 0 if callspec is None else max(callspec.indices.values())


def thorough_by_rule(item: pytest.Item) -> bool:
    """Whether its file, its measured cost or its place among the cases makes a test thorough."""
    if item.path.name in THOROUGH_FILES or item.nodeid.split("[")[0] in MEASURED:
        return True
    if SMOKE in getattr(item, "fixturenames", ()) and FAST_STUDY not in item.nodeid:
        return True
    return compiling(item) and case(item) >= FAST_CASES


def compiling(item: pytest.Item) -> bool:
    """Whether each case of this test compiles programs of its own."""
    return bool(COMPILING_ROOMS & set(item.path.parts)) and item.path.name not in CONTRACTS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest chooses by markers: what is thorough by a rule, first cases that are not.

    The files beside this one, which run all pages and all examples, are dear and come first: at the
    end one worker would wait for the other.
    """
    items.sort(key=lambda item: item.path.parent != HERE)  # each folder keeps its order
    for item in items:
        if item.nodeid in DEAREST:
            item.add_marker(SLOW)
        for mark in item.iter_markers(THOROUGH):
            if "after" in mark.kwargs and hasattr(item, "callspec"):
                if case(item) < mark.kwargs["after"]:
                    item.own_markers.remove(mark)
                break
        else:
            if thorough_by_rule(item):
                item.add_marker(THOROUGH)
            if compiling(item) and case(item) >= THOROUGH_CASES:
                item.add_marker(SLOW)


def timed(item: pytest.Item, phase: str) -> Generator[None, Any, Any]:
    """Run a phase of a test and note what it cost; fail the test if that is too much."""
    before = cpu_seconds()
    try:
        result = yield
    finally:
        spent = cpu_seconds() - before
        item.stash.setdefault(SPENT, {})[phase] = spent
    tier = tier_of(item)
    allowed = getattr(BUDGETS[tier], phase, None)
    factor = item.config.getoption("--budget")
    if allowed is not None and spent > factor * allowed:
        pytest.fail(
            f"{item.nodeid}: {phase} took {spent:.1f} CPU seconds; a test of `{TARGETS[tier]}` may "
            f"take {factor * allowed:g}. Make it smaller, share what it compiles, or mark it "
            f"@pytest.mark.{NEXT[tier]} (`{TARGETS[NEXT[tier]]}`).",
            pytrace=False,
        )
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from timed(item, "setup"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from timed(item, "call"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from timed(item, "teardown"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    report.tier = tier_of(item)
    report.cpu_seconds = item.stash.get(SPENT, {}).get(report.when, 0.0)
    return report


class Ledger:
    """What each test cost, gathered where the reports of all workers arrive."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.tiers: dict[str, str] = {}
        self.seconds: dict[str, dict[str, float]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A skipped test has no call; of a crashed worker nothing is known."""
        spent = getattr(report, "cpu_seconds", 0.0)
        self.tiers[report.nodeid] = getattr(report, "tier", "unknown")
        self.seconds.setdefault(report.nodeid, {})[report.when] = round(spent, 3)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The sum, the dearest tests, and the file that was asked for."""
        costs = sorted(((sum(s.values()), name) for name, s in self.seconds.items()), reverse=True)
        if not costs:
            return
        total = sum(cost for cost, _ in costs)
        terminalreporter.write_line(f"{total:.0f} CPU seconds in {len(costs)} tests; the dearest:")
        for cost, name in costs[:LONGEST_SHOWN]:
            terminalreporter.write_line(f"{cost:7.1f} {name}")
        if self.file is not None:
            table = {n: {"tier": self.tiers[n], **phases} for n, phases in self.seconds.items()}
            self.file.write_text(json.dumps(table, indent=1), encoding="utf-8")
