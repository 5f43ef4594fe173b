"""Notes in the store when a scheduled command last succeeded; the service tells it on /metrics."""

import time
from typing import Any

from policies.store_keys import Run, StoreKeys
from training.errors import TrainingError
from training.log.store import Secrets, connect, store_errors
from training.progress import note


def note_success(client: Any, keys: StoreKeys, run: Run) -> None:
    """Note that a run has succeeded just now; the client's errors pass through.

    Args:
        client: of the store.
        keys: of the project.
        run: which of them.
    """
    client.hset(keys.last_runs, run, f"{time.time():.3f}")


def note_success_at(location: str, prefix: str, secrets: Secrets, run: Run) -> None:
    """Note it in the store at a location; one that is away is told, and makes no run a failure."""
    try:
        with store_errors(location), connect(location, secrets) as client:
            note_success(client, StoreKeys(prefix), run)
    except TrainingError as error:
        note(f"that this run succeeded isn't noted: {error}")
