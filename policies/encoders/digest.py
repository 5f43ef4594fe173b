"""A short name for the exact content of some files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_BLOCK = 1 << 20


def files_digest(files: Iterable[Path]) -> str:
    """First 12 hexadecimal digits of the SHA-256 over the files' bytes, one after the other."""
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                sha.update(block)
    return sha.hexdigest()[:12]
