"""What processes cost, as the kernel counts it: CPU seconds and memory, read from /proc."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of all threads of these processes so far."""
    return sum(_cpu_of(pid) for pid in pids)


def resident_mb(pid: int) -> float:
    """The memory that the process holds now, pages shared with others included; 10⁶ bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"process {pid} has ended")


def _cpu_of(pid: int) -> float:
    # The name, in parentheses, may hold spaces; user and system ticks are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
