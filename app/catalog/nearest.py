"""What somebody may have meant. Pure."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(name: str, known: Iterable[str]) -> str:
    """What is wrong with `name`, which is none of the `known` ones: with the nearest three, or with all."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"is not in the catalogue; did you mean {' or '.join(near)}?"
    return f"is not in the catalogue, which has {', '.join(names) or 'nothing yet'}"
