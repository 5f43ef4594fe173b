"""What a Markdown file says of itself in front of its text.

One form is read: `---` on the first line, `key: value` lines, `---`. A tenant in any other form
is an error, never passed over: a document that names its owner must not become everybody's.
"""

import re

from router.indexing.content import UnknownTenantError

_FENCE = re.compile(r"[\s\u200b\ufeff]*(?:---|\+\+\+|;;;|\{)")
_BLOCK = re.compile(r"---[ \t]*\n(?P<body>(?:.*\n)*?)---[ \t]*(?:\n|\Z)")
_END = re.compile(r"^(?:---+|\+\+\++|;;;+)[ \t]*$", re.MULTILINE)
# A line of YAML: `key:`, a comment, or the indented, listed or closing part of a longer value.
_YAML = re.compile(r"""["']?[\w.-]+["']?[ \t]*:(?:[ \t]|$)|#|[ \t]|-(?:[ \t]|$)|[]}]|$""")
_FIELD = re.compile(r"(title|uri|url|tenant|updated_at|updated|date)[ \t]*:(?:[ \t]+(.*))?$")
_TENANT_KEY = re.compile(
    r"""(?<!\w)(?<!\w-)tenant(?:s|[_-]?ids?)?["']?[ \t]*(?:[:=]|$)""", re.IGNORECASE | re.MULTILINE
)
# A name that YAML takes for text as it stands, or one in quotes without escapes.
_PLAIN = re.compile(r"""(?!null$)\w(?:(?!:[ \t]|:$|[ \t]#)[^"\\])*$""", re.IGNORECASE)
_QUOTED = re.compile(r""""[^"\\]*"$|'[^']*'$""")
_LONGER_VALUE = re.compile(r"[>|][-+\d]*$")


def split_front_matter(text: str) -> tuple[dict[str, str], str]:
    """The fields that have a value on their line, and the text after the front matter.

    Raises:
        UnknownTenantError: it names a tenant, but not as `tenant: NAME`.
    """
    block = _BLOCK.match(text)
    if block is None or not _is_yaml(block["body"]):
        _require_no_tenant(text)
        return {}, text
    return _fields(block["body"].splitlines()), text[block.end() :]


def _is_yaml(body: str) -> bool:
    """Text between two rules isn't; a blank line after the first one is how it mostly starts."""
    lines = body.splitlines()
    return not lines or (bool(lines[0].strip()) and all(map(_YAML.match, lines)))


def _require_no_tenant(text: str) -> None:
    """Where something like front matter starts, up to its end, or the text's if it has none."""
    start = _FENCE.match(text)
    if start is None:
        return
    end = _END.search(text, start.end())
    if _TENANT_KEY.search(text, start.start(), end.start() if end else len(text)):
        raise _unread_tenant()


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for number, line in enumerate(lines):
        match = _FIELD.match(line)
        name, value = (match[1], (match[2] or "").strip()) if match else ("", "")
        if name == "tenant":
            if "tenant" in fields or not _is_whole(value, lines[number + 1 :]):
                raise _unread_tenant()
        elif _TENANT_KEY.search(line):
            raise _unread_tenant()
        if name and value and not _LONGER_VALUE.match(value):
            fields[name] = _unquoted(value)
    return fields


def _is_whole(tenant: str, following: list[str]) -> bool:
    """Whether a tenant stands on its line alone, in a form that YAML reads as the same text."""
    after = next((line for line in following if line.strip()), "")
    if after.startswith((" ", "\t", "-")):
        return False
    return not tenant or bool(_PLAIN.match(tenant) or _QUOTED.match(tenant))


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and _QUOTED.match(value) else value


def _unread_tenant() -> UnknownTenantError:
    return UnknownTenantError(
        "its front matter names a tenant in a form that isn't read: start the file with a line "
        "---, write one line tenant: NAME, and end the front matter with a line ---"
    )
