"""F19 to F30: the work on a paid order, who does it, and the database under it."""

from tests.mutants.rules.rule import Rule, tests_of

FULFILMENT, COLLISIONS = "tests/domain/test_fulfilment.py", "tests/domain/test_collisions.py"

STEPS: tuple[Rule, ...] = (
    Rule(
        "F19",
        "the voucher and the end of its step are one transaction",
        "effects/voucher.py",
        "                fulfilment.finish(step)\n",
        "                fulfilment.finish(step)\n            with transaction():\n",
        tests_of(COLLISIONS, "cannot_be_made", engine="sqlite"),
    ),
    Rule(
        "F20",
        "a step is claimed by one worker, on the condition that it is still due",
        "domain/fulfilment.py",
        """\
    found = (due.for_update(skip_locked=True) if is_postgresql() else due).first()
    if found is None:
        return None
    taken = (
        Step.update(
            state=StepState.RUNNING,
            token=Step.token + 1,
            attempt=Step.attempt + 1,
            worker=worker,
            started_at=now,
            lease_until=now + LEASE,
        )
        .where(Step.id == found.id, _is_due(now))
""",
        """\
    found = due.first()
    if found is None:
        return None
    taken = (
        Step.update(
            state=StepState.RUNNING,
            token=Step.token + 1,
            attempt=Step.attempt + 1,
            worker=worker,
            started_at=now,
            lease_until=now + LEASE,
        )
        .where(Step.id == found.id)
""",
        tests_of(FULFILMENT, "eight_workers_at_one_step", engine="postgresql"),
    ),
    Rule(
        "F21",
        "a result with an old token is thrown away",
        "domain/fulfilment.py",
        "    held = Step.id == step.id, Step.token == step.token, ",
        "    held = Step.id == step.id, ",
        tests_of(FULFILMENT, "wakes_too_late and finish", engine="sqlite"),
    ),
    Rule(
        "F22",
        "a bell that cannot ring delays and breaks nothing",
        "tasks.py",
        '    except Exception:\n        log.warning("kick_failed"',
        '    except ZeroDivisionError:\n        log.warning("kick_failed"',
        tests_of("tests/journeys/test_queues.py", "queue_that_is_down", engine="sqlite"),
    ),
    Rule(
        "F22",
        "the sweeper works on what is due without a bell",
        "effects/work.py",
        "    steps = run_due(worker)\n",
        "    steps = 0\n",
        tests_of("tests/journeys/test_first_sale.py", "bell_switched_off", engine="sqlite"),
    ),
    Rule(
        "F23",
        "a bell for what is not there finds nothing to do",
        "domain/fulfilment.py",
        "    if found is None:\n        return None\n    taken",
        "    taken",
        tests_of(FULFILMENT, "order_that_does_not_exist", engine="sqlite"),
    ),
    Rule(
        "F24",
        "a code that exists is rolled again",
        "effects/voucher.py",
        "_COLLISIONS = 3\n",
        "_COLLISIONS = 1\n",
        tests_of(COLLISIONS, "a_code_that_exists_is_rolled_again", engine="sqlite"),
    ),
    Rule(
        "F24",
        "a batch rolls a code that exists again",
        "effects/batch.py",
        "_COLLISIONS = 3\n",
        "_COLLISIONS = 1\n",
        tests_of(COLLISIONS, "a_batch_rolls", engine="sqlite"),
    ),
    Rule(
        "F24",
        "the database knows a code once for each merchant",
        "migrations/0001_initial.py",
        "UNIQUE (merchant_id, code_hmac)",
        "UNIQUE (id, code_hmac)",
        tests_of(COLLISIONS, "knows_a_code_once", engine="postgresql"),
    ),
    Rule(
        "F25",
        "a writer that got no turn stands in nobody's way",
        "database.py",
        "                self._pass_turn()\n                raise peewee.OperationalError(_NO_TURN)",
        "                raise peewee.OperationalError(_NO_TURN)",
        tests_of("tests/house/test_database.py", "gets_no_turn", engine="sqlite"),
    ),
    Rule(
        "F25",
        "a writer waits for a foreign lock, and not for ever",
        "database.py",
        '"lock_timeout": "5s", "statement_timeout": "15s"',
        '"lock_timeout": "0", "statement_timeout": "0"',
        tests_of("tests/house/test_database.py", "foreign_lock", engine="postgresql"),
    ),
    Rule(
        "F26",
        "what SQLite rolled back by itself is not rolled back again",
        "database.py",
        "            if self.connection().in_transaction:\n",
        "            if True:\n",
        tests_of("tests/house/test_database.py", "full_disk_is_called_one", engine="sqlite"),
    ),
    Rule(
        "F27",
        "a commit waits until it is on the disk",
        "database.py",
        '"synchronous": "full"',
        '"synchronous": "normal"',
        tests_of("tests/journeys/test_disk_full.py", "every_connection_waits", engine="sqlite"),
    ),
    Rule(
        "F28",
        "Stripe is asked outside of every transaction",
        "effects/payment.py",
        "        session = _opened(order, payment)\n",
        "        from database import transaction\n\n        with transaction():\n"
        "            session = _opened(order, payment)\n",
        tests_of("tests/house/test_sockets.py", "a_sale_opens_no_line", engine="sqlite"),
    ),
    Rule(
        "F29",
        "a step of a newer version is left alone",
        "domain/fulfilment.py",
        "    return Step.name.in_(list(POLICIES)) & (",
        "    return (",
        tests_of(FULFILMENT, "step_of_a_newer_version", engine="sqlite"),
    ),
    Rule(
        "F29",
        "a worker that is told to stop finishes what it has begun",
        "cli/work.py",
        'graceful_signal="TERM", ',
        "",
        tests_of("tests/journeys/test_drain.py", "middle_of_a_mail", engine="sqlite"),
    ),
    Rule(
        "F30",
        "more decimals than the currency has are refused",
        "domain/money.py",
        '    if len(part.rstrip("0")) > decimals or len(part) == 3 > decimals:',
        "    if False:",
        tests_of("tests/domain/test_money.py"),
    ),
    Rule(
        "F30",
        "Stripe's units are translated where they are not those of ISO 4217",
        "gateways/stripe_api.py",
        '_UNITS = {"ISK": (100, 1), "UGX": (100, 1), "MGA": (1, 100)}',
        "_UNITS: dict[str, tuple[int, int]] = {}",
        tests_of("tests/gateways/test_stripe_checkout.py", "units_are_translated"),
    ),
)
