"""Told to stop, a replica first says that it isn't ready, and serves on until balancers notice."""

import asyncio
import signal


class Draining:
    """Whether this process is about to stop."""

    def __init__(self) -> None:
        self.begun = False

    def heed_sigterm(self, seconds: float) -> None:
        """From now on let SIGTERM end the process so much later than it would.

        A server that closes its socket at once resets connections that it has accepted and not yet
        read; a balancer may not send those again where an answer costs money. A second SIGTERM
        ends the process at once, as Ctrl-C does. For the main thread, inside its event loop.
        """
        loop, end = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
        assert callable(end)

        def begin() -> None:
            if self.begun:
                end(signal.SIGTERM, None)
                return
            self.begun = True
            loop.call_later(seconds, end, signal.SIGTERM, None)

        loop.add_signal_handler(signal.SIGTERM, begin)
