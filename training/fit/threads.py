"""How many threads the linear algebra may use."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for the linear algebra of a block, or of a function it decorates.

    Training solves hundreds of systems of a few hundred unknowns, too small to share: on two busy
    cores, BLAS threads that wait for each other made it thirty times slower (141 s against 4). The
    products over a large log's rows gain a tenth at best from a second thread and take a quarter
    more of the processors; parts on two processes (`--engine dask`) use both.
    """
    with threadpool_limits(limits=1):
        yield
