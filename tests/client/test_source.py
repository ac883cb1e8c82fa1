"""What the client is made of."""

import subprocess
import sys

from scripts.sync_client import SYNC, generated

_LOADED = """
import sys, app.client
print(*sorted(name for name in sys.modules if name.partition(".")[0] in {"app", "asyncpg", "fastapi", "starlette"}))
"""


def test_the_committed_sync_client_is_what_the_async_one_generates() -> None:
    committed = {path.name: path.read_text() for path in SYNC.glob("*.py")}
    assert committed == generated(), "run: make client"


def test_importing_it_loads_nothing_of_the_server() -> None:
    finished = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    loaded = finished.stdout.split()
    assert "app.client" in loaded
    assert [name for name in loaded if name != "app" and not name.startswith("app.client")] == []
