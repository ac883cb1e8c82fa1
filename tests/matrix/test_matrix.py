"""What `make test-matrix` makes of the runs: real ones of pytest, over tests that need no database."""

from pathlib import Path

import pytest

from tests.support import matrix

pytestmark = pytest.mark.any_postgres

_PASSES = "def test_one():\n    assert True\n\n\ndef test_two():\n    assert True\n"
_FAILS = "def test_three():\n    assert False\n"
_ERROR = "import pytest\n\n\n@pytest.fixture\ndef broken():\n    raise RuntimeError\n\n\ndef test_four(broken): ...\n"
_ENVIRONMENT = """
import os


def test_environment():
    assert (os.environ["BF_TEST_POSTGRES"], os.environ["BF_TEST_PGBOUNCER"]) == ("embedded", "1")
"""


@pytest.fixture(autouse=True)
def bare_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins, which take most of such a run's time, are not what is tested."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def _run(directory: Path, *sources: str, poolers: str = "none") -> int:
    for number, source in enumerate(sources):
        (directory / f"test_{number}.py").write_text(source)
    pytest_arguments = ["-c", "/dev/null", "--rootdir", str(directory), "-p", "no:cacheprovider", str(directory)]
    return matrix.main(["--versions", "18", "--poolers", poolers, "--", *pytest_arguments])


def _last_lines(capsys: pytest.CaptureFixture[str], count: int) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()[-count:]]


def test_all_that_passed_is_exit_code_0_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path, _PASSES) == 0
    header, row = _last_lines(capsys, 2)
    assert header == ["PostgreSQL", "pooler", "passed", "failed", "seconds"]
    assert row[:4] == ["18", "none", "2", "0"]


@pytest.mark.parametrize("bad", [_FAILS, _ERROR])
def test_one_failure_or_error_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str) -> None:
    assert _run(tmp_path, _PASSES, bad) == 1
    assert _last_lines(capsys, 1)[0][:4] == ["18", "none", "2", "1"]


def test_a_run_that_finds_no_test_or_ends_early_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path) == 1
    assert "did not finish" in capsys.readouterr().out
    assert _run(tmp_path, "import os\n\n\ndef test_gone():\n    os._exit(0)\n") == 1
    assert _last_lines(capsys, 1)[0][:4] == ["18", "none", "0", "0"]


def test_the_runs_differ_in_their_pooler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path, _ENVIRONMENT, poolers="none pgbouncer") == 1
    assert [row[:4] for row in _last_lines(capsys, 2)] == [["18", "none", "0", "1"], ["18", "pgbouncer", "1", "0"]]


@pytest.mark.parametrize("wrong", [["--versions", "12"], ["--poolers", "pgpool"], ["--versions", ""]])
def test_what_there_is_no_run_for_is_a_usage_error(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        matrix.main(wrong)
    assert ended.value.code == 2
    assert "POOLERS" in capsys.readouterr().err


def test_what_says_nothing_of_the_server_runs_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marked = f"import pytest\n\n\n@pytest.mark.{matrix.ONCE}\ndef test_five():\n    assert True\n"
    assert _run(tmp_path, _PASSES, f"{marked}", poolers="none pgbouncer") == 0
    assert [row[:4] for row in _last_lines(capsys, 2)] == [["18", "none", "3", "0"], ["18", "pgbouncer", "2", "0"]]
