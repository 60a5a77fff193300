"""Which tests are thorough or slow because they are dear, from what a run measured.

    python -m pytest -n 2 -m "not slow" --budget inf --cpu-times times.json
    python tools/tier_tests.py times.json [--most 0.75] [--longest 1.1] [--alone 1.3]

A test that is fast by its markers and of which one case costs more CPU seconds than `--most` goes
to the thorough tier, all its cases together; no further one of a contract, which meets newcomers,
does, nor a file's last one below twice that, and what is listed and was not run stays listed. What
a module's shared set-up costs counts for the first test that asks for it and for no other, so it is
left out.

A single case that costs more than `--longest` goes to the slow tier, `tests/slow.txt`, a test that
has no other case only above `--alone`; what stands there is taken out by hand. What a newcomer
meets first stays: the quick start, the examples and Ctrl-C; and of the faults planted in a study
the cheapest one. That imports point down is asked in the fast tier, whatever it costs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
LIST, DEAREST = TESTS / "thorough.txt", TESTS / "slow.txt"
LAYERS = "tests/test_layers.py"
FIRST_MET = (LAYERS, "tests/test_docs.py", "tests/test_examples.py", "test_ctrl_c_is_a_sentence")
FAULTS = "test_faults.py::"


def cost(phases: dict[str, float]) -> float:
    """CPU seconds of a test, without a set-up that its neighbours share."""
    return phases.get("call", 0.0)


def kept(measured: dict[str, dict[str, float]]) -> set[str]:
    """What stays in `make check` whatever it costs."""
    cheapest: dict[str, str] = {}
    for name in sorted(measured, key=lambda name: cost(measured[name])):
        if FAULTS in name and "call" in measured[name] and measured[name]["tier"] != "slow":
            cheapest.setdefault(name.split(FAULTS)[0], name)
    first = {name for name in measured if any(part in name for part in FIRST_MET)}
    return first | set(cheapest.values())


def only_ones(fast: dict[str, dict[str, float]], dear: set[str], most: float) -> set[str]:
    """Of each file without another fast test its cheapest, if it costs at most that."""
    dearest: dict[str, float] = {}
    for case, phases in fast.items():
        name = case.split("[")[0]
        dearest[name] = max(dearest.get(name, 0.0), cost(phases))
    served = {name.split("::")[0] for name in dearest.keys() - dear}
    cheapest: dict[str, str] = {}
    for name in sorted(dearest, key=dearest.__getitem__):
        if name.split("::")[0] not in served and dearest[name] <= most:
            cheapest.setdefault(name.split("::")[0], name)
    return set(cheapest.values())


def main() -> None:
    """Write the list, and say what is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("times", type=Path)
    parser.add_argument("--most", type=float, default=0.75, help="CPU seconds of a fast test")
    parser.add_argument("--longest", type=float, default=1.1, help="of a case of `make check`")
    parser.add_argument("--alone", type=float, default=1.3, help="of a test of one case")
    asked = parser.parse_args()
    measured = json.loads(asked.times.read_text())
    listed = set(LIST.read_text("utf-8").split()) if LIST.exists() else set()
    fast = {
        name: phases
        for name, phases in measured.items()
        if phases["tier"] == "fast" or name.split("[")[0] in listed
    }
    dear = {n.split("[")[0] for n, phases in fast.items() if cost(phases) > asked.most}
    dear |= listed - {name.split("[")[0] for name in measured}  # of these nothing new is known
    dear -= {name for name in dear - listed if "/test_contract.py::" in name or LAYERS in name}
    dear -= only_ones(fast, dear, 2 * asked.most)
    LIST.write_text("".join(f"{name}\n" for name in sorted(dear)), "utf-8")
    slow = set(DEAREST.read_text("utf-8").splitlines())
    longest = {n: asked.longest if "[" in n else asked.alone for n in measured}
    slow |= {n for n, spent in measured.items() if cost(spent) > longest[n]} - kept(measured)
    DEAREST.write_text("".join(f"{name}\n" for name in sorted(slow)), "utf-8")
    seconds = {
        name: sum(v for k, v in phases.items() if k != "tier")
        for name, phases in fast.items()
        if name.split("[")[0] not in dear
    }
    print(
        f"{len(dear)} tests are dear; {sum(seconds.values()):.0f} CPU s in {len(seconds)} stay fast"
    )
    left = {
        name: sum(v for k, v in phases.items() if k != "tier")
        for name, phases in measured.items()
        if name not in slow and name not in seconds and phases["tier"] != "slow"
    }
    print(f"{sum(left.values()):.0f} CPU s in {len(left)} are thorough")


if __name__ == "__main__":
    main()
