"""What an export has committed, beside the files it is about.

Each run over a destination has a number, greater than any before it, and saves a state with it
before it writes anything else.
"""

import re
from collections.abc import Sequence

import msgspec

from training.errors import InputError
from training.log.export_parts import is_unfinished
from training.log.export_streams import START, LogStream
from training.log.log_folder import LocalFolder, LogFolder

STATE_FILE = "export.json"
_SCHEMA = 2
_STATE = re.compile(r"export(-r\d+)?\.json")


class ExportState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is committed, over all runs.

    `log` names the store's log; by stream, `committed` is the last id exported and `kept` the first
    that only a later release knows (it can't be trimmed); `entries` counts what was read, `missed`
    what somebody else had removed before that. `run` is the number of the run that wrote this, and
    `began` what was committed when it began.
    """

    log: str
    committed: dict[str, str] = {}
    kept: dict[str, str] = {}
    entries: int = 0
    missed: int = 0
    run: int = 0
    began: dict[str, str] = {}
    schema: int = 1

    def position(self, stream: LogStream) -> str:
        """The last id exported of a stream."""
        return self.committed.get(stream.name, START)

    def next_run(self, number: int) -> "ExportState":
        """The state that a new run begins with."""
        return msgspec.structs.replace(self, run=number, began=self.committed, schema=_SCHEMA)

    def after(
        self, stream: LogStream, last: str, entries: int, unknown: str | None
    ) -> "ExportState":
        """The state once these entries of a stream are written."""
        kept = self.kept if unknown is None else {stream.name: unknown, **self.kept}
        return msgspec.structs.replace(
            self,
            committed={**self.committed, stream.name: last},
            kept=kept,
            entries=self.entries + entries,
        )


class StateFile:
    """The state beside the files it is about; saving is one atomic write.

    In a directory that is `export.json`, replaced by whoever holds the directory's lock. On object
    storage a lock can be lost without knowing it, so each run has a file of its own, and the
    highest run's counts: a run that was overtaken can't undo what a later one has committed.
    """

    def __init__(self, folder: LogFolder) -> None:
        """Store the folder; nothing is read."""
        self._folder = folder

    def read(self) -> ExportState | None:
        """The latest state; None where nothing was exported yet.

        Raises:
            InputError: it is damaged, or a later release's.
        """
        states = [self._decode(name) for name in self._names() if _STATE.fullmatch(name)]
        return max(states, key=lambda state: (state.run, state.entries), default=None)

    def save(self, state: ExportState) -> None:
        """Make this the run's state."""
        content = msgspec.json.format(msgspec.json.encode(state)) + b"\n"
        self._folder.write(self._name(state), content)

    def remove_earlier(self, state: ExportState) -> None:
        """Remove what earlier runs, or killed ones, have left of theirs."""
        left = [name for name in self._names() if _STATE.fullmatch(name) or is_unfinished(name)]
        self._folder.delete(name for name in left if name != self._name(state))

    def _name(self, state: ExportState) -> str:
        return STATE_FILE if isinstance(self._folder, LocalFolder) else f"export-r{state.run}.json"

    def _names(self) -> Sequence[str]:
        return [file.name for file in self._folder.files(recursive=False)]

    def _decode(self, name: str) -> ExportState:
        path = self._folder / name
        try:
            state = msgspec.json.decode(self._folder.read(name), type=ExportState)
        except (OSError, msgspec.DecodeError) as error:
            raise InputError(
                f"can't be read ({error}): restore it, or export to another directory", path=path
            ) from error
        if state.schema > _SCHEMA:
            raise InputError("was written by a later release: upgrade", path=path)
        return state
