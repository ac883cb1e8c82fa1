"""What the service is made of: locked by hash, listed, and audited or said not to be."""

import tomllib
from pathlib import Path

from scripts.audit_dependencies import verdict
from scripts.secrets_scan import found_in

_ROOT = Path(__file__).parents[2]


def test_every_locked_package_has_hashes() -> None:
    lock = tomllib.loads((_ROOT / "uv.lock").read_text())
    for package in lock["package"]:
        if package["source"] == {"editable": "."}:
            continue
        files = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
        assert files, package["name"]
        assert all(file["hash"].startswith("sha256:") for file in files), package["name"]
        assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]


def test_what_was_not_looked_up_is_not_taken_for_clean() -> None:
    clean = {"name": "a", "version": "1", "vulns": []}
    skipped = {"name": "b", "skip_reason": "not found"}
    vulnerable = {"name": "c", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}
    assert verdict([clean])[0] == 0
    assert verdict([clean, skipped])[0] == 3
    assert verdict([])[0] == 3
    code, lines = verdict([clean, skipped, vulnerable])
    assert (code, lines[0]) == (1, "c 1: PYSEC-1, mended in 2")


def test_secrets_are_found_by_their_form_and_not_repeated() -> None:
    planted = {
        "AKIA" + "ABCDEFGHIJKLMNOP": "a key of AWS",
        "ghp_" + "a" * 36: "a token of GitHub",
        "bfk_" + "0" * 16 + "." + "A" * 43: "a key of this service",
        "whsec_" + "A" * 44: "a signing secret",
        "-----BEGIN " + "PRIVATE KEY-----\n" + "A" * 64: "a private key",
    }
    for secret, what in planted.items():
        assert list(found_in(f"one\nkey = '{secret}'\n")) == [(2, what)]
    assert list(found_in("AKIA" + "ABCDEFGHIJKLMNOP  # secrets-scan: allow")) == []
