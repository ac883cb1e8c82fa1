"""What is kept of a statement's text: no constants, which may be anybody's data or a password, and no comments."""

import re
from collections.abc import Iterator
from typing import Final

# In the order in which a lexer would try them: a quote that is never closed hides the rest.
_TOKEN: Final = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<text> [eE]'(?:[^'\\]|''|\\.)*(?:'|\Z) | (?:[uU]&|[bBxXnN])?'(?:[^']|'')*(?:'|\Z)
              | \$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z) )
    | (?P<kept> "(?:[^"]|"")*(?:"|\Z) | [^\W\d][\w$]* | \$\d+ )
    | (?P<number> \d[\w.]* | \.\d[\w.]* )
    """,
    re.VERBOSE | re.DOTALL,
)
# PostgreSQL takes the constants out of these itself; of the others, which may hold a password, only the beginning is
# kept.
_PLANNED: Final = frozenset({"select", "insert", "update", "delete", "merge", "with", "values", "table"})
_LONGEST: Final = 2000
_NAME: Final = re.compile(r'(?:"((?:[^"]|"")+)"|([^\W\d][\w$]*))\s*\.')


def redacted(query: str) -> str:
    """The statement in one line, of at most 2,000 characters."""
    words = " ".join(_TOKEN.sub(_replaced, query).split())
    first = words.lstrip("( ").split(" ", 1)[0].lower()
    if words and first not in _PLANNED:
        words = " ".join([*words.split(" ")[:2], "…"])
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def schemas_in(query: str) -> Iterator[str]:
    """Names that stand before a point: among them those of the schemas of its tables."""
    for quoted, plain in _NAME.findall(query):
        yield quoted.replace('""', '"') if quoted else plain.lower()


def _replaced(token: re.Match[str]) -> str:
    if token["comment"] is not None:
        return " "
    return token[0] if token["kept"] is not None else "?"
