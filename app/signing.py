"""Ed25519 keys as settings hold them."""

import base64
import binascii

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def private_key(text: str) -> Ed25519PrivateKey:
    """PEM (openssl genpkey -algorithm ed25519), or 32 bytes in base64. Raises ValueError, which holds no part of it."""
    if "-----BEGIN" in text:
        try:
            key = serialization.load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("is no Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
        return key
    return Ed25519PrivateKey.from_private_bytes(_raw(text))


def public_key(text: str) -> Ed25519PublicKey:
    """PEM (openssl pkey -pubout), or 32 bytes in base64. Raises ValueError."""
    if "-----BEGIN" in text:
        key = serialization.load_pem_public_key(text.encode())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("is no Ed25519 key; write it with: openssl pkey -pubout")
        return key
    return Ed25519PublicKey.from_public_bytes(_raw(text))


def _raw(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise ValueError("is neither PEM nor 32 bytes in base64; make one with: openssl genpkey -algorithm ed25519")
    return raw


def public_text(key: Ed25519PublicKey) -> str:
    """As BF_AUDIT_PUBLIC_KEY takes it."""
    return base64.b64encode(key.public_bytes_raw()).decode()
