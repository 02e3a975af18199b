"""Generated source looks written by hand, stands alone, and is harmless whatever the names."""

import ast
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from programs_for_tests import (
    ADD,
    DIVIDE,
    MULTIPLY,
    TANH,
    TOTAL,
    D,
    N,
    apply,
    chain,
    least_squares,
    ranges,
    variable,
)
from symgrad_codegen.comment import with_note
from symgrad_codegen.layout import WIDTH, wrap
from symgrad_codegen.program import (
    Dtype,
    Function,
    Instruction,
    Letter,
    Literal,
    Operand,
    Program,
    ProgramError,
    call,
    text,
)
from symgrad_codegen.source import source

EXPECTED = '''\
"""Mean squared error and its gradient."""

import jax.numpy as jnp


def least_squares(X, w, y):
    """Mean squared error and its gradient.

    Arguments:
        X: float32 (n, d)
        w: float32 (d,)
        y: float32 (n,)

    Returns:
        loss: float32 ()
        dL_dw: float32 (d,)

    4 n d + 3 n operations.
    """
    n = X.shape[0]
    r = X @ w - y  # r = X w − y
    loss = jnp.sum(r**2) / n  # L = (1/n) Σᵢ rᵢ²
    dL_dw = 2 / n * (X.T @ r)  # ∂L/∂w = (2/n) Xᵀ r
    return loss, dL_dw
'''

HOSTILE = (
    '"x); import os  #"',
    '"""\nimport os\nos.abort()\n"""',
    "a\rimport os",
    "a\u2028import os",
    "a\x0cimport os\x00",
    "\\",
    'ends with a quote"',
    "\u202e reversed",
    "\ud800 alone",
    "{0} {*} {{}}",
    "x" * 10_000,
    "",
)


def run(program: Program, target: str = "numpy") -> dict[str, object]:
    """The names that the source defines."""
    scope: dict[str, object] = {}
    exec(compile(source(program, target), "generated", "exec"), scope)
    return scope


def test_golden() -> None:
    assert source(least_squares()) == EXPECTED
    in_numpy = EXPECTED.replace("jax.numpy as jnp", "numpy as np").replace("jnp.", "np.")
    assert source(least_squares(), "numpy") == in_numpy


def test_64_bit_programs_enter_the_context_themselves() -> None:
    text_ = source(least_squares("float64"))
    assert "    with jax.enable_x64(True):  # X is float64\n        n = X.shape[0]\n" in text_
    assert "import jax\nimport jax.numpy as jnp\n" in text_
    assert "enable_x64" not in source(least_squares("float64"), "numpy")
    assert "enable_x64" in source(ranges(1))


@pytest.mark.parametrize("hint", HOSTILE)
def test_hostile_words_are_harmless(hint: str) -> None:
    x, y = variable(0, hint, Letter(hint)), variable(1, hint, Letter(hint))
    body = Instruction((y,), apply(ADD, x, Letter(hint)), hint)
    program = Program(hint, (x,), (body,), (y,), hint, (hint, hint))
    for target in ("jax", "numpy"):
        tree = ast.parse(source(program, target))
        kinds = [type(node) for node in tree.body]
        assert kinds == [ast.Expr, ast.FunctionDef]
        function = tree.body[-1]
        assert isinstance(function, ast.FunctionDef)
        assert [type(n) for n in function.body] == [ast.Expr, ast.Assign, ast.Assign, ast.Return]
        assert max(map(len, source(program, target).splitlines())) <= 100
        source(program, target).encode()
    (name,) = (n for n in run(program) if not n.startswith("__"))
    np.testing.assert_array_equal(run(program)[name](np.zeros(3)), 3 * np.ones(3))  # type: ignore[operator]


def test_hostile_modules_and_dtypes_are_refused() -> None:
    x = variable(0, "x")
    with pytest.raises(ProgramError, match="no module"):
        source(Program("f", (x,), (), (x,), modules=("os; import sys",)))
    bad = Instruction((variable(1, "y"),), Dtype("float32\nimport os"))
    with pytest.raises(ProgramError, match="no dtype"):
        source(Program("f", (x,), (bad,), (x,)))
    x = variable(0, "x", dtype='"""\nimport os')
    assert len(ast.parse(source(Program("f", (x,), (), (x,)))).body) == 2


def test_sizes_are_read_where_they_first_occur() -> None:
    x, y, z = variable(0, "x", 3, N, D), variable(1, "y", N, N), variable(2, "z")
    size = apply(MULTIPLY, N, apply(ADD, D, Literal(1)))
    program = Program("f", (y, x), (Instruction((z,), size),), (z,))
    assert "    n = y.shape[0]\n    d = x.shape[2]\n    z = n * (d + 1)\n" in source(program)
    program = Program("f", (x, y), (Instruction((z,), size),), (z,))
    assert "    _, n, d = x.shape\n    z =" in source(program)
    program = Program("f", (x,), (Instruction((z,), Letter("k")),), (z,))
    with pytest.raises(ProgramError, match="size 'k', but no input has an axis"):
        source(program)


def test_order_of_definition_is_checked() -> None:
    x, y = variable(0, "x"), variable(1, "y")
    with pytest.raises(ProgramError, match=r"outputs uses variable 1 \('y', float32"):
        source(Program("f", (x,), (), (y,)))
    with pytest.raises(ProgramError, match="instruction 0 uses variable 1"):
        source(Program("f", (x,), (Instruction((y,), y),), (y,)))
    with pytest.raises(ProgramError, match="a second time by instruction 0"):
        source(Program("f", (x,), (Instruction((x,), x),), (x,)))
    with pytest.raises(ProgramError, match="no target"):
        source(Program("f", (x,), (Instruction((), x),), (x,)))


def test_local_functions() -> None:
    carry, x = variable(0, "carry", dtype="tuple"), variable(1, "x", D)
    a, b = variable(2, "h", D), variable(3, "c", D)
    new = variable(4, "h", D)
    both = variable(5, "carry", dtype="tuple")
    body = Program(
        "step",
        (carry, x),
        (
            Instruction((a, b), carry),
            Instruction(
                (new,), apply(TANH, apply(ADD, a, apply(DIVIDE, x, N))), "h = tanh(h + x/n)"
            ),
            Instruction((both,), apply(text("({0}, {1})", precedence=100), new, b)),
        ),
        (both, new),
    )
    xs, h0, last, all_h = (
        variable(0, "xs", N, D),
        variable(1, "h0", D),
        variable(2, "last", dtype="tuple"),
        variable(3, "hs", N, D),
    )
    start = apply(text("({0}, {0})", precedence=100), h0)
    scan = apply(call("lax.scan", arity=3), Function(body), start, xs)
    main = Program("main", (xs, h0), (Instruction((last, all_h), scan),), (all_h,))
    written = source(main)
    assert (
        "    n = xs.shape[0]\n\n"
        "    def step(carry, x):\n"
        "        h, c = carry\n"
        "        h_2 = jnp.tanh(h + x / n)  # h = tanh(h + x/n)\n"
        "        carry_2 = (h_2, c)\n"
        "        return carry_2, h_2\n\n"
        "    _, hs = lax.scan(step, (h0, h0), xs)\n"
        "    return hs\n"
    ) in written
    assert "from jax import lax\n" in written
    changed = replace(
        body, instructions=(*body.instructions[:-1], replace(body.instructions[-1], note="!"))
    )
    again = apply(call("lax.scan", arity=3), Function(changed), start, xs)
    other = replace(main, instructions=(Instruction((last, all_h), again),))
    assert other.key != main.key


def test_key_tells_sources_apart() -> None:
    program = least_squares()
    assert program.key == least_squares().key
    first = program.instructions[0]
    others = [
        replace(program, name="other"),
        replace(program, summary="other"),
        replace(program, facts=("other",)),
        replace(program, modules=("math",)),
        replace(program, outputs=program.outputs[::-1]),
        replace(program, instructions=(replace(first, note="other"), *program.instructions[1:])),
        least_squares("float64"),
    ]
    assert len({p.key for p in (program, *others)}) == len(others) + 1
    x = variable(0, "x")
    values: list[Operand] = [Literal(v) for v in (1, 1.0, True, 0.0, -0.0, 1j)]
    values += [Letter("1"), Dtype("1"), x, apply(TOTAL, x), apply(TANH, x)]
    keys = {Program("f", (x,), (Instruction((variable(1, "y"),), v),), (x,)).key for v in values}
    assert len(keys) == len(values)


def long_program() -> Program:
    """Lines that do not fit, of many kinds."""
    a = [variable(i, f"quite_a_long_name_{i}", N) for i in range(12)]
    nested: Operand = a[0]
    for v in a[1:]:
        nested = apply(call("jnp.where", arity=3), v, nested, apply(TANH, v))
    many: Operand = a[0]
    for v in a[1:]:
        many = apply(ADD, many, apply(MULTIPLY, v, v))
    stacked = apply(
        call("jnp.concatenate", keywords="axis=0"), apply(text("[{*}]", precedence=100), *a)
    )
    product = apply(
        MULTIPLY, a[0], apply(call("jnp.einsum", arity=None, keywords='optimize="a, (b"'), *a)
    )
    single = apply(TOTAL, many)
    values = (nested, many, stacked, product, single, apply(TANH, apply(DIVIDE, many, single)))
    targets = [variable(20 + i, f"result_number_{i}", N) for i in range(len(values))]
    lines = [Instruction((t,), v, "note " * 5) for t, v in zip(targets, values, strict=True)]
    return Program("long", tuple(a), tuple(lines), (*targets, *a))


@pytest.mark.skipif(shutil.which("ruff") is None, reason="needs the formatter")
@pytest.mark.parametrize("program", [least_squares("float64"), long_program(), chain(3)])
def test_layout_is_what_a_formatter_makes(program: Program) -> None:
    written = source(program)
    command = ["ruff", "format", "--isolated", "--line-length", "100", "-"]
    formatted = subprocess.run(command, input=written, capture_output=True, text=True, check=True)
    assert formatted.stdout == written


def test_wrapping_changes_no_meaning() -> None:
    written = source(long_program())
    assert max(map(len, written.splitlines())) <= 100
    joined = ast.unparse(ast.parse(written))
    assert (
        "result_number_1 = quite_a_long_name_0 + quite_a_long_name_1 * quite_a_long_name_1"
        in joined
    )


A_CALL = "jax.lax.reduce_window(number_one, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2))"


@pytest.mark.parametrize(
    "line",
    [
        f"x = {A_CALL}.reshape(32, 784)",
        f"x = {A_CALL}.reshape(32, 784) * (another > 0)",
        f"x = jnp.zeros(3).at[{A_CALL}.reshape(32, 784), 0].add({A_CALL})",
        f"x = (lambda a, b: (lambda c, d: c + d * {A_CALL})(a, b))(first_of_all, the_second_one)",
    ],
)
def test_long_chains_are_broken_where_they_begin(line: str) -> None:
    written = wrap(line, "    ")
    assert max(map(len, written)) <= 100
    assert ast.dump(ast.parse(textwrap.dedent("\n".join(written)))) == ast.dump(ast.parse(line))


@pytest.mark.parametrize("program", [least_squares(), least_squares("float64"), ranges(1)])
@pytest.mark.parametrize("target", ["jax", "numpy"])
def test_source_runs_without_this_library(program: Program, target: str, tmp_path: Path) -> None:
    (tmp_path / "generated.py").write_text(source(program, target), encoding="utf-8")
    dtype = program.inputs[0].dtype
    sizes = {"n": 4, "d": 2}
    shapes = [tuple(sizes[getattr(x, "name", "")] for x in v.shape) for v in program.inputs]
    script = f"""
        import sys
        sys.modules["symgrad"] = sys.modules["symgrad_codegen"] = None
        import generated, numpy as np
        shapes = {shapes}
        arrays = [np.arange(np.prod(s), dtype={dtype!r}).reshape(s) / 3 for s in shapes]
        function = getattr(generated, {program.name.replace(" ", "_")!r})
        result = function(*[a.astype({dtype!r}) for a in arrays])
        first = result[0] if isinstance(result, tuple) else result
        print(type(first).__module__.split(".")[0].startswith("jax"), first.dtype)
        if {target!r} == "jax":
            import jax.numpy as jnp
            print(jnp.arange(3).dtype)
    """
    result = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + textwrap.dedent(script),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    first, *rest = result.stdout.splitlines()
    kind, found = first.split()
    assert kind == str(target == "jax")
    if program.name == "least_squares":
        assert found == dtype
    if target == "jax":
        assert rest == ["int32"]


def test_a_hundred_thousand_instructions_take_linear_time() -> None:
    def seconds(length: int) -> float:
        program = chain(length)
        start = time.perf_counter()
        program.key  # noqa: B018
        written = source(program)
        assert written.count("\n") > length
        return time.perf_counter() - start

    seconds(100)
    small, large = min(seconds(10_000) for _ in range(2)), seconds(100_000)
    assert large < 30 * small + 1
    assert large < 20


def test_tall_expressions_are_cut() -> None:
    x, y = variable(0, "part", N), variable(1, "y", N)
    value: Operand = x
    for _ in range(1_000):
        value = apply(TANH, value)
    wide: Operand = x
    for _ in range(5_000):
        wide = apply(ADD, wide, x)
    for expression, expected in ((value, None), (wide, 5_001.0)):
        program = Program("tall", (x,), (Instruction((y,), expression, "a note"),), (y,))
        assert source(program).count("# a note") == 1
        got = run(program)["tall"](np.ones(2))  # type: ignore[operator]
        reference = np.ones(2)
        for _ in range(1_000):
            reference = np.tanh(reference)
        np.testing.assert_allclose(got, reference if expected is None else expected)


def test_a_long_note_stands_above_its_line_whole() -> None:
    note = "y = " + " + ".join(f"term_{k}" for k in range(15))
    (*above, line) = with_note(["    y = f(x)"], note, "    ")
    assert line == "    y = f(x)"
    assert len(above) == 2
    assert all(row.startswith("    # ") and len(row) <= WIDTH for row in above)
    assert " ".join(row.removeprefix("    # ") for row in above) == note


def test_a_note_without_end_is_cut() -> None:
    rows = with_note(["y = f(x)"], "a + " * 400, "")
    assert len(rows) == 4
    assert rows[2].endswith("…")
