"""The directory that an encoder is written to: whole, or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from policies.errors import EncoderError


@contextmanager
def new_directory(to: Path) -> Iterator[Path]:
    """A directory beside `to` that becomes `to` when the block ends, or vanishes when it raises.

    Raises EncoderError where `to` exists and isn't an empty directory.
    """
    require_new(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    try:
        yield staging
        staging.chmod(0o755)  # mkdtemp leaves it to its owner alone
        staging.replace(to)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def require_new(to: Path, *, field: str = "to") -> None:
    """Raises EncoderError where `to` exists and isn't an empty directory; `field` asked for it."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise EncoderError(
            f"{to} isn't empty: an encoder's directory is never changed, name a new one",
            field=field,
        )


def size_of(directory: Path) -> int:
    """Bytes of the directory's files."""
    return sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
