"""Looks for secrets in every file that git has: `make secrets-scan`.

By their form alone, which keys have that are meant to be found: nothing has to be explained away in a list. What is
fine all the same says so in its line: `secrets-scan: allow`. It prints where it has found something, and never what.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
_ALLOWED: Final = "secrets-scan: allow"
_FORMS: Final = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*(?:\\n)?[A-Za-z0-9+/=]{40}",
    "a key of AWS": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a token of GitHub": r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{60,}",
    "a token of GitLab": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a token of Slack": r"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    "a key of Stripe": r"\b[rs]k_live_[0-9A-Za-z]{20,}",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of PyPI": r"\bpypi-AgE[A-Za-z0-9_-]{50,}",
    "a JSON Web Token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}",
    "a key of this service": r"\bbfk_[0-9a-f]{16}\.(?!x{43})[A-Za-z0-9_-]{43}\b",
    "a signing secret": r"\bwhsec_[A-Za-z0-9+/]{32,}={0,2}",
}
_FORM: Final = re.compile("|".join(f"(?P<f{n}>{form})" for n, form in enumerate(_FORMS.values())))
_NAMES: Final = dict(zip((f"f{n}" for n in range(len(_FORMS))), _FORMS, strict=True))


def found_in(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers, and what is there."""
    lines = text.splitlines()
    for match in _FORM.finditer(text):
        number = text.count("\n", 0, match.start()) + 1
        if _ALLOWED not in lines[number - 1]:
            yield number, _NAMES[match.lastgroup or ""]


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=_ROOT)  # noqa: S607
    found = 0
    for name in filter(None, listed.stdout.split("\0")):
        path = _ROOT / name
        if not path.is_file():
            continue
        for number, what in found_in(path.read_text(encoding="utf-8", errors="replace")):
            print(f"{name}:{number}: {what}", file=sys.stderr)  # noqa: T201
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
