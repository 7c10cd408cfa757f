"""Signed words: sessions of participants, invitation codes, and the owner's session. Nothing here is stored.

Each is ``payload.signature``, where the signature is HMAC-SHA256 over purpose and payload, cut to 128 bits (codes: 80 bits, since
people type them, and each guess costs a request).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time

DAY = 86_400
CODE_BYTES, CODE_SIGNATURE = 5, 10


def _sign(key: bytes, purpose: str, payload: bytes, length: int) -> bytes:
    return hmac.new(key, purpose.encode() + b"\0" + payload, hashlib.sha256).digest()[:length]


def signed(key: bytes, purpose: str, payload: str) -> str:
    """A payload with its signature for one purpose."""
    return f"{payload}.{_sign(key, purpose, payload.encode(), 16).hex()}"


def verified(key: bytes, purpose: str, token: str) -> str | None:
    """The payload of a token that was signed for this purpose, else None. The comparison takes the same time for every token."""
    payload, _, signature = token.rpartition(".")
    right = _sign(key, purpose, payload.encode("utf-8", "replace"), 16).hex()
    return payload if hmac.compare_digest(signature.encode("utf-8", "replace"), right.encode()) else None


def new_code(key: bytes, days: int) -> str:
    """An invitation for one participant that is valid for some days, such as ``ABCDE-FGHIJ-...``."""
    expires = int(time.time()) // DAY + days
    payload = secrets.token_bytes(CODE_BYTES) + expires.to_bytes(3, "big")
    text = base64.b32encode(payload + _sign(key, "code", payload, CODE_SIGNATURE)).decode().rstrip("=")
    return "-".join(text[i : i + 5] for i in range(0, len(text), 5))


def check_code(key: bytes, code: str) -> tuple[str, str]:
    """The code in one spelling, and why it is refused: ``""`` (it is good), ``forged`` or ``expired``."""
    plain = "".join(code.split()).replace("-", "").upper()
    try:
        data = base64.b32decode(plain + "=" * (-len(plain) % 8))
    except ValueError:  # also for letters that base32 lacks
        return plain, "forged"
    payload, signature = data[: CODE_BYTES + 3], data[CODE_BYTES + 3 :]
    canonical = base64.b32encode(data).decode().rstrip("=")
    if not hmac.compare_digest(signature, _sign(key, "code", payload, CODE_SIGNATURE)) or canonical != plain:
        return plain, "forged"
    return plain, "expired" if int.from_bytes(payload[CODE_BYTES:], "big") < time.time() // DAY else ""
