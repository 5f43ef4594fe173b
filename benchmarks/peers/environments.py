"""Which peers there are, and each one's own environment; `side_by_side.py`'s side."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Under the project's `.venv*`, which git ignores.
DEFAULT_ROOT = HERE.parent.parent / ".venv-peers"
OURS = "this project"


@dataclass(frozen=True)
class PeerSpec:
    """title: as the table names it; script: its side of the protocol; requirements: a pinned file.

    Without requirements it runs under the Python that runs the benchmark.
    """

    title: str
    script: str
    requirements: str | None = None

    def python(self, root: Path) -> Path:
        """The interpreter of its environment under `root`, there or not."""
        if self.requirements is None:
            return Path(sys.executable)
        return root / self.requirements / "bin" / "python"


PEERS = (
    PeerSpec(OURS, "this_project.py"),
    PeerSpec("Vowpal Wabbit", "vowpal_wabbit.py", "vowpal_wabbit"),
    PeerSpec("semantic-router 1.1", "aurelio.py", "aurelio"),
    PeerSpec("semantic-router 0.3", "aurelio.py", "aurelio_0_3"),
    PeerSpec("sentence-transformers + scikit-learn", "plain_sklearn.py", "plain_sklearn"),
    PeerSpec("LLMRouter", "llmrouter_knn.py", "llmrouter_knn"),
)


def set_up(root: Path) -> dict[str, str]:
    """Make the environments that aren't there yet; title → why, for those that couldn't be made."""
    failed = {}
    for peer in PEERS:
        python = peer.python(root)
        if peer.requirements is None or (python.parent.parent / ".complete").exists():
            continue
        print(f"setting up {peer.title} in {python.parent.parent}", file=sys.stderr, flush=True)
        why = _install(python, HERE / "requirements" / f"{peer.requirements}.txt")
        if why is not None:
            failed[peer.title] = why
    return failed


def _install(python: Path, requirements: Path) -> str | None:
    """None where everything was installed, else pip's last words."""
    environment = python.parent.parent
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "-r", str(requirements)], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return (errors or [f"pip's exit status is {done.returncode}"])[-1]
    (environment / ".complete").touch()
    return None


def why_missing(peer: PeerSpec, root: Path) -> str | None:
    """Why the peer can't be run; None where it can."""
    if peer.requirements is None or peer.python(root).exists():
        return None
    return f"no environment: python benchmarks/side_by_side.py --setup {_relative(root)}"


def _relative(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
