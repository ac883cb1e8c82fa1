"""Addresses with what was asked for."""

from urllib.parse import urlencode


def address(path: str, **given: str) -> str:
    """Without what is empty."""
    told = {name: value for name, value in given.items() if value}
    return f"{path}?{urlencode(told)}" if told else path
