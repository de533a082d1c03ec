"""What Python's garbage collector looks at while requests are served."""

import gc

_ALLOCATIONS = 10_000
"""Objects made, beyond those dropped, between two looks at the youngest; Python's own is 700 to
2,000, which a few requests make."""


def settle() -> None:
    """Leave what is there now, modules above all, out of every later look.

    A look at everything takes a tenth of a second, in which nobody is served. To be called when the
    process is made, and before it serves (https://docs.python.org/3/library/gc.html#gc.freeze).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
