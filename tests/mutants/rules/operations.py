"""F59, F65 to F68: clocks, keys, backups, and work that nobody does."""

from tests.mutants.rules.rule import Rule, tests_of

HEALTH, ROTATION, VAULT = (
    "tests/journeys/test_health.py",
    "tests/journeys/test_rotation.py",
    "tests/gateways/test_vault.py",
)

OPERATIONS: tuple[Rule, ...] = (
    Rule(
        "F59",
        "a voucher is good until midnight where the merchant is",
        "domain/clock.py",
        "datetime.combine(day + timedelta(days=1), time(), zone(time_zone))",
        "datetime.combine(day + timedelta(days=1), time(), UTC)",
        tests_of("tests/domain/test_catalogue.py", "until_midnight"),
    ),
    Rule(
        "F59",
        "every host goes by the database's clock",
        "database.py",
        "            clock.follow(moment - (before + (after - before) / 2))\n",
        "            pass\n",
        tests_of(HEALTH, "steals_no_lease", engine="postgresql"),
    ),
    Rule(
        "F65",
        "a code is looked up under every key that is known",
        "gateways/vault.py",
        "        return tuple(self.code_hmac(code, key_id=key_id) for key_id in self._keys)\n",
        "        return (self.code_hmac(code),)\n",
        tests_of(VAULT, "looked_up_under_every_key"),
    ),
    Rule(
        "F65",
        "a seal is opened with the key that closed it",
        "gateways/vault.py",
        'AESGCM(self._derived(sealed.key_id, "seal"))',
        'AESGCM(self._derived(self._writing, "seal"))',
        tests_of(VAULT, "old_seals_open"),
    ),
    Rule(
        "F65",
        "whoever is signed in stays so when the session key changes",
        "app.py",
        '        "SECRET_KEY_FALLBACKS": settings.old_session_keys,\n',
        "",
        tests_of(ROTATION, "stays_signed_in", engine="sqlite"),
    ),
    Rule(
        "F65",
        "a code that is sealed anew is looked up under the new key",
        "effects/rewrap.py",
        '        "code_hmac": box.code_hmac(codes.normalise(code.decode())),\n',
        "",
        tests_of(ROTATION, "changes_no_code_and_no_link", engine="sqlite"),
    ),
    Rule(
        "F66",
        "after a restore no order number is given out twice",
        "domain/restores.py",
        "order_count=Merchant.order_count + by",
        "order_count=Merchant.order_count",
        tests_of("tests/journeys/test_restore.py", "skips_numbers", engine="sqlite"),
    ),
    Rule(
        "F66",
        "money for an order that the books do not have is told",
        "effects/watch.py",
        'return "stray" if adoptions.strand(session) is not None else "foreign"',
        'return "foreign"',
        tests_of("tests/journeys/test_watch.py", "books_do_not_have", engine="sqlite"),
    ),
    Rule(
        "F67",
        "a worker that is silent is noticed",
        "blueprints/health.py",
        "    if age > fulfilment.SILENT_AFTER:\n",
        "    if False:\n",
        tests_of(HEALTH, "worker_that_died_is_noticed", engine="sqlite"),
    ),
    Rule(
        "F67",
        "work that nobody does is noticed",
        "blueprints/health.py",
        "    if waits > fulfilment.STUCK_AFTER:\n",
        "    if False:\n",
        tests_of(HEALTH, "work_that_is_due_for_five_minutes", engine="sqlite"),
    ),
    Rule(
        "F68",
        "an attempt counts from the moment it is begun",
        "domain/fulfilment.py",
        "            attempt=Step.attempt + 1,\n",
        "            attempt=Step.attempt,\n",
        tests_of("tests/domain/test_fulfilment.py", "kills_every_worker", engine="sqlite"),
    ),
    Rule(
        "F68",
        "a step that kills its worker goes behind the others",
        "domain/fulfilment.py",
        "peewee.fn.COALESCE(Step.lease_until, Step.not_before), Step.id",
        "Step.not_before, Step.id",
        tests_of("tests/domain/test_neighbours.py", "goes_behind_the_others", engine="sqlite"),
    ),
)
