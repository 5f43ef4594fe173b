"""The files that exports write, and which of them a crash has left.

A file's name holds its range of stream ids and the run that wrote it: where it goes beyond what
that run has committed, it is a leftover.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from training.log.event_tables import KINDS, Kind
from training.log.export_streams import START, LogStream, entry_number
from training.log.log_folder import LogFolder

_PART = re.compile(
    r"(?:.*/)?export-\d+-\d+_(?P<last>\d+-\d+)(?:-r(?P<run>\d+))?(?:-s(?P<shard>\d+))?\.parquet"
)
# The folder of entries that no row can be made of.
DAMAGED = "damaged"
_UNFINISHED = re.compile(r"(?:.*/)?\.export.*\.tmp")


class Part(NamedTuple):
    """A file by what its path says: its kind, the last id in it, which run wrote it of which shard.

    Earlier releases' files are of run 0.
    """

    name: str
    kind: Kind
    last: tuple[int, int]
    run: int
    shard: int


def part_name(first: str, last: str, run: int, stream: LogStream) -> str:
    """A file's name without its ending; ids are padded, so that names sort as they do."""
    start, end = (f"{ms:013d}-{seq:06d}" for ms, seq in (entry_number(first), entry_number(last)))
    return f"export-{start}_{end}-r{run}" + (f"-s{stream.shard}" if stream.shard else "")


def is_unfinished(name: str) -> bool:
    """Whether a name is that of a file that an export was writing when it ended."""
    return _UNFINISHED.fullmatch(name) is not None


class ExportedFiles(NamedTuple):
    """The files of earlier exports in a folder; `unfinished` are names of half-written ones."""

    parts: list[Part]
    unfinished: list[str]

    @classmethod
    def found(cls, folder: LogFolder) -> "ExportedFiles":
        """List them; other files of the log are left out."""
        parts, unfinished = [], []
        for kind in KINDS:
            for name, _ in folder.files(kind):
                if is_unfinished(name):
                    unfinished.append(name)
                elif named := _PART.fullmatch(name):
                    run, shard = int(named["run"] or 0), int(named["shard"] or 0)
                    parts.append(Part(name, kind, entry_number(named["last"]), run, shard))
        quarantined = [name for name, _ in folder.files(DAMAGED)]
        return cls(parts, unfinished + list(filter(is_unfinished, quarantined)))

    def leftovers(
        self,
        streams: tuple[LogStream, ...],
        *,
        run: int,
        committed: Mapping[str, str],
        began: Mapping[str, str],
    ) -> list[str]:
        """The names of what isn't committed.

        Args:
            streams: of the log; files of others are left as they are.
            run: the last one that has saved a state.
            committed: by stream the last id it has committed: its own files hold what is up to it.
            began: what was committed when it began: what an earlier run wrote beyond that never
                was, even if it came later.
        """
        of = {(kind, stream.shard): stream.name for stream in streams for kind in stream.kinds}

        def is_left(part: Part) -> bool:
            if (part.kind, part.shard) not in of:
                return False
            positions = committed if part.run == run else began
            return part.last > entry_number(positions.get(of[part.kind, part.shard], START))

        return [*self.unfinished, *(part.name for part in self.parts if is_left(part))]
