"""What a person at a terminal sees: tables, progress, colours, the version, and what Tab completes."""

import asyncio
import re
import sys
from importlib.metadata import version
from pathlib import Path

import asyncpg

from tests.support.command import command
from tests.support.data import make_tenant
from tests.support.processes import Finished, environment, run
from tests.support.terminal import on_terminal, plain

_BF_ADMIN = Path(sys.executable).with_name("bf-admin")
# What bash does when Tab is pressed behind the words, after it has read the script that is its $0.
_TAB = """
source "$0"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_bf_admin_completion bf-admin
printf '%s\\n' "${COMPREPLY[@]}"
"""


async def _admin(*arguments: str, env: dict[str, str]) -> Finished:
    return await on_terminal(sys.executable, "-m", "app", *arguments, env=env)


async def test_progress_is_a_bar_that_goes_when_it_is_done(dsn: str, conn: asyncpg.Connection) -> None:
    for number in range(3):
        await make_tenant(conn, f"t{number}", f"Tenant {number}")
    await conn.execute("UPDATE bf_control.tenant SET schema_version = 0")
    await conn.execute("DELETE FROM bf_control.tenant_statement WHERE section <> 'grant'")
    env = environment(dsn)
    finished = await _admin("upgrade", env=env)
    assert finished.code == 0, finished
    assert re.search(r"Upgrading t2 .*3/3", plain(finished.stdout))
    # The line is cleared before the last word is said.
    assert plain(finished.stdout.rpartition("\x1b[2K")[2]).strip() == "Applied 0 migrations, upgraded 3 tenants."
    again = await _admin("upgrade", env=env)
    assert plain(again.stdout.rpartition("\x1b[2K")[2]).strip() == "The schema is up to date."
    dropped = await _admin("downgrade", "--confirm-destroy", env=env)
    assert re.search(r"Dropping bf_t2 .*3/3", plain(dropped.stdout))
    assert dropped.stdout.rstrip().endswith("Dropped 3 tenants and the schemas of the service.")


async def test_in_a_pipe_progress_is_lines(dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "t0", "T")
    await conn.execute("UPDATE bf_control.tenant SET schema_version = 0")
    await conn.execute("DELETE FROM bf_control.tenant_statement WHERE section <> 'grant'")
    finished = await command("upgrade", env=environment(dsn))
    assert finished.stderr == "t0 (1 of 1)\n"
    assert "\x1b" not in finished.stdout + finished.stderr


async def test_a_table_shows_names_as_they_are(dsn: str, conn: asyncpg.Connection) -> None:
    """Also those that look like the markup of the library that draws it."""
    await make_tenant(conn, "acme", "[bold]ACME[/bold] [/x]")
    env = environment(dsn)
    shown = plain((await _admin("list-tenants", env=env)).stdout)
    assert "│ acme " in shown
    assert "[bold]ACME[/bold] [/x]" in shown
    assert "acme\t[bold]ACME[/bold] [/x]\tactive" in (await command("list-tenants", env=env)).stdout


async def test_doctor_colours_a_terminal_only(dsn: str) -> None:
    env = environment(dsn)
    shown = (await _admin("doctor", env=env)).stdout
    assert "\x1b[32mpass" in shown
    piped = await command("doctor", env=env)
    assert (piped.code, "\x1b" in piped.stdout) == (0, False)
    assert plain(shown).replace(piped.stdout, "").strip().startswith("SQL is for a superuser")


async def test_the_version() -> None:
    finished = await command("--version", env={})
    assert (finished.code, finished.stdout) == (0, f"bf-admin {version('apg-bf-tenant-admin')}\n")


async def test_a_command_loads_neither_the_queue_nor_the_web_framework_for_nothing() -> None:
    """Each takes a quarter of a second and more."""
    loaded = "import sys, app.cli; print(sorted({'pgqueuer', 'fastapi', 'uvicorn'} & sys.modules.keys()))"
    finished = await run(sys.executable, "-c", loaded, env=environment(""))
    assert (finished.code, finished.stdout) == (0, "[]\n"), finished


async def test_bash_completes(tmp_path: Path) -> None:
    env = environment("")
    env["PATH"] = f"{_BF_ADMIN.parent}:{env['PATH']}"
    script = await run("bash", "-c", "bf-admin --show-completion; true", env=env)
    assert script.code == 0, script
    (tmp_path / "completion.sh").write_text(script.stdout)
    for words, wanted, unwanted in (
        (["bf-admin", ""], {"doctor", "upgrade", "create-tenant", "api-key", "sql"}, {"nonsense"}),
        (["bf-admin", "do"], {"doctor", "downgrade"}, {"upgrade"}),
        (["bf-admin", "api-key", ""], {"create", "list", "revoke"}, {"doctor"}),
        (["bf-admin", "create-tenant", "--tenant-"], {"--tenant-id", "--tenant-name"}, {"--json"}),
        (["bf-admin", "api-key", "create", "--role", ""], {"admin", "operator", "viewer", "reader"}, {"--name"}),
    ):
        finished = await run("bash", "-c", _TAB, str(tmp_path / "completion.sh"), *words, env=env)
        assert finished.code == 0, finished
        offered = set(finished.stdout.split())
        assert wanted <= offered, words
        assert not unwanted & offered, words


async def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    env = {**environment(""), "HOME": str(tmp_path)}
    env["PATH"] = f"{_BF_ADMIN.parent}:{env['PATH']}"
    finished = await run("bash", "-c", "bf-admin --install-completion; true", env=env)
    assert "bash completion installed" in finished.stdout
    assert "bf-admin.sh" in (tmp_path / ".bashrc").read_text()
    assert "_bf_admin_completion" in (tmp_path / ".bash_completions" / "bf-admin.sh").read_text()


async def test_a_reader_that_goes_away_ends_the_command(dsn: str) -> None:
    env = environment(dsn)
    process = await asyncio.create_subprocess_shell(
        f"{_BF_ADMIN} sql upgrade | head -n 1; exit ${{PIPESTATUS[0]}}",
        executable="/bin/bash", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    stdout, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert stdout.decode().startswith("-- APG Budgeting")
    assert b"Traceback" not in stderr
