"""When Python's garbage collector looks, and at what."""

import gc

_STARTING = 500_000
"""Objects made, beyond those dropped, between two looks at the youngest while the process starts:
it makes less than that, and drops nearly none."""

_SERVING = 2_000
"""The same while it serves: what Python has from 3.13 on, instead of 700. With more, what requests
leave in circles would pile up."""


def spare_imports() -> None:
    """Look seldom; to be called before anything large is imported.

    A sixth of the start went into looks.
    """
    gc.set_threshold(_STARTING, *gc.get_threshold()[1:])


def settle() -> None:
    """Leave what is there now, modules above all, out of every later look.

    A look at everything takes a tenth of a second, in which nobody is served, and would find next
    to nothing now. To be called when the process is made, and before it serves
    (https://docs.python.org/3/library/gc.html#gc.freeze).
    """
    gc.freeze()
    gc.set_threshold(_SERVING, *gc.get_threshold()[1:])
