"""Secrets from files: NAME_FILE, the convention of the official postgres image."""

import base64
from pathlib import Path

import pytest

from app.settings import Settings
from tests.support.command import command

_SECRETS = {
    "DATABASE_URL": "database_url",
    "BF_DIRECT_DATABASE_URL": "direct_database_url",
    "BF_API_KEY_PEPPER": "api_key_pepper",
}
_KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture(autouse=True)
def _no_variables_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _SECRETS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)


def _written(directory: Path, content: bytes) -> Path:
    path = directory / "secret"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("variable", "field"), _SECRETS.items())
@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\n"], ids=["none", "newline", "crlf", "two"])
def test_each_secret_is_read_from_its_file_without_the_newline_at_its_end(
    variable: str, field: str, ending: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{variable}_FILE", str(_written(tmp_path, " s3cret with blanks ä ".encode() + ending)))
    settings = Settings()
    assert getattr(settings, field).get_secret_value() == " s3cret with blanks ä "
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("variable", _SECRETS)
def test_an_empty_variable_counts_as_none(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{variable}_FILE", "")
    monkeypatch.setenv(variable, "direct")
    assert getattr(Settings(), _SECRETS[variable]).get_secret_value() == "direct"
    monkeypatch.setenv(f"{variable}_FILE", str(_written(tmp_path, b"of the file")))
    monkeypatch.setenv(variable, "")
    assert getattr(Settings(), _SECRETS[variable]).get_secret_value() == "of the file"


def test_what_is_no_secret_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BF_BOOTSTRAP_ADMIN_KEY_FILE is a setting of its own: the service writes that file."""
    monkeypatch.setenv("BF_SCHEMA_NAME_FILE", str(_written(tmp_path, b"bf_other")))
    monkeypatch.setenv("BF_BOOTSTRAP_ADMIN_KEY_FILE", str(tmp_path / "to-be-made"))
    settings = Settings()
    assert settings.schema_name == "bf_shared"
    assert settings.bootstrap_admin_key_file == tmp_path / "to-be-made"


async def test_a_file_that_gives_no_secret_is_a_usage_error_that_names_the_variable(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    missing, empty, binary = tmp_path / "missing", _written(tmp_path, b"\n"), tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for variable in _SECRETS:
        for path, reason in (
            (missing, "No such file"), (tmp_path, "Is a directory"), (empty, "is empty"), (binary, "is not UTF-8"),
        ):  # fmt: skip
            with subtests.test(f"{variable} {reason}"):
                finished = await command("list-tenants", env={f"{variable}_FILE": str(path)})
                assert (finished.code, finished.stdout) == (2, "")
                assert f"{variable}_FILE: " in finished.stderr
                assert str(path) in finished.stderr
                assert reason in finished.stderr


async def test_a_secret_given_twice_is_a_usage_error_that_shows_neither(tmp_path: Path) -> None:
    path = _written(tmp_path, b"postgresql://u:from-file@h/d")
    finished = await command(
        "list-tenants", env={"DATABASE_URL_FILE": str(path), "DATABASE_URL": "postgresql://u:from-variable@h/d"}
    )
    assert (finished.code, finished.stdout) == (2, "")
    assert "DATABASE_URL_FILE: DATABASE_URL is set too" in finished.stderr
    assert "from-" not in finished.stderr


async def test_every_wrong_file_is_named_at_once(tmp_path: Path) -> None:
    finished = await command("list-tenants", env={f"{name}_FILE": str(tmp_path / "missing") for name in _SECRETS})
    assert [line.split(": ")[1] for line in finished.stderr.splitlines()] == [f"{name}_FILE" for name in _SECRETS]


async def test_commands_connect_with_a_url_from_a_file(dsn: str, tmp_path: Path) -> None:
    finished = await command("list-tenants", "--json", env={"DATABASE_URL_FILE": str(_written(tmp_path, dsn.encode()))})
    assert (finished.code, finished.stderr) == (0, "")


@pytest.mark.parametrize("keys", [_KEY, f"{_KEY}\n", f"{_KEY}\n{_KEY[:-2]}8=\n"])
def test_keys_of_secrets_come_from_a_file_too(keys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BF_SECRET_KEYS_FILE", str(_written(tmp_path, keys.encode())))
    settings = Settings()
    assert settings.keyring().current
    assert _KEY not in repr(settings)


async def test_a_wrong_key_of_secrets_is_named_and_not_shown(tmp_path: Path) -> None:
    finished = await command("list-tenants", env={"BF_SECRET_KEYS_FILE": str(_written(tmp_path, b"nonsense"))})
    assert (finished.code, "nonsense" in finished.stderr) == (2, False)
    assert "BF_SECRET_KEYS: " in finished.stderr
