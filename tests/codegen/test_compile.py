"""What runs is the source that is shown: registered, cached, donated, and quiet about 64 bits."""

import gc
import inspect
import linecache
import pdb  # noqa: T100 - what it shows is tested
import sys
import threading
import traceback
from collections.abc import Callable
from io import StringIO

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs_for_tests import MATMUL, N, apply, chain, least_squares, ranges, variable
from symgrad_codegen import compile as compiling
from symgrad_codegen.compile import compiled, load, numpy_function, unload
from symgrad_codegen.program import Apply, Foreign, Instruction, Program, text


def data(dtype: str = "float32") -> list[np.ndarray]:
    """Inputs for `least_squares`."""
    random = np.random.default_rng(0)
    return [random.normal(size=s).astype(dtype) for s in ((5, 3), (3,), (5,))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_executable_agrees_with_numpy(dtype: str) -> None:
    program = least_squares(dtype)
    arrays = data(dtype)
    got = compiled(program)(*arrays)
    for ours, reference in zip(got, numpy_function(program)(*arrays), strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, reference, rtol=1e-12 if dtype == "float64" else 1e-5)
    x, w, y = arrays
    np.testing.assert_allclose(got[1], 2 / 5 * x.T @ (x @ w - y), rtol=1e-4)
    assert "HloModule" in compiled(program).hlo(*arrays)
    assert ("f64" in compiled(program).hlo(*arrays)) == (dtype == "float64")


def test_64_bits_do_not_leak() -> None:
    assert jnp.arange(3).dtype == "int32"
    wide, hidden, narrow = (
        compiled(least_squares("float64")),
        compiled(ranges(1)),
        compiled(chain(2)),
    )
    for _ in range(2):
        assert wide(*data("float64"))[0].dtype == "float64"
        assert jnp.arange(3).dtype == "int32"
        # 2^40 does not fit 32 bits, so a wrong value shows where the context was left out.
        np.testing.assert_array_equal(hidden(np.zeros(3, "float32")), np.ones(3))
        assert narrow(np.ones(3, "float32")).dtype == "float32"
        with pytest.raises(TypeError):
            wide(1)
        assert jnp.arange(3).dtype == "int32"
    with jax.enable_x64(True):
        wide(*data("float64"))
        assert jnp.arange(3).dtype == "int64"
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(str(jnp.arange(3).dtype)))
    with jax.enable_x64(True):
        thread.start()
        thread.join()
    assert seen == ["int32"]


def fails() -> Program:
    """A product of vectors whose lengths do not fit."""
    x, y = variable(0, "x", N), variable(1, "y", N)
    ones = Apply(text("jnp.ones(7)"), ())
    return Program(
        "fails", (x,), (Instruction((y,), apply(MATMUL, x, ones), "a wrong line"),), (y,)
    )


def test_tracebacks_show_generated_lines() -> None:
    executable = compiled(fails())
    for clear in (lambda: None, linecache.clearcache, linecache.checkcache):
        clear()
        for run in (executable, executable.function):
            with pytest.raises(TypeError) as caught:
                run(np.ones(3, "float32"))
            shown = "".join(traceback.format_exception(caught.value))
            assert "y = x @ jnp.ones(7)  # a wrong line" in shown
            assert "symgrad-generated/fails_" in shown
            assert "<" not in executable.function.__code__.co_filename


def test_inspect_and_pdb_show_the_source() -> None:
    executable = compiled(least_squares())
    for clear in (lambda: None, linecache.clearcache, linecache.checkcache):
        clear()
        assert inspect.getsource(executable.function) in executable.source
        assert "r = X @ w - y" in inspect.getsource(executable.function)
        module = inspect.getmodule(executable.function)
        assert module is not None
        assert module.__loader__.get_source(module.__name__) == executable.source  # type: ignore[union-attr]
    out = StringIO()
    debugger = pdb.Pdb(stdin=StringIO("step\nstep\nlist\ncontinue\n"), stdout=out, nosigint=True)
    debugger.use_rawinput = False
    debugger.runcall(executable.function, *data())
    assert "r = X @ w - y  # r = X w − y" in out.getvalue()


def test_donation() -> None:
    x, y = variable(0, "x", N), variable(1, "y", N)
    program = Program("twice", (x,), (Instruction((y,), apply(text("{0} + {0}"), x)),), (y,))
    keep, give = jnp.arange(4.0), jnp.arange(4.0)
    assert compiled(program) is not compiled(program, donate=(0,))
    assert compiled(program) is compiled(program)
    compiled(program)(keep)
    assert not keep.is_deleted()
    np.testing.assert_array_equal(compiled(program, donate=(0,))(give), [0, 2, 4, 6])
    assert give.is_deleted()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arguments_and_results_in_one_array(dtype: str) -> None:
    program = least_squares(dtype)
    x, w, y = data(dtype)
    plain = [np.asarray(a) for a in compiled(program)(x, w, y)]
    size = sum(a.size for a in plain)
    whole = np.concatenate([np.ones(2, dtype), w, y])
    taken = [(1, (2, 5, (3,))), (2, (5, 10, (5,)))]
    packed = compiled(program).packed(taken, range(len(plain)))
    found = np.asarray(packed(x, whole))
    assert found.shape == (size,)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.concatenate([a.ravel() for a in plain]), rtol=1e-5)
    alone, rest = compiled(program).packed([], [0])(x, w, y)
    np.testing.assert_allclose(alone, plain[1], rtol=1e-5)
    np.testing.assert_allclose(rest, plain[0].ravel(), rtol=1e-5)


def test_the_cache_is_bounded_and_modules_go_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    compiling.clear_cache()
    assert not [name for name in sys.modules if name.startswith("symgrad_generated.")]
    monkeypatch.setattr(compiling._cache, "size", 4)
    held = compiled(chain(1))
    for length in range(2, 12):
        compiled(chain(length))
        compiled(chain(length), donate=(0,))
    assert compiling.cache_info() == (4, 4)
    gc.collect()
    modules = [name for name in sys.modules if name.startswith("symgrad_generated.")]
    assert len(modules) == 2  # two programs, each with two executables of one module
    assert compiled(chain(1)) is not held
    np.testing.assert_array_equal(held(np.ones(2, "float32")), np.zeros(2))
    # A recently used entry stays.
    recent = compiled(chain(11))
    for length in (20, 21, 22):
        compiled(chain(length))
        assert compiled(chain(11)) is recent


def test_an_evicted_function_still_shows_its_lines() -> None:
    executable = compiled(fails())
    compiling.clear_cache()
    linecache.clearcache()
    with pytest.raises(TypeError) as caught:
        executable.function(np.ones(3, "float32"))
    assert "# a wrong line" in "".join(traceback.format_exception(caught.value))


def test_foreign_functions() -> None:
    x, y = variable(0, "x", N), variable(1, "y", N)

    def calling(name: str, function: Callable[..., object]) -> Program:
        call = apply(text("{1} * {0}({1})"), Foreign("theirs", function), x)
        return Program(name, (x,), (Instruction((y,), call),), (y,))

    cosine, sine = compiled(calling("calls", jnp.cos)), compiled(calling("calls", jnp.sin))
    assert calling("calls", jnp.cos).key == calling("calls", jnp.sin).key
    values = np.ones(2, "float32")
    np.testing.assert_allclose(cosine(values), np.cos(values), rtol=1e-6)
    np.testing.assert_allclose(sine(values), np.sin(values), rtol=1e-6)
    assert compiled(calling("calls", jnp.sin)) is sine
    assert "Functions from elsewhere: theirs" in sine.source
    assert "def theirs_2(x):" in compiled(calling("theirs", jnp.sin)).source
    both = Instruction(
        (y,), apply(text("{0}({1}({2}))"), Foreign("f", jnp.sin), Foreign("f", jnp.cos), x)
    )
    nested = compiled(Program("nested", (x,), (both,), (y,)))
    assert "f(f_2(x))" in nested.source
    np.testing.assert_allclose(nested(values), np.sin(np.cos(values)), rtol=1e-6)
    hostile = compiled(calling('x"); import os #', jnp.cos))
    assert "import os" not in hostile.source


def test_loading_broken_text_leaves_nothing() -> None:
    before = set(sys.modules)
    with pytest.raises(ZeroDivisionError):
        load("1 / 0\n", "broken")
    assert not [name for name in set(sys.modules) - before if "broken" in name]
    module = load("x = 1\n", "fine")
    assert load("x = 1\n", "fine") is module
    unload(module)
    assert module.__name__ in sys.modules
    unload(module)
    unload(module)
    assert module.__name__ not in sys.modules


def test_threads_get_one_executable() -> None:
    compiling.clear_cache()
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(compiled(chain(5)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_tracers_pass_through() -> None:
    executable = compiled(least_squares())
    x, w, y = data()
    gradient = jax.grad(lambda w: executable(x, w, y)[0])(w)
    np.testing.assert_allclose(gradient, executable(x, w, y)[1], rtol=1e-4)
    many = jax.jit(jax.vmap(executable.function, in_axes=(None, 0, None)))(x, np.stack([w, w]), y)
    np.testing.assert_allclose(many[1][1], gradient, rtol=1e-4)


def test_tracers_pass_through_where_64_bits_are_needed() -> None:
    hidden = compiled(ranges(3))
    ones = np.ones(2, "float32")
    for run in (
        jax.jit(hidden),
        jax.jit(lambda x: hidden(x) * 1),
        lambda x: jax.vmap(hidden)(x[None])[0],
    ):
        np.testing.assert_allclose(run(ones), 4 / 3, rtol=1e-6)
    assert jax.grad(lambda x: jnp.sum(hidden(x)))(ones).dtype == "float32"
    assert jnp.arange(3).dtype == "int32"


def test_shardings_pass_through() -> None:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    executable = compiled(chain(1), in_shardings=(sharding,), out_shardings=sharding)
    assert executable(np.ones(2, "float32")).sharding == sharding
    assert compiled(chain(1), in_shardings=(sharding,), out_shardings=sharding) is executable
