"""Tenants as files that can be read back: CSV and JSON of what POST /v1/tenants takes. Pure."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TextIO

FIELDS: Final = (
    "tenant_id", "tenant_name", "created_by", "subscription_tier", "billing_contact", "features_enabled", "limits",
    "config", "integrations",
)  # fmt: skip
_OBJECTS: Final = ("limits", "config", "integrations")
# What a spreadsheet would take for a formula, after the apostrophes that already keep it from doing so.
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")


class UnreadableFileError(ValueError):
    """`line` is where, counted from 1."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line


class CsvWriter:
    """A row for each tenant: features separated by blanks, documents as JSON, no cell that is a formula."""

    def __init__(self, file: TextIO) -> None:
        self._rows = csv.DictWriter(file, FIELDS, lineterminator="\r\n")
        self._rows.writeheader()

    def write(self, tenant: Mapping[str, Any]) -> None:
        self._rows.writerow({name: _cell(tenant[name]) for name in FIELDS if tenant.get(name) is not None})

    def close(self) -> None:
        """A table has no end."""


class JsonWriter:
    """The body of POST /v1/tenants/batch, each tenant on a line of its own."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._before = '{"tenants": [\n'

    def write(self, tenant: Mapping[str, Any]) -> None:
        known = {name: tenant[name] for name in FIELDS if tenant.get(name) is not None}
        self._file.write(self._before + json.dumps(known, ensure_ascii=False))
        self._before = ",\n"

    def close(self) -> None:
        self._file.write(("\n" if self._before == ",\n" else self._before) + "]}\n")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value)
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    return f"'{text}" if _FORMULA.match(text) else text


def read_csv(file: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each tenant with its line. An empty cell is a value that is not given. Raises UnreadableFileError."""
    rows = csv.DictReader(file, strict=True)
    try:
        unknown = [name for name in rows.fieldnames or () if name not in FIELDS]
        if unknown or not rows.fieldnames:
            raise UnreadableFileError(1, f"the first line must name columns of {', '.join(FIELDS)}; {unknown} are none")
        for row in rows:
            if None in row or None in row.values():
                raise UnreadableFileError(rows.line_num, f"it must have {len(rows.fieldnames)} cells")
            yield rows.line_num, {name: _value(name, text, rows.line_num) for name, text in row.items() if text != ""}
    except csv.Error as error:
        raise UnreadableFileError(rows.line_num, str(error)) from None


def _value(name: str, cell: str, line: int) -> Any:
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    if name == "features_enabled":
        return text.split()
    if name not in _OBJECTS:
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnreadableFileError(line, f"{name} is no JSON: {error}") from None


def read_json(file: TextIO) -> Iterator[tuple[int, Any]]:
    """Each tenant with its number in the list, from 1, which is not told as a line. Raises UnreadableFileError."""
    try:
        document = json.load(file)
    except json.JSONDecodeError as error:
        raise UnreadableFileError(error.lineno, error.msg) from None
    tenants = document.get("tenants") if isinstance(document, dict) else document
    if not isinstance(tenants, list):
        raise UnreadableFileError(1, 'it must be {"tenants": [...]} or a list')
    yield from enumerate(tenants, start=1)
