"""`GET /transactions` and `GET /vouchers/{id}/transactions`: every change of a balance, newest first."""

import flask
import peewee

from blueprints.api import keys, lookup, operations, pages, schemas, shapes
from models import Entry, Voucher

_KEYED = ("redeem", "refund", "adjust", "issue", "reverse")


def list_transactions() -> flask.Response:
    """The merchant's transactions that match."""
    key = keys.current()
    return _list(_entries().where(Entry.merchant == key.merchant, Voucher.is_test == key.is_test))


def list_of_voucher(voucher_id: str) -> flask.Response:
    """One voucher's transactions that match."""
    wanted = lookup.by_id_or_404(voucher_id)
    return _list(_entries().where(Entry.voucher == wanted))


def _entries() -> peewee.ModelSelect:
    redemption = Entry.alias()
    return (
        Entry.select(Entry, Voucher, redemption)
        .join(Voucher)
        .switch(Entry)
        .join(redemption, peewee.JOIN.LEFT_OUTER, on=(Entry.redemption == redemption.id), attr="redemption")
    )


def _list(query: peewee.ModelSelect) -> flask.Response:
    wanted = schemas.read_query(schemas.TransactionQuery)
    rows, next_cursor = pages.page(_matching(query, wanted), Entry, limit=wanted.limit, cursor=wanted.cursor)
    return shapes.answer({"data": [shapes.whole_transaction(row) for row in rows], "next_cursor": next_cursor})


def _matching(query: peewee.ModelSelect, wanted: schemas.TransactionQuery) -> peewee.ModelSelect:
    if wanted.type is not None:
        query = query.where(Entry.kind == wanted.type)
    if wanted.reference is not None:
        query = query.where(Entry.reference == wanted.reference)
    if wanted.idempotency_key is not None:
        key = operations.scoped(wanted.idempotency_key)
        query = query.where(Entry.operation_key.in_([f"{verb}:{key}" for verb in _KEYED]))
    if wanted.created_after is not None:
        query = query.where(Entry.created_at > wanted.created_after)
    if wanted.created_before is not None:
        query = query.where(Entry.created_at < wanted.created_before)
    return query
