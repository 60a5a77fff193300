"""How soon the command answers, and what the second start of a command costs beside the first.

Each line is a command in a process of its own: seconds on the clock, seconds of the processor
(those of all its threads). The first diagnosis compiles into an empty folder; the second finds its
programs there; the last keeps none. All write new run folders, so that nothing else is reused.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time

from timing import limit_threads, machine, options, show

from thalweg.storage.programs import SWITCH

COMMAND = [sys.executable, "-c", "from thalweg.cli import main; main()"]
SMALL = "diagnose digits --step-size 0.1 --samples 100 --records 10 --until 20"
DEMO = "diagnose digits --model mlp:64-64 --activation tanh --loss cross-entropy --step-size 0.1"


def cost(line: str, folder: str, **changed: str) -> tuple[float, float]:
    """Seconds on the clock and of the processor that a command takes."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | changed
    used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*COMMAND, *line.split()], env=environment, cwd=folder, check=True, capture_output=True
    )
    seconds, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for line in ("--version", "--help", "studies"):
            cost(line, folder)  # the files of the package come from the disk
            wall, processor = min(cost(line, folder) for _ in range(3))
            rows.append([f"thalweg {line}", f"{wall:.2f} s", f"{processor:.2f} s", ""])
        for name, line in [("small", SMALL), *([] if chosen.quick else [("demo", DEMO)])]:
            kept = {SWITCH: os.path.join(folder, "compiled", name)}
            first = 0.0
            for what, told in (("first", kept), ("second", kept), ("none kept", {SWITCH: "off"})):
                wall, processor = cost(f"{line} --out {name}-{what[:4].strip()}", folder, **told)
                first = first or processor
                ratio = f"{processor / first:.2f}"
                rows.append([f"{name}, {what}", f"{wall:.1f} s", f"{processor:.1f} s", ratio])
    title = f"What commands cost to start; {machine(chosen.threads)} where not said otherwise"
    show(title, ["command", "clock", "processor", "over the first"], rows)


if __name__ == "__main__":
    main()
