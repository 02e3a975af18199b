"""Random texts over arrays of known shapes, with parts that stand more than once."""

from __future__ import annotations

from random import Random
from string import Formatter

Axes = tuple[str, ...]

WORDS: dict[Axes, str] = {
    (): "st", ("n",): "xy", ("d",): "wv", ("1",): "u", ("n", "d"): "AB", ("d", "d"): "CD",
    ("n", "n"): "MN", ("n", "1"): "c", ("1", "d"): "r", ("k", "n", "n"): "H", ("k", "n", "d"): "G",
}  # fmt: skip
"""The variables of each shape."""
OTHERS: dict[Axes, str] = {
    ("d", "n"): "A.T", ("d", "1"): "r.T", ("1", "n"): "c.T", ("1", "1"): "u[:, None]",
}  # fmt: skip
"""What has the other shapes."""


RELATIVES = (
    "{n} @ {n1}", "sum({n} * {n1})", "{n} @ {n1} * sum({n} * {n1})", "sum(({n} - {n1}) ** 2)", "sum(({n1} - {n}) ** 4 * {n})",
    "sum(abs({n1} - {n}) / {})", "sum({n} ** 3 / {n1} ** 3)", "trace({nn} @ {nn1})",
    "trace({nn} - {nn1} @ {nn})", "sum({nd}) * mean({nd})", "mean({n}) + sum({n})",
    "sum({nd} @ {d})", "{d} @ sum({nd}, axis=0)",
    "sum({nd} @ {d}) * ({d} @ sum({nd}, axis=0))",
    "sum({nd} @ {dd}) + sum(sum({nd}, axis=0) @ {dd})", "sum({nd} - {d1} - {nd1} @ {dd}, axis=0) @ {d}",
    "sum(sum({nd} + {d1} - {nd1} @ {dd}, axis=1))", "sum({nd} - {nd1} @ {dd} - {n}[:, None], axis=1) @ {n}",
    "sum({} * {nd} @ {dd})", "sum({} * {} * outer({n}, {d}) / {})", "sum({} * {nd} @ abs({d}))",
    "sum(inv(M) @ {n})", "sum(inv(M.T))", "sum(solve(M, {n}[:, None])[:, 0])", "sum(solve(M.T, {nd}))",
    "sum(inv(M) @ {nn} @ inv(M) @ {n})", "sum({n} @ inv(M) @ {nn} @ inv(M.T))",
    "sum({dn} @ inv(M) @ {n})", "-{} * (inv(M) @ {n}) @ (inv(N) @ inv(M) @ {n1})",
    "sum({nn} @ inv(M) @ inv(N).T @ {nd})", "sum(inv(M) @ ({nd} @ inv(C)).T.T @ {d})",
    "sum({d} * ({nd} @ {dd})) + sum({dd} * {d})", "sum(tril(-{nn}) + {nn1}) - sum({nn1} - (-{nn}).T)",
    "sum({} * ({nd} @ (1 / {d})))", "sum(({n}[:, None] * {dn}.T).T)", "sum({n}[:, None] * {nd} - (-{nd}))",
    "sum({} * (eye(n) - {}) @ {nd})", "sum((eye(n) - 1 / n) @ {n})", "{nd}.T @ {n} @ {d}",
    "sum({nn} * {nn1}.T) + sum({nn} @ {nn1})", "sum({d} * {dd}.T) + sum({d} @ {dd})",
    "sum({} * diag({n}) - {nn})", "sum(outer({n}, {d}) * ({nd} - outer({n}, {d})))", "sum({} * {nd} - ({nd1} - {nd}) @ {dd})",
    "sum({} * {d} - {nd}.T @ ({n} - {nd} @ {d}) / {})", "sum({nd} / {n}[:, None] / {} * {d})",
)  # fmt: skip
"""Parts of which several may meet: a hole has its axes, and a number where two differ."""


class Drawn:
    """Draws parts of a shape; what has been drawn may stand again."""

    def __init__(self, number: int) -> None:
        self.random = Random(number)
        self.known: dict[Axes, list[str]] = {}

    def part(self, axes: Axes, depth: int) -> str:
        """A text of this shape, in parentheses where it is an operation."""
        known = self.known.get(axes, [])
        if known and self.random.random() < 0.3:
            return self.random.choice(known)
        kinds = self._kinds(axes) if depth else []
        kinds = kinds or [self._named]
        made = self.random.choice(kinds)(axes, max(depth - 1, 0))
        self.known.setdefault(axes, []).append(made)
        return made

    def relative(self) -> str:
        """A number made of parts that are there, as likely as not."""
        made = self.random.choice(RELATIVES)
        holes = dict.fromkeys(h for _, h, *_ in Formatter().parse(made) if h is not None)
        for hole in holes:
            axes = tuple(hole.rstrip("1"))
            made = made.replace(f"{{{hole}}}", self.part(axes, 1))
        return made

    def _kinds(self, axes: Axes) -> list:
        r = len(axes)
        kinds = [self._sum_of_two, self._sum_of_two, self._function, self._named]
        if r <= 2:
            kinds += [self._product, self._product, self._total]
        if r == 0:
            kinds += [self._whole, self._whole]
        if r == 2:
            kinds += [self._outer, self._transpose, self._product]
        if r == 2 and axes[0] in "nd":
            kinds += [self._solve]
        if r == 2 and axes[1] == "1":
            kinds += [self._column] * 2
        if r == 2 and axes[0] == axes[1] and axes[0] in "nd":
            kinds += [self._inverse, self._identity]
        if r == 1 and axes[0] in "nd":
            kinds += [self._solution]
        if r == 3:
            kinds += [self._product]
        return kinds

    def _named(self, axes: Axes, _: int) -> str:
        return self.random.choice(WORDS.get(axes) or [OTHERS[axes]])

    def _smaller(self, axes: Axes) -> Axes:
        """A shape that broadcasts to this one."""
        kept = axes[self.random.choice([0, 0, 0, 1, 2]) :]
        if len(kept) == 2 and self.random.random() < 0.2:
            return self.random.choice([(kept[0], "1"), ("1", kept[1])])
        return kept

    def _sum_of_two(self, axes: Axes, depth: int) -> str:
        other = self._smaller(axes)
        while not axes and other:
            other = ()
        a, b = self.part(axes, depth), self.part(other, depth)
        if self.random.random() < 0.4:
            a, b = b, a
        sign = self.random.choice(["+", "-", "-", "*", "*", "/"])
        return f"({a} {sign} {b})"

    def _function(self, axes: Axes, depth: int) -> str:
        inner = self.part(axes, depth)
        return (
            self.random.choice(["{} ** 2", "abs({})", "cos({})", "{} ** 3"])
            .format(inner)
            .join("()")
        )

    def _product(self, axes: Axes, depth: int) -> str:
        k = "n" if len(axes) == 3 else self.random.choice(["n", "d", "d", "1"])
        front, end = axes[:-1], axes[-1:]
        if not axes:
            left, right = (k,), (k,)
        elif len(axes) == 1 and self.random.random() < 0.3:
            left, right = (k,), (k, *end)
        elif len(axes) == 1:
            left, right = (*end, k), (k,)
        else:
            left, right = (*front, k), (k, *end)
            if len(axes) == 3:
                left, right = ("k", "n", "n"), self.random.choice([right, ("k", *right)])
        return f"({self.part(left, depth)} @ {self.part(right, depth)})"

    def _total(self, axes: Axes, depth: int) -> str:
        k = self.random.choice("nd1")
        if not axes:
            return f"sum({self.part((k,), depth)})"
        if len(axes) > 1:
            return self._sum_of_two(axes, depth)
        axis = self.random.choice([0, 1])
        inner = (k, *axes) if axis == 0 else (*axes, k)
        return f"sum({self.part(inner, depth)}, axis={axis})"

    def _whole(self, _: Axes, depth: int) -> str:
        word = self.random.choice(["sum", "mean", "trace", "sum"])
        k = self.random.choice("nd")
        axes = (
            (k, k)
            if word == "trace"
            else self.random.choice([("n", "d"), (k,), ("n", "1"), (k, k)])
        )
        return f"{word}({self.part(axes, depth)})"

    def _outer(self, axes: Axes, depth: int) -> str:
        return f"outer({self.part(axes[:1], depth)}, {self.part(axes[1:], depth)})"

    def _transpose(self, axes: Axes, depth: int) -> str:
        return f"{self.part(axes[::-1], depth)}.T"

    def _column(self, axes: Axes, depth: int) -> str:
        return f"{self.part(axes[:1], depth)}[:, None]"

    def _matrix(self, k: str) -> str:
        """A matrix that is far from singular, or its transpose."""
        return self.random.choice(["M", "N"] if k == "n" else ["C", "D"]) + self.random.choice(
            ["", ".T"]
        )

    def _inverse(self, axes: Axes, _: int) -> str:
        return f"inv({self._matrix(axes[0])})"

    def _identity(self, axes: Axes, depth: int) -> str:
        sign = self.random.choice("+-")
        under = self.random.choice([f"1 / {axes[0]}", self.part((), depth)])
        return f"(eye({axes[0]}) {sign} {under})"

    def _solve(self, axes: Axes, depth: int) -> str:
        return f"solve({self._matrix(axes[0])}, {self.part(axes, depth)})"

    def _solution(self, axes: Axes, depth: int) -> str:
        return f"solve({self._matrix(axes[0])}, {self.part(axes, depth)}[:, None])[:, 0]"


def drawn(number: int) -> str:
    """A text: a part, and totals of others, so that they are there too."""
    made = Drawn(number)
    axes = made.random.choice([(), ("n",), ("d",), ("n", "d"), ("n", "n")])
    parts = [made.part(axes, 4)]
    for others in list(made.known.values()):
        parts += [f"sum({x})" for x in made.random.sample(others, min(len(others), 1))]
    parts += [made.relative() for _ in range(made.random.choice([0, 3, 6]))]
    return " + ".join(parts)


__all__ = ["WORDS", "drawn"]
