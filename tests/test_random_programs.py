"""Random programs against ``jax.grad``: value, gradient, second derivative, generated source.

``SYMGRAD_RANDOM_PROGRAMS`` is how many are drawn, a tenth of them also compiled; 2000 is the
acceptance count, the default keeps the suite short.  ``SYMGRAD_RANDOM_EAGER=1`` evaluates the
reference with JAX's own kernels alone (several times slower; see ``tests/jaxpr_numbers.py``): nearly
all of that is one small XLA compilation per primitive and shape, so they are kept and made cheap.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from symgrad_codegen.compile import compiled

from symgrad.core import dtypes
from symgrad.core.build import constant, elementwise, product
from symgrad.core.expr import symbol
from symgrad.core.op import OPS
from symgrad.core.sizes import letter
from symgrad.core.traverse import topological
from symgrad.errors import ShapeError
from symgrad.evaluate import bind_sizes, evaluate
from symgrad.lower import lower
from symgrad.ops.axis import along
from symgrad.ops.scan import SCAN
from tests.random_programs import DEPTH, disagreements, operations, posed, reference, smallest
from tests.random_steps import EXCLUDED, drawn, typed

CHUNKS = 8
COUNT = int(os.environ.get("SYMGRAD_RANDOM_PROGRAMS", "320"))
EAGER = os.environ.get("SYMGRAD_RANDOM_EAGER", "") == "1"
if EAGER:  # read when JAX makes its first array: how a kernel is compiled, not what it computes
    os.environ["XLA_FLAGS"] = " ".join((
        os.environ.get("XLA_FLAGS", ""), "--xla_cpu_use_fusion_emitters=false",
        "--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true",
    ))  # fmt: skip


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """A folder of compiled kernels."""
    return str(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(autouse=True)
def kernels_are_kept(kernels):
    """A derivative traced again is another function to JAX: its kernels come from the folder."""
    if EAGER:
        jax.clear_caches()  # 20 MB for each program
        jax.config.update("jax_compilation_cache_dir", kernels)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _for_each(chunk, count, check):
    """Run ``check`` on the programs of a chunk: the same ones in every run."""
    seed(chunk)(
        settings(
            max_examples=count, deadline=None, database=None, phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )(given(st.integers(0, 2**40).map(drawn))(check))
    )()  # fmt: skip


def _agrees(program, jitted=False):
    def wrong(part):
        return disagreements(part, jitted, eager=EAGER)

    if wrong(program):
        part = smallest(program, wrong)
        pytest.fail("\n".join([repr(program), "smallest part:", repr(part), *wrong(part)]))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_value_and_derivatives_are_those_of_jax(chunk):
    used: Counter[str] = Counter()
    depths: Counter[int] = Counter()

    def check(program):
        used.update(operations(program))
        depths[program.depth] += 1
        _agrees(program)

    _for_each(chunk, COUNT // CHUNKS, check)
    print(f"{sum(depths.values())} programs, by depth {sorted(depths.items())}, by operation "
          f"{used.most_common()}")  # fmt: skip


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_generated_source_has_the_same_values(chunk):
    _for_each(chunk, COUNT // CHUNKS // 10, lambda program: _agrees(program, jitted=True))


def test_what_people_type_and_rules_rewrite():
    for number in range(COUNT // 40):
        _agrees(typed(number))


def test_every_operation_is_drawn():
    """An operation without a step would show here: give it one, or say why not in EXCLUDED."""
    used: Counter[str] = Counter()
    deep = 0
    for number in range(400):
        program = drawn(number)
        used.update(operations(program))
        assert program.depth <= DEPTH
        deep += program.depth >= 9
    assert deep >= 40
    assert {name for name in OPS if used[name] < 3} == set(EXCLUDED)


def test_the_fast_reference_is_jax_evaluated_eagerly():
    for number in range(3):
        program = drawn(number)
        question = posed(program)
        fast, eager = (reference(program, question, eager=e) for e in (False, True))
        for mine, theirs in zip(fast, eager, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-11)


# ------------------------------------------------------------------ the check can fail


@contextmanager
def _planted(name, rule, wrong):
    op = OPS[name]
    kept = getattr(op, rule)
    object.__setattr__(op, rule, wrong)
    try:
        yield
    finally:
        object.__setattr__(op, rule, kept)


PLANTED = {
    "first derivative of tanh": ("tanh", "derivative", lambda x, y: (1 + y * y,)),
    "softmax without its mean": ("softmax", "vjp", lambda node, g: (product(g, node),)),
    "cumsum not reversed": ("cumsum", "vjp", lambda node, g: (g,)),
    # right in value, so only the second derivative shows it
    "sigmoid with a constant slope": (
        "sigmoid", "derivative", lambda x, y: (elementwise("detach", y * (1 - y)),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_wrong_rule_is_found(what):
    name, rule, wrong = PLANTED[what]
    having = [p for p in map(drawn, range(100)) if name in operations(p)]
    having = sorted(having, key=lambda p: len(p.nodes))[:3]
    with _planted(name, rule, wrong):
        assert any(disagreements(p, eager=EAGER) for p in having)
        first = next(p for p in having if disagreements(p, eager=EAGER))
        part = smallest(first, lambda p: disagreements(p, eager=EAGER))
        last = part.nodes[-1]
        loops = [e.params[0] for e in topological([last.expr]) if e.op is SCAN]
        inside = {e.op.name for body in loops for e in topological(body.results)}
        assert last.text.startswith(name) or (last.text.startswith("scan") and name in inside)
    assert not any(disagreements(p, eager=EAGER) for p in having)


# ------------------------------------------------------------------ what random programs found


def test_a_size_that_is_a_power_of_a_letter_does_not_bind_the_letter():
    n = letter("n")
    x = symbol("x", (n, n**2), dtypes.float64)
    assert bind_sizes({x: np.zeros((3, 9))}) == {"n": 3}
    y = symbol("y", (2 * n,), dtypes.float64)
    assert bind_sizes({y: np.zeros(6), x: np.zeros((3, 9))}) == {"n": 3}
    with pytest.raises(ShapeError, match="n is 4 here but 3 elsewhere"):
        bind_sizes({x: np.zeros((3, 9)), symbol("z", (n,), dtypes.float64): np.zeros(4)})


@pytest.mark.parametrize("what", ["sum", "product", "maximum"])
def test_the_source_keeps_a_leading_axis_of_size_one(what):
    """A column moved into a row had lost its first axis, so that the axis −2 did not exist."""
    x = symbol("x", (2, 1), dtypes.float64)
    s = symbol("s", (), dtypes.float64)
    row = {
        "sum": x.T + s, "product": x.T * s,
        "maximum": elementwise("maximum", x.T, constant(0, dtypes.float64)),
    }[what]  # fmt: skip
    e = along("flip", row, 0)
    feeds = {x: np.array([[1.0], [2.0]]), s: np.array(3.0)}
    (expected,) = evaluate([e], feeds)
    found = compiled(lower("e", [x, s], [("y", e)]))(*feeds.values())
    assert found.shape == expected.shape == (1, 2)
    np.testing.assert_array_equal(found, expected)
