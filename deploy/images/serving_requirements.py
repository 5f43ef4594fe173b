"""Print what the service needs of the distribution's dependencies: those of training left out.

`python serving_requirements.py PYPROJECT EXTRAS` (names separated by commas, or nothing). What
only training imports is two thirds of all dependencies by size. An import-linter contract keeps the
service from importing it; an extra that needs one of them brings it back by itself.
"""

import re
import sys
import tomllib
from pathlib import Path

TRAINING_ONLY = frozenset({"pyarrow", "scikit-learn", "scipy"})


def serving_requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Requirement specifiers, as pip takes them.

    Raises:
        SystemExit: there is no such extra.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    known = project["optional-dependencies"]
    unknown = sorted(set(extras) - set(known))
    if unknown:
        raise SystemExit(f"EXTRAS names {', '.join(unknown)}; there are {', '.join(known)}")
    needed = [one for one in project["dependencies"] if _name(one) not in TRAINING_ONLY]
    return needed + [one for extra in extras for one in known[extra]]


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return found.group()


def main() -> None:
    pyproject, extras = sys.argv[1:]
    wanted = [extra for extra in extras.split(",") if extra]
    sys.stdout.write("\n".join(serving_requirements(Path(pyproject), wanted)) + "\n")


if __name__ == "__main__":
    main()
