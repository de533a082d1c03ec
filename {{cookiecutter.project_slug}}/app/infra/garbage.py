"""What Python's garbage collector looks at while requests are served."""

import gc

_ALLOCATIONS = 2_000
"""Objects made, beyond those dropped, between two looks at the youngest: what Python has from 3.13
on, instead of 700. With more, what requests leave in circles would pile up."""


def settle() -> None:
    """Leave what is there now, modules above all, out of every later look.

    A look at everything takes a tenth of a second, in which nobody is served. To be called when the
    process is made, and before it serves (https://docs.python.org/3/library/gc.html#gc.freeze).
    """
    gc.collect()
    gc.freeze()
    usual, *others = gc.get_threshold()
    gc.set_threshold(max(usual, _ALLOCATIONS), *others)
