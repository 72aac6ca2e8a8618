"""The floors of the house: a file imports only from floors below, and each library has one home."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = {
    "config": 0, "domain.money": 0, "domain.codes": 0, "domain.clock": 0, "domain.refusals": 0, "domain.states": 0,
    "database": 0.5, "models": 1, "domain": 2, "gateways": 2, "effects": 3, "blueprints": 4, "tasks": 4,
    "cli": 5, "app": 6,
    "conformance": 0,
}  # fmt: skip
HOMES = {
    "stripe": ("gateways/stripe_api.py", "gateways/stripe_events.py", "gateways/stripe_twin/"),
    "flask_mail": ("gateways/mailer.py",),
    "weasyprint": ("gateways/document_press.py", "gateways/document_child.py"),
    "cryptography": ("gateways/vault.py",),
    "argon2": ("gateways/passwords.py",),
    "aiosmtpd": ("gateways/captured_mailbox.py",),
    "huey": ("tasks.py",),
    "htmx_flask": ("blueprints/htmx.py",),
}
GUARDED = {"Entry", "Hold", "Step", "StepAttempt", "Refund", "Dispute", "Connection", "Breaker"}
WRITES = ("create", "insert", "insert_many", "update", "delete", "replace")
ABROAD = (
    "flask",
    "stripe",
    "huey",
    "weasyprint",
    "flask_mail",
    "cli",
    "app",
    "gateways",
    "effects",
    "blueprints",
    "tasks",
)


def product_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, capture_output=True, text=True
    )
    outside = ("tests/", "migrations/", "bench/", "setup/", "samples/")
    return [ROOT / name for name in listed.stdout.split() if not name.startswith(outside)]


def imports_of(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def floor_of(module: str) -> float | None:
    parts = module.split(".")
    for length in (2, 1):
        floor = FLOORS.get(".".join(parts[:length]))
        if floor is not None:
            return floor
    return None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", product_files(), ids=module_of)
def test_a_file_imports_only_from_its_own_room_or_from_floors_below(path: Path) -> None:
    module = module_of(path)
    mine = floor_of(module)
    assert mine is not None, f"{module} stands on no floor"
    for name in imports_of(path):
        theirs = floor_of(name)
        is_same_room = name.split(".")[0] == module.split(".")[0]
        assert theirs is None or theirs < mine or is_same_room, f"{module} (floor {mine}) imports {name} ({theirs})"


@pytest.mark.parametrize("path", product_files(), ids=module_of)
def test_a_library_is_imported_in_its_one_home(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    for imported in imports_of(path):
        homes = HOMES.get(imported.split(".")[0])
        assert homes is None or name.startswith(homes), f"{name} imports {imported}; its home is {homes}"


@pytest.mark.parametrize("path", [*ROOT.glob("domain/*.py"), ROOT / "models.py"], ids=module_of)
def test_the_rules_of_the_trade_know_nothing_of_the_outside(path: Path) -> None:
    known = [name for name in imports_of(path) if name.split(".")[0] in ABROAD]
    assert known == []


def test_the_clock_is_read_in_one_place() -> None:
    readers = [str(p.relative_to(ROOT)) for p in product_files() if ".now(" in p.read_text().replace("clock.now(", "")]
    assert readers == ["domain/clock.py"]


def test_the_environment_is_read_in_one_place() -> None:
    readers = [str(p.relative_to(ROOT)) for p in product_files() if "os.environ" in p.read_text()]
    assert set(readers) <= {"config.py", "gateways/document.py", "gateways/document_child.py"}


def test_each_guarded_table_has_one_writer() -> None:
    writers = {(name, path.name) for path in product_files() for name in written_by(path)}
    assert writers == {
        ("Entry", "entries.py"), ("Hold", "holds.py"), ("Step", "fulfilment.py"), ("StepAttempt", "fulfilment.py"),
        ("Refund", "refunds.py"), ("Dispute", "disputes.py"), ("Connection", "connections.py"),
        ("Breaker", "breakers.py"),
    }  # fmt: skip


def written_by(path: Path) -> set[str]:
    """Which of the guarded tables a file creates, changes or deletes rows of."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.attr in WRITES:
            found.add(node.func.value.id)
        elif isinstance(node.func, ast.Name):
            found.add(node.func.id)
    return found & GUARDED
