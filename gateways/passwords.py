"""Passwords of people who sign in: Argon2id with the parameters of RFC 9106. The only importer of `argon2`."""

import functools
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# Hashing costs memory and time for each character's block, so a novel sent as a password is refused unread.
LONGEST = 1024
_hasher = PasswordHasher()


def hash(password: str) -> str:
    """The encoded Argon2id hash of `password`, with its salt and its parameters."""
    return _hasher.hash(password)


def verify(stored: str | None, password: str) -> bool:
    """True when `password` belongs to the `stored` hash.

    Without a stored hash (an unknown account) the same work is done for nothing, so that the time tells nothing.
    """
    if len(password) > LONGEST:
        return False
    try:
        return _hasher.verify(stored or _nobodys_hash(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """True when the hash was made with weaker parameters than today's and should be made again."""
    return _hasher.check_needs_rehash(stored)


@functools.cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))
