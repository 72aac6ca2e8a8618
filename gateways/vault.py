"""Secrets at rest: voucher codes, link tokens and stored PDFs. The only importer of `cryptography`.

A code is kept twice: as an HMAC for look-up and as AES-GCM ciphertext for re-printing, each under keys derived from one
named master key. Old keys keep reading; the first one writes.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_LINK_BYTES = 20  # 160 bits: nobody guesses a link
_ORDER_REF_CHARACTERS = 16
_ORDER_MAC_CHARACTERS = 20


class SealBroken(Exception):
    """The ciphertext does not open: wrong key, wrong row, or somebody changed it."""


@dataclass(frozen=True)
class Sealed:
    """Ciphertext with the name of the key that opens it."""

    key_id: str
    ciphertext: bytes


class Vault:
    """Seals, opens and looks up under named keys; `keys` maps key id → 32 bytes, the writing key first."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("the vault needs at least one key")
        self._keys = dict(keys)
        self._writing = next(iter(self._keys))

    @property
    def key_id(self) -> str:
        """The key that new secrets are written under."""
        return self._writing

    def code_hmac(self, code: str, *, key_id: str | None = None) -> str:
        """The look-up value of a normalised code under one key (the writing key by default)."""
        return self._mac(key_id or self._writing, "code-lookup", code.encode()).hex()

    def code_hmacs(self, code: str) -> tuple[str, ...]:
        """The look-up values of a normalised code under every key that is still known."""
        return tuple(self.code_hmac(code, key_id=key_id) for key_id in self._keys)

    def fingerprints(self, text: str) -> tuple[str, ...]:
        """What stands for a request in the idempotency records, under every known key.

        A plain hash of a body that holds a short imported code could be tried out until it fits; this one can't.
        """
        return tuple(self._mac(key_id, "request-fingerprint", text.encode()).hex() for key_id in self._keys)

    def seal(self, content: bytes, *, context: str) -> Sealed:
        """Encrypt `content`; it opens again only with the same `context` (say, the voucher's public id)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        box = AESGCM(self._derived(self._writing, "seal"))
        return Sealed(self._writing, nonce + box.encrypt(nonce, content, context.encode()))

    def open(self, sealed: Sealed, *, context: str) -> bytes:
        """The content behind `sealed`; raises SealBroken."""
        if sealed.key_id not in self._keys:
            raise SealBroken(f"the key {sealed.key_id!r} is not configured any more (CODE_KEYS)")
        box = AESGCM(self._derived(sealed.key_id, "seal"))
        try:
            return box.decrypt(sealed.ciphertext[:_NONCE_BYTES], sealed.ciphertext[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: cut so short that not even the nonce is whole
            raise SealBroken(f"the ciphertext of {context} does not open") from error

    def voucher_link(self, public_id: str, *, key_id: str | None = None) -> str:
        """The 160-bit token of a voucher's page: derived, so that it can be printed again and is stored nowhere."""
        return _base32(self._mac(key_id or self._writing, "voucher-link", public_id.encode())[:_LINK_BYTES])

    def voucher_links(self, public_id: str) -> tuple[str, ...]:
        """The tokens of a voucher's page under every key that is still known, the writing key's first."""
        return tuple(self.voucher_link(public_id, key_id=key_id) for key_id in self._keys)

    def order_link(self, ref: str) -> str:
        """The signed token of an order's page: its random ref and a signature that a stolen database cannot make."""
        return ref + self._order_signature(ref, self._writing)

    def read_order_link(self, token: str) -> str | None:
        """The order's ref behind a token, or None when the signature is not ours."""
        ref, signature = token[:_ORDER_REF_CHARACTERS], token[_ORDER_REF_CHARACTERS:]
        known = [self._order_signature(ref, key_id) for key_id in self._keys]
        # Compare as bytes: compare_digest refuses text beyond ASCII, and a visitor may send any.
        is_ours = any(hmac.compare_digest(candidate.encode(), signature.encode()) for candidate in known)
        return ref if is_ours else None

    def _order_signature(self, ref: str, key_id: str) -> str:
        return _base32(self._mac(key_id, "order-link", ref.encode()))[:_ORDER_MAC_CHARACTERS]

    def _mac(self, key_id: str, purpose: str, content: bytes) -> bytes:
        return hmac.digest(self._derived(key_id, purpose), content, "sha256")

    def _derived(self, key_id: str, purpose: str) -> bytes:
        # One master key, one sub-key for each purpose: a look-up value never helps to open a ciphertext.
        return hmac.digest(self._keys[key_id], f"vouchsafe:{purpose}".encode(), "sha256")


def link_hash(token: str) -> str:
    """What is stored of a voucher link: enough to find the voucher, not to open its page."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_order_ref() -> str:
    """A random order ref: 80 bits, lower-case base 32."""
    return _base32(secrets.token_bytes(10))


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()
