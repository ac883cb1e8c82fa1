"""How a command says that it failed: for people on standard error, and with --json as a problem on standard output."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from app.errors import AppError


class Failure(Exception):
    """Ends the command with `exit_code`. `errors` maps a variable, an option or a pointer into a document to what is
    wrong with it.
    """

    def __init__(
        self,
        detail: str,
        *,
        exit_code: int = 1,
        code: str = "failed",
        title: str = "The command failed",
        errors: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.exit_code = exit_code
        self.code = code
        self.title = "Wrong usage" if exit_code == 2 else title
        self.errors = dict(errors or {})

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        if isinstance(error, Failure):
            return error
        if isinstance(error, AppError):
            wrong = {fault.pointer.removeprefix("path").removeprefix("/"): fault.detail for fault in error.errors}
            return cls(error.detail, code=error.code, title=error.title, errors=wrong)
        return cls(str(error))

    def end(self) -> NoReturn:
        for name, wrong in self.errors.items():
            typer.echo(f"bf-admin: {name}: {wrong}", err=True)
        if not self.errors:
            typer.echo(f"bf-admin: {self.detail}", err=True)
        if _json_wanted():
            _emit(self)
        sys.exit(self.exit_code)


def usage(errors: Mapping[str, str]) -> Failure:
    """Of options or variables, each with what is wrong with it."""
    return Failure("; ".join(f"{k}: {v}" for k, v in errors.items()), exit_code=2, code="usage", errors=errors)


class Commands(TyperGroup):
    """Says what typer finds wrong with a command line as JSON too, where that is asked for."""

    def make_context(self, *args: Any, **others: Any) -> Any:
        with _problems():
            return super().make_context(*args, **others)

    def invoke(self, ctx: Any) -> Any:
        with _problems():
            return super().invoke(ctx)


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        if _json_wanted():
            _emit(Failure(error.format_message(), exit_code=error.exit_code, code="usage"))
        raise


def _json_wanted() -> bool:
    """Asked of the arguments themselves: a command line that is wrong has not been read to its end."""
    return "--json" in sys.argv[1:]


def _emit(failure: Failure) -> None:
    problem: dict[str, object] = {"code": failure.code, "title": failure.title, "detail": failure.detail}
    if failure.errors:
        problem["errors"] = [{"name": name, "detail": wrong} for name, wrong in failure.errors.items()]
    typer.echo(json.dumps(problem, indent=2))
