"""A test dearer than its tier allows fails, by CPU time, with a sentence that says what to do."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiers
from compiler import CHEAP

ROOT = Path(__file__).parents[1]
TENTH = tiers.Budget(setup=0.1, call=0.1)

BURN = """
    import subprocess, sys, time
    import pytest

    def burn(seconds=0.3):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
"""


@pytest.fixture
def session(pytester, monkeypatch):
    """Run a file of tests that may cost a tenth of a second, if thorough five seconds."""
    pytester.makeini("[pytest]\nmarkers = thorough: more\n  slow: most\n")

    def run(text, *arguments, name="test_one", fast=TENTH):
        pytester.makepyfile(**{name: BURN + text})
        budgets = {**tiers.BUDGETS, tiers.FAST: fast, tiers.THOROUGH: tiers.Budget(5, 5)}
        with monkeypatch.context() as patch:  # this test has the true budgets again afterwards
            patch.setattr(tiers, "BUDGETS", budgets)
            return pytester.runpytest_inprocess("-p", "tiers", "-rA", *arguments)

    return run


def test_a_dear_test_fails_and_its_cheap_neighbour_does_not(session):
    done = session("""
    def test_dear():
        burn()

    def test_cheap():
        pass
    """)
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.re_match_lines(
        [
            r"test_one\.py::test_dear: call took 0\.\d CPU seconds; a test of `make test` may take "
            r"0\.1\. Make it smaller, .* @pytest\.mark\.thorough \(`make check`\)\."
        ]
    )


@pytest.mark.parametrize("tier", [tiers.THOROUGH, tiers.SLOW])
def test_slower_tiers_allow_more(session, tier):
    session(f"""
    @pytest.mark.{tier}
    def test_dear():
        burn()
    """).assert_outcomes(passed=1)


def test_a_file_of_planted_faults_is_thorough(session):
    text = """
    def test_dear():
        burn()
    """
    session(text, name="test_faults").assert_outcomes(passed=1)
    session(text, "-m", "not thorough", name="test_faults").assert_outcomes(deselected=1)


def test_the_smoke_run_of_one_study_is_fast(session):
    text = """
    @pytest.fixture
    def smoke():
        return 1

    @pytest.fixture
    def results(smoke):
        return smoke

    @pytest.mark.parametrize("slug", ["du2018-global-minima", "wu2020-weight-normalization"])
    def test_contract(slug, smoke):
        pass

    def test_own(results):
        pass
    """
    session(text, "-m", "not thorough").assert_outcomes(passed=1, deselected=2)


def test_the_first_cases_may_stay_fast(session):
    text = """
    @pytest.mark.thorough(after=2)
    @pytest.mark.parametrize("a", [1, 2, 3])
    @pytest.mark.parametrize("b", [1, 2, 3])
    def test_cases(a, b):
        pass

    @pytest.mark.thorough(after=1)
    @pytest.mark.parametrize("a", [1, 2])
    def test_dear(a):
        burn()
    """
    session(text, "-m", "not thorough").assert_outcomes(passed=2, failed=1, deselected=8)
    session(text, "-m", "thorough").assert_outcomes(passed=8, deselected=3)
    session(text, "-m", "thorough", "-k", "3-3").assert_outcomes(passed=1, deselected=10)


@pytest.mark.parametrize(
    ("folder", "name", "fast", "slow"),
    [("theory", "test_x", 2, 1), ("kernels", "test_contract", 5, 0), ("report", "test_x", 5, 0)],
)
def test_later_cases_are_slower_where_each_compiles(session, pytester, folder, name, fast, slow):
    pytester.mkdir(folder)
    text = """
    @pytest.mark.parametrize("a", range(5))
    def test_cases(a):
        pass

    @pytest.mark.thorough(after=4)
    @pytest.mark.parametrize("a", range(5))
    def test_cheap_cases(a):
        pass
    """
    importing = "--import-mode=importlib"  # other files of this name were imported before
    done = session(text, "-m", "not thorough", importing, name=f"{folder}/{name}")
    done.assert_outcomes(passed=fast + 4, deselected=6 - fast)
    done = session(text, "-m", "slow", importing, name=f"{folder}/{name}")
    done.assert_outcomes(passed=slow, deselected=10 - slow)


def test_set_up_has_a_budget_of_its_own(session):
    text = """
    @pytest.fixture(scope="module")
    def shared():
        burn()

    def test_first(shared):
        pass
    """
    session(text, fast=tiers.Budget(setup=5, call=0.1)).assert_outcomes(passed=1)
    session(text, fast=tiers.Budget(setup=0.1, call=5)).assert_outcomes(errors=1)


def test_children_count_and_waiting_does_not(session):
    done = session("""
    def test_child():
        command = "import time\\nwhile time.process_time() < 0.4: pass"
        subprocess.run([sys.executable, "-c", command], check=True)

    def test_waits():
        time.sleep(0.4)
    """)
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["FAILED test_one.py::test_child*"])


def test_a_failing_test_keeps_its_own_words(session):
    done = session("""
    def test_wrong():
        burn()
        assert 1 == 2
    """)
    done.assert_outcomes(failed=1)
    done.stdout.no_fnmatch_line("*CPU seconds; a test of*")


def test_a_slow_machine_may_stretch_the_budgets(session):
    text = """
    def test_dear():
        burn()
    """
    session(text, "--budget", "inf").assert_outcomes(passed=1)
    session(text, "--budget", "2").assert_outcomes(failed=1)


def test_what_each_test_cost_is_written(session, pytester):
    done = session(
        """
    def test_dear():
        burn()

    @pytest.mark.thorough
    def test_thorough():
        burn(0.5)
    """,
        "--cpu-times",
        "times.json",
    )
    done.stdout.re_match_lines(
        [r"\d CPU seconds in 2 tests; the dearest:", r" +0\.\d test_one\.py::test_thorough"]
    )
    table = json.loads((pytester.path / "times.json").read_text())
    assert table["test_one.py::test_dear"]["tier"] == "fast"
    assert table["test_one.py::test_thorough"]["tier"] == "thorough"
    assert table["test_one.py::test_thorough"]["call"] == pytest.approx(0.5, abs=0.2)


def test_a_crashed_worker_leaves_the_table_whole():
    ledger = tiers.Ledger(None)
    ledger.pytest_runtest_logreport(SimpleNamespace(nodeid="test_x", when="call"))
    assert ledger.seconds == {"test_x": {"call": 0.0}}


def test_each_test_has_one_target():
    """The markers of the three targets leave out nothing and run nothing twice."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    chosen = {
        target: re.search(rf'^{target}:.*\n.*-m (?:"([^"]+)"|(\w+))$', text, re.MULTILINE)
        for target in ("test", "check", "verify")
    }
    expressions = {target: found.group(1) or found.group(2) for target, found in chosen.items()}
    for slow in (False, True):
        for thorough in (False, True):
            held = {"slow": slow, "thorough": thorough}
            runs = [t for t, words in expressions.items() if eval(words, {}, held)]
            tier = tiers.SLOW if slow else tiers.THOROUGH if thorough else tiers.FAST
            assert runs == [tiers.TARGETS[tier].removeprefix("make ")]


def test_the_page_for_contributors_states_the_budgets():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for tier in (tiers.FAST, tiers.THOROUGH):
        row = re.search(
            rf"^\| {tier} \|.*`{tiers.TARGETS[tier]}` \| (\d+)[^|]*\| (\d+) \|$", text, re.M
        )
        assert row is not None
        assert tiers.Budget(call=float(row[1]), setup=float(row[2])) == tiers.BUDGETS[tier]


def runs(*words):
    """What a stub of make does for lint, test and check."""
    return "".join(f'if [ "$1" = {target} ]; then {word}; fi\n' for target, word in words)


@pytest.mark.parametrize(
    ("words", "code", "last"),
    [
        ([("test", "echo '== 5 passed in 1.2s =='"), ("check", "echo '== 3 passed in 4.5s =='")],
         0, "== 3 passed in 4.5s =="),
        ([("test", "echo '== 1 failed in 1.2s =='; echo 'make: Error 1'; exit 2"),
          ("check", "echo no")],
         2, "== 1 failed in 1.2s =="),
        ([("test", "echo '== 5 passed in 1.2s =='"),
          ("check", "echo '== 1 failed in 4.5s (0:01:00) =='; echo 'make: Error 1'; exit 2")],
         2, "== 1 failed in 4.5s (0:01:00) =="),
        ([("lint", "echo 'make: Error 1'; exit 2"), ("test", "echo no")], 2, "make: Error 1"),
    ],
)  # fmt: skip
def test_the_closing_line_comes_last(tmp_path, words, code, last):
    for name, text in (("make", runs(*words)), ("chromium", ""), ("chromedriver", "")):
        (tmp_path / name).write_text("#!/bin/sh\n" + text)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci/run"], env=environment, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == last
    assert "no\n" not in done.stdout


def test_compiled_programs_are_kept_for_the_next_process(tmp_path):
    """JAX obeys the folder that the environment names, which the workers and commands inherit."""
    assert jax.config.jax_compilation_cache_dir == os.environ["JAX_COMPILATION_CACHE_DIR"]
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
        command = "import jax; jax.jit(lambda x: x * 3.0)(2.0)"
        subprocess.run([sys.executable, "-c", command], check=True)
    assert any((tmp_path / "compiled").iterdir())


@pytest.mark.skipif(
    not set(CHEAP) <= set(os.environ.get("XLA_FLAGS", "").split()), reason="compiled as users do"
)
def test_what_is_compiled_cheaply_gives_the_numbers_that_users_get():
    theirs = {
        "xla_cpu_use_fusion_emitters": True,
        "xla_cpu_parallel_codegen_split_count": 32,
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
    }
    rng = np.random.default_rng(0)
    W, x, v = (rng.normal(size=shape) for shape in ((3, 5), (5, 7), (3, 5)))

    def loss(W):
        return jnp.mean(jnp.log1p(jnp.exp(jnp.tanh(W @ x) ** 3)))

    def measured(W):
        curved = jax.jvp(jax.grad(loss), (W,), (v,))[1]
        path = jax.lax.scan(lambda W, _: (W - 0.1 * jax.grad(loss)(W),) * 2, W, length=9)[1]
        return loss(W), curved, path, jnp.linalg.svd(W @ W.T)[1]

    mine, right = jax.jit(measured)(W), jax.jit(measured, compiler_options=theirs)(W)
    for found, expected in zip(mine, right, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


def test_a_torn_program_is_compiled_again():
    """Another worker may still be writing it: that is no failure, and no wrong number."""

    def torn(x):
        return jnp.sin(x) * 41.0

    jax.jit(torn)(2.0)
    stored = list(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob("jit_torn-*"))
    assert stored
    for path in stored:
        path.write_bytes(path.read_bytes()[:100])
    jax.clear_caches()
    assert float(jax.jit(torn)(2.0)) == pytest.approx(41.0 * math.sin(2.0), rel=1e-15)


def test_what_is_listed_as_dear_is_there():
    """A renamed test leaves no line behind, which would bring it back unseen."""
    for name in sorted(tiers.MEASURED | tiers.DEAREST):
        file, _, test = name.partition("::")
        function = test.split("[")[0].split("::")[-1]
        assert f"def {function}(" in (ROOT / file).read_text("utf-8"), name
