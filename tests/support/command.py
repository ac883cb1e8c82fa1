"""`bf-admin …` in this process, for the many commands whose start as a process would cost more than they do."""

import asyncio
import logging
import sys
from unittest import mock

import structlog
from typer.testing import CliRunner

from app.cli import main
from tests.support.processes import Finished


async def command(*arguments: str, env: dict[str, str]) -> Finished:
    """As processes.bf_admin(), with this interpreter, its own event loop, and nothing but `env` of BF_* variables."""
    return await asyncio.to_thread(_run, arguments, env)


def _run(arguments: tuple[str, ...], env: dict[str, str]) -> Finished:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    runner = CliRunner()
    try:
        with (
            mock.patch.dict("os.environ", env, clear=True),
            mock.patch.object(sys, "argv", ["bf-admin", *arguments]),
            runner.isolation() as (stdout, stderr, _),
        ):
            code: object = 0
            try:
                main()
            except SystemExit as exited:
                code = exited.code
            sys.stdout.flush()
            sys.stderr.flush()
            out, err = stdout.getvalue().decode(), stderr.getvalue().decode()
    finally:
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()
    assert code is None or isinstance(code, int), code
    return Finished(code or 0, out, err)
