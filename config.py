"""Settings: one frozen, typed object from the environment. The only reader of it.

Order of precedence: environment, `.env`, the record of a running demo (so that `flask …` beside it finds its ports),
then defaults that make an embedded test shop: SQLite files, the Stripe twin, a captured mailbox.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent
_LIVE_PREFIXES = ("sk_live_", "rk_live_")


class ConfigError(Exception):
    """A setting is missing or wrong; the message says which one and what to do."""


class Settings(BaseSettings):
    """Every setting of the product; README.md has the table for operators."""

    model_config = SettingsConfigDict(frozen=True, env_file=ROOT / ".env", extra="ignore", env_ignore_empty=True)

    data_dir: Path = ROOT / "instance"
    database_url: str = ""
    queue_url: str = ""
    kicks: bool = True
    secret_key: SecretStr | None = None
    secret_key_fallbacks: str = ""
    code_keys: SecretStr | None = None
    base_url: str = ""
    port: int = Field(8000, ge=1, le=65535)
    trusted_proxies: int = Field(0, ge=0, le=5)

    stripe_secret_key: SecretStr | None = None
    stripe_webhook_secret: SecretStr | None = None
    stripe_api_base: str = ""
    # Several merchants on one installation, each with a Stripe account of its own.
    stripe_connect: bool = False

    mail_server: str = ""
    mail_port: int = Field(25, ge=1, le=65535)
    mail_use_tls: bool = False
    mail_use_ssl: bool = False
    mail_username: str = ""
    mail_password: SecretStr | None = None
    mail_default_sender: str = ""
    mail_ca_file: str = ""
    mail_bounce_address: str = ""
    bounce_mailbox: SecretStr | None = None

    @property
    def is_demo(self) -> bool:
        """No Stripe key is configured: the twin takes the payments and no real money can move."""
        return self.stripe_secret_key is None

    @property
    def is_live(self) -> bool:
        return self._stripe_key.startswith(_LIVE_PREFIXES)

    @property
    def is_test(self) -> bool:
        return not self.is_live

    @cached_property
    def public_url(self) -> str:
        """Where people reach the shop, without a slash at the end: the root of every link in mails and PDFs."""
        return (self.base_url or f"http://localhost:{self.port}").rstrip("/")

    @property
    def loopback_url(self) -> str:
        """Where this machine reaches the web process."""
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def session_key(self) -> str:
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        if self.is_live:
            raise ConfigError(
                "SECRET_KEY is not set. Make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
            )
        return _kept_secret(self.data_dir / "secret_key")

    @property
    def old_session_keys(self) -> list[str]:
        return [key.strip() for key in self.secret_key_fallbacks.split(",") if key.strip()]

    @cached_property
    def vault_keys(self) -> dict[str, bytes]:
        """Key id → 32 bytes, the writing key first, from CODE_KEYS=`id:base64,id:base64`."""
        if self.code_keys is not None:
            return _read_code_keys(self.code_keys.get_secret_value())
        if self.is_live:
            raise ConfigError(
                "CODE_KEYS is not set. Voucher codes need a key of their own: flask doctor prints a fresh one."
            )
        return {"s1": hmac.digest(self.session_key.encode(), b"vouchsafe code keys", "sha256")}

    @property
    def stripe_key(self) -> str:
        return self._stripe_key if not self.is_demo else f"sk_test_twin{self._twin_secret('key')}"

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Every secret that may sign a webhook; two during a rotation."""
        if self.is_demo:
            return (f"whsec_{self._twin_secret('webhook')}",)
        listed = self.stripe_webhook_secret.get_secret_value() if self.stripe_webhook_secret else ""
        return tuple(secret.strip() for secret in listed.split(",") if secret.strip())

    @property
    def stripe_base(self) -> str | None:
        """Another address than Stripe's own, or None."""
        return f"{self.loopback_url}/demo/stripe" if self.is_demo else self.stripe_api_base or None

    @property
    def sender(self) -> str:
        """The envelope sender and From address of every mail."""
        return self.mail_default_sender or "vouchers@localhost"

    @property
    def demo_record(self) -> Path:
        """Where a running demo writes down its ports."""
        return self.data_dir / "demo.json"

    @property
    def mailbox_file(self) -> Path:
        return self.data_dir / "mailbox.db"

    @property
    def twin_file(self) -> Path:
        return self.data_dir / "twin.db"

    @property
    def _stripe_key(self) -> str:
        return self.stripe_secret_key.get_secret_value() if self.stripe_secret_key else ""

    def _twin_secret(self, purpose: str) -> str:
        return hashlib.sha256(f"twin:{purpose}:{self.session_key}".encode()).hexdigest()[:32]


def load(*, is_beside_demo: bool = True) -> Settings:
    """Read the settings; raises ConfigError with one sentence for each wrong one.

    `is_beside_demo` takes what is not set from the record of a running demo; the demo itself does not.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = [f"{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors()]
        raise ConfigError("; ".join(wrong)) from None
    if is_beside_demo and settings.is_demo and settings.demo_record.exists():
        record = json.loads(settings.demo_record.read_text())
        unset = {name: value for name, value in record.items() if name not in settings.model_fields_set}
        settings = settings.model_copy(update=unset)
    return _anchored(settings)


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a process that must see the same settings (the demo's web and worker)."""
    return os.environ | {
        "PORT": str(settings.port),
        "BASE_URL": settings.public_url,
        "MAIL_SERVER": settings.mail_server,
        "MAIL_PORT": str(settings.mail_port),
    }


def _anchored(settings: Settings) -> Settings:
    """Databases without a setting are files in the data folder; relative ones lie below the project."""
    data_dir = ROOT / settings.data_dir
    changes: dict[str, object] = {"data_dir": data_dir}
    for name, file in (("database_url", "vouchsafe.db"), ("queue_url", "queue.db")):
        url = getattr(settings, name) or f"sqlite:///{data_dir / file}"
        changes[name] = url
        path = url.removeprefix("sqlite:///")
        if url.startswith("sqlite:///") and path and not path.startswith("/"):
            changes[name] = f"sqlite:///{ROOT / path}"
    return settings.model_copy(update=changes)


def _kept_secret(path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        fresh = secrets.token_hex(32)
        file.write(fresh)
    return fresh


def _read_code_keys(listed: str) -> dict[str, bytes]:
    keys = {}
    for item in listed.split(","):
        key_id, _, encoded = item.strip().partition(":")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raw = b""
        if not key_id or len(raw) != 32:
            raise ConfigError(
                f"CODE_KEYS: {key_id or 'an entry'!r} is not `id:base64 of 32 bytes`; flask doctor prints one"
            )
        keys[key_id] = raw
    return keys
