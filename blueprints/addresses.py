"""E-mail addresses as people type them: one reader for the shop, the dashboard and the commands."""

import email_validator

LONGEST = 254  # RFC 5321
_TYPING_SLIPS = {
    "gmial.com": "gmail.com", "gmal.com": "gmail.com", "gamil.com": "gmail.com", "gmail.con": "gmail.com",
    "gmail.co": "gmail.com", "gnail.com": "gmail.com", "gmx.ta": "gmx.at", "gmx.con": "gmx.com", "gxm.at": "gmx.at",
    "gxm.de": "gmx.de", "hotmial.com": "hotmail.com", "hotmail.con": "hotmail.com", "outlok.com": "outlook.com",
    "outlook.con": "outlook.com", "yaho.com": "yahoo.com", "yahoo.con": "yahoo.com", "icloud.con": "icloud.com",
    "iclod.com": "icloud.com", "web.ed": "web.de", "t-onlin.de": "t-online.de",
}  # fmt: skip


def read(typed: str) -> str | None:
    """One plain address with its domain in ASCII, as a mail server takes it; None for anything else."""
    if len(typed) > LONGEST:
        return None
    try:
        checked = email_validator.validate_email(
            typed,
            check_deliverability=False,
            allow_smtputf8=False,
            # `.test` reaches nobody, and trying the shop out should not need a real address.
            test_environment=True,
        )
    except email_validator.EmailNotValidError:
        return None
    return str(checked.ascii_email or checked.normalized)


def suggest(address: str) -> str | None:
    """`anna@gmail.com` for `anna@gmial.com`; None when no common slip is seen. A hint, never a refusal."""
    local, at, domain = address.rpartition("@")
    fixed = _TYPING_SLIPS.get(domain.lower())
    return f"{local}{at}{fixed}" if local and fixed else None
