"""Anchors: an end that was cut off, and a chain that was made anew, are found by what is kept outside."""

import base64
import json
import os
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import ValidationError

from app.audit import anchors as anchoring
from app.audit import sealer
from app.audit.anchors import AnchorError, Anchors
from app.audit.model import Fault
from app.db.pool import Database
from app.settings import Settings
from tests.audit.support import TAMPER, check, fault, sealed

_CUT = """
DELETE FROM bf_control.audit_seal WHERE seq > 5;
DELETE FROM bf_control.audit WHERE id NOT IN (SELECT audit_id FROM bf_control.audit_seal);
UPDATE bf_control.audit_chain
   SET head_seq = 5, head_hash = (SELECT hash FROM bf_control.audit_seal WHERE seq = 5);
"""
_ANEW = """
DELETE FROM bf_control.audit_seal;
UPDATE bf_control.audit_chain
   SET head_seq = 0, head_hash = decode(repeat('00', 32), 'hex'), done_xid = '0', done_id = 0;
UPDATE bf_control.audit SET actor = 'nobody' WHERE request_id = 'r3';
"""
_KEY = Ed25519PrivateKey.generate()


def _kept(url: str, key: Ed25519PrivateKey | None = _KEY) -> Anchors:
    return Anchors(url=url, signing=key, verifying=None if key is None else key.public_key())


@pytest.fixture(params=["directory", "memory"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path, dsn: str) -> Anchors:
    name = dsn.rpartition("/")[2]
    return _kept(str(tmp_path / "anchors") if request.param == "directory" else f"memory://{name}")


async def test_an_end_that_was_cut_off_shows_in_the_anchors_alone(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection, kept: Anchors
) -> None:
    await sealed(conn, database, 10)
    assert await anchoring.anchor(database, kept, every=None) is not None
    assert await anchoring.anchor(database, kept, every=None) is None  # nothing is new
    found = await check(database, kept)
    assert (found.ok, found.anchors) == (True, 1)
    await superuser.execute(TAMPER)
    await superuser.execute(_CUT)
    assert (await check(database)).ok
    assert (await fault(database, kept))[:2] == (Fault.TRUNCATED, 6)
    await sealed(conn, database, 20)
    assert (await fault(database, kept))[0] == Fault.ANCHOR_DIFFERS


async def test_a_chain_that_was_made_anew_shows(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection, kept: Anchors
) -> None:
    await sealed(conn, database, 10)
    anchored = await anchoring.anchor(database, kept, every=None)
    assert anchored is not None
    await superuser.execute(TAMPER)
    await superuser.execute(_ANEW)
    await sealer.seal(database)
    assert (await check(database)).ok
    assert (await fault(database, kept))[:2] == (Fault.ANCHOR_DIFFERS, anchored.seq)


async def test_an_anchor_of_somebody_else_s_key_is_refused(
    conn: asyncpg.Connection, database: Database, tmp_path: Path
) -> None:
    await sealed(conn, database, 3)
    await anchoring.anchor(database, _kept(str(tmp_path), Ed25519PrivateKey.generate()), every=None)
    assert (await fault(database, _kept(str(tmp_path))))[0] == Fault.ANCHOR_INVALID
    assert (await check(database, _kept(str(tmp_path), None))).ok  # without a key there is nothing to tell by


async def test_an_anchor_that_was_edited_is_refused(
    conn: asyncpg.Connection, database: Database, tmp_path: Path
) -> None:
    await sealed(conn, database, 3)
    kept = _kept(str(tmp_path))
    await anchoring.anchor(database, kept, every=None)
    (file,) = tmp_path.rglob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "hash": "00" * 32}))
    assert (await fault(database, kept))[0] == Fault.ANCHOR_INVALID
    for broken in ("{}", "", "[]", '{"seq": "x"}'):
        file.write_text(broken)
        assert (await fault(database, kept))[0] == Fault.ANCHOR_UNREADABLE


async def test_an_anchor_is_verified_with_openssl_s_words(
    conn: asyncpg.Connection, database: Database, tmp_path: Path
) -> None:
    await sealed(conn, database, 3)
    written = await anchoring.anchor(database, _kept(str(tmp_path)), every=None)
    assert written is not None
    said = dict(written.document)
    signature = base64.b64decode(said.pop("signature"))
    message = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    _KEY.public_key().verify(signature, message)
    assert bytes.fromhex(said["hash"]) == await conn.fetchval(
        "SELECT hash FROM bf_control.audit_seal WHERE seq = $1", said["seq"]
    )


async def test_a_place_that_cannot_be_written_is_told_and_tried_again(
    conn: asyncpg.Connection, database: Database, tmp_path: Path
) -> None:
    await sealed(conn, database, 3)
    (tmp_path / "file").touch()
    with pytest.raises(AnchorError, match="BF_AUDIT_ANCHOR_URL"):
        await anchoring.anchor(database, _kept(str(tmp_path / "file" / "x")), every=None)
    assert await anchoring.anchor(database, _kept(str(tmp_path / "good")), every=None) is not None


def test_keys_are_read_as_openssl_writes_them_and_as_base64() -> None:
    pem = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    raw = base64.b64encode(_KEY.private_bytes_raw()).decode()
    public = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for key in (pem, raw):
        settings = Settings.model_validate({"audit_signing_key": key, "audit_anchor_url": "/tmp/x"})  # noqa: S108
        made = Anchors.of(settings)
        assert made is not None
        assert made.signing is not None
        assert made.signing.private_bytes_raw() == _KEY.private_bytes_raw()
        assert key not in repr(settings)
    verifying = Anchors.of(
        Settings.model_validate({"audit_public_key": public, "audit_anchor_url": "/tmp/x"})  # noqa: S108
    )
    assert verifying is not None
    assert (verifying.signing, verifying.verifying) == (None, _KEY.public_key())


@pytest.mark.parametrize(
    "wrong", ["%", "AAAA", base64.b64encode(os.urandom(33)).decode(), "-----BEGIN X-----"], ids=str.__len__
)
def test_a_wrong_key_is_told_without_it(wrong: str) -> None:
    with pytest.raises(ValidationError) as told:
        Settings.model_validate({"audit_signing_key": wrong})
    (fault,) = told.value.errors()
    assert fault["loc"] == ("audit_signing_key",)
    assert "openssl genpkey -algorithm ed25519" in fault["msg"]
    assert wrong not in fault["msg"]
