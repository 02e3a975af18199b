"""Functions that source states for itself, where a form of a template calls them by name."""

SCAN = '''
def scan(step, state, inputs, reverse=False):
    """What `step(state, inputs)` makes at each place: the last state, and the outputs stacked."""
    several = isinstance(inputs, tuple)
    count = len(inputs[0] if several else inputs)
    made = [None] * count
    for t in reversed(range(count)) if reverse else range(count):
        state, made[t] = step(state, tuple(x[t] for x in inputs) if several else inputs[t])
    if isinstance(made[0], tuple):
        return state, tuple(np.stack(row) for row in zip(*made))
    return state, np.stack(made)
'''

SINE = '''
def sine(x, quarters=0):
    """sin(x + quarters * pi / 2): several numbers at a time on a CPU, where XLA takes one by one.

    With n the whole number nearest to x / pi + quarters / 2 it is (-1)**n sin(r), where r, the rest,
    is at most pi / 2: there a polynomial agrees with the sine to 4e-11.
    """

    def direct(x):
        return jnp.cos(x) if quarters else jnp.sin(x)

    def polynomial(x):
        with jax.enable_x64(True):
            turns = x.astype(jnp.float64) / jnp.pi + quarters / 2
            n = jnp.floor(turns + 0.5)
            r = x.astype(jnp.float64) - (n - quarters / 2) * jnp.pi
            s = r * r
            p = -2.4079713707377956e-08 * s + 2.753644296396835e-06
            p = (p * s - 0.00019841086288980702) * s + 0.008333332767631813
            p = p * s - 0.16666666663874308
            y = (r + r * s * p) * (1 - 2 * (n - 2 * jnp.floor(n / 2)))
            y = y.astype(x.dtype)
        return y if quarters else jnp.where(x == 0, x, y)  # the sine of -0 is -0

    def on_cpu(x):
        return lax.cond(jnp.all(jnp.abs(x) < 8192), polynomial, direct, x)

    return lax.platform_dependent(x, cpu=on_cpu, default=direct)
'''

LARGEST_AT = '''
def largest_at(x, rank, lowest, *window, **dilation):
    """Where each window of `x` has its first largest entry, as a place in the last `rank` axes.

    These axes are taken as one; NaN counts as largest.
    """
    sizes = x.shape[-rank:]
    places = jnp.arange(math.prod(sizes))
    beyond = jnp.asarray(len(places), places.dtype)

    def better(a, b):
        (x, i), (y, j) = a, b
        second = (y > x) | (y == x) & (j < i) | jnp.isnan(y)
        return jnp.where(second, y, x), jnp.where(second, j, i)

    pair = (x, jnp.broadcast_to(places.reshape(sizes), x.shape))
    return lax.reduce_window(pair, (lowest, beyond), better, *window, **dilation)[1]
'''

SUM_AT = '''
def sum_at(shape, index, values, dtype=float):
    """Zeros to which `values` are added at `index`."""
    total = np.zeros(shape, dtype)
    np.add.at(total, index, values)
    return total
'''

HELPERS = {
    "numpy": (("scan", SCAN), ("sum_at", SUM_AT)),
    "jax": (("sine", SINE), ("largest_at", LARGEST_AT)),
}
"""The helpers of each target, by name."""
