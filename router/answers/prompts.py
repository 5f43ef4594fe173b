"""Prompts: templates that a user can replace, and the block that retrieved text can't leave."""

import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Self

from policies.arms import did_you_mean
from policies.errors import SettingsError
from router.retrieval.retriever import Passage
from router.settings import AnswerSettings

BUILT_IN = Path(__file__).with_name("templates")
# Each template's file, and the placeholders it must have.
_TEMPLATES = {
    "answer.md": frozenset({"passages", "question"}),
    "next_search.md": frozenset({"passages", "question", "searches"}),
    "continue.md": frozenset[str](),
}
_ESCAPES = str.maketrans({"<": "&lt;", ">": "&gt;"})
_CONTROL_WORD = re.compile(r"\[(/?[A-Z][A-Z_]{2,})\]")
# Terminal codes and the like have no place in a prompt; tabs and line ends do.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class Prompts:
    """The templates in use."""

    def __init__(self, directory: Path | None = None) -> None:
        """Read the templates: those in `directory`, the built-in ones for the rest.

        Raises:
            SettingsError: a template can't be read, or lacks or makes up a placeholder.
        """
        if directory is not None and not directory.is_dir():
            raise SettingsError(
                f"answers.templates: no directory {directory}", field="answers.templates"
            )
        _refuse_strangers(directory)
        self._templates = {
            name: _read(_find(name, directory), needed) for name, needed in _TEMPLATES.items()
        }

    @classmethod
    def of(cls, settings: AnswerSettings) -> Self:
        """The templates that the configuration names; raises SettingsError."""
        return cls(Path(settings.templates) if settings.templates is not None else None)

    def answer(self, question: str, passages: Sequence[Passage]) -> str:
        """The user's turn with the passages put to it."""
        return self._fill("answer.md", question=question, passages=passage_block(passages))

    def next_search(
        self, question: str, passages: Sequence[Passage], searches: Sequence[str]
    ) -> str:
        """Ask what to search for next, or whether it can be answered."""
        return self._fill(
            "next_search.md",
            question=question,
            passages=passage_block(passages),
            # The model wrote them, perhaps after what a passage said.
            searches="\n".join(f"- {_data(search, one_line=True)}" for search in searches),
        )

    def go_on(self) -> str:
        """Ask to continue an answer that broke off."""
        return self._fill("continue.md")

    def _fill(self, name: str, **values: str) -> str:
        return self._templates[name].substitute(values).strip()


def passage_block(passages: Sequence[Passage]) -> str:
    """The passages, numbered, as data.

    Every `<` and `>` of theirs is escaped, so nothing in them can end the block, open another one,
    or read as a control token such as `<|im_start|>`; those in brackets, such as `[INST]`, lose the
    brackets. An `&` stays: it can do none of that, and a small model would copy `R&amp;B`.
    """
    lines = ["<passages>"]
    for number, passage in enumerate(passages, start=1):
        updated = f' updated="{passage.updated_at:%Y-%m-%d}"' if passage.updated_at else ""
        title = f' title="{_data(passage.title, one_line=True)}"' if passage.title else ""
        lines.append(f'<passage number="{number}"{title}{updated}>')
        lines.append(_data(passage.text))
        lines.append("</passage>")
    return "\n".join((*lines, "</passages>"))


def _data(text: str, *, one_line: bool = False) -> str:
    clean = _CONTROL_WORD.sub(r"(\1)", _CONTROL.sub(" ", text)).translate(_ESCAPES)
    return " ".join(clean.replace('"', "'").split()) if one_line else clean.strip()


def _refuse_strangers(directory: Path | None) -> None:
    """A misspelt name would quietly leave the built-in template in use."""
    for path in sorted(directory.glob("*.md")) if directory is not None else ():
        if path.name not in _TEMPLATES:
            raise SettingsError(
                f"{path} is no template{did_you_mean(path.name, _TEMPLATES)}; there are "
                f"{', '.join(_TEMPLATES)}",
                field="answers.templates",
            )


def _find(name: str, directory: Path | None) -> Path:
    own = directory / name if directory is not None else None
    return own if own is not None and own.exists() else BUILT_IN / name


def _read(path: Path, needed: frozenset[str]) -> Template:
    try:
        template = Template(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}", field="answers.templates") from error
    found = set(template.get_identifiers())
    for name in sorted(needed ^ found):
        fault = f"lacks ${name}" if name in needed else f"names ${name}, which isn't known here"
        raise SettingsError(f"{path} {fault}", field="answers.templates")
    if not template.is_valid():
        raise SettingsError(
            f"{path} has a $ that names nothing: write $$ for the sign", field="answers.templates"
        )
    return template
