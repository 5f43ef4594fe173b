"""How many threads the linear algebra may use."""

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def one_thread() -> AbstractContextManager[object]:
    """One thread for the linear algebra of a block.

    Training solves hundreds of systems of a few hundred unknowns, too small to share: on two busy
    cores, BLAS threads that wait for each other made it thirty times slower (141 s against 4).
    """
    limits: AbstractContextManager[object] = threadpool_limits(limits=1)
    return limits
