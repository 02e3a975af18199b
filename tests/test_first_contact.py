"""What a person sees in the first hour, to the letter."""

import pytest

import symgrad as sg


def run(tmp_path, text, line=1, name="model.py", **given):
    """Run a program as the file ``model.py``, its first line at ``line``; what it defined."""
    path = tmp_path / name
    path.write_text("\n" * (line - 1) + text, encoding="utf-8")
    space = {"sg": sg, "torch": sg, **given}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    return space


def test_inner_sizes_that_are_different_letters(tmp_path):
    X, w, y = sg.symbols("X:n,d  w:k  y:n")
    with pytest.raises(sg.ShapeError) as problem:
        run(tmp_path, "r = X @ w - y", 12, X=X, w=w, y=y)
    assert str(problem.value) == (
        "X @ w: X is n×d but w has k entries; the inner sizes d and k are different letters.\n"
        "  model.py:12: r = X @ w - y\n"
        '  Declare w with size d (sg.symbols("w:d")), or say d = k with sg.same("d", "k").'
    )
    assert isinstance(problem.value, RuntimeError)
    with sg.same("d", "k"):
        assert (X @ w).shape == (X @ w - y).shape
