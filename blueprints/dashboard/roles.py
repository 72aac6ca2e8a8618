"""Owner or staff: who may press which button at this desk."""

from flask import abort, make_response, render_template
from flask_login import current_user

from blueprints.dashboard import desk
from domain.states import Role
from models import Membership, User


def is_owner() -> bool:
    """True when the person at the desk owns this merchant's shop; staff works there."""
    return bool(
        Membership.select()
        .where(
            Membership.user == current_user.id,
            Membership.merchant == desk.merchant(),
            Membership.role == Role.OWNER,
        )
        .exists()
    )


def require_owner() -> None:
    """Tell staff with a 403 whom to ask. Look up first what the address names: a stranger's thing is 404 for all."""
    if not is_owner():
        abort(make_response(render_template("dashboard/owners_only.html", owners=owner_names()), 403))


def owner_names() -> list[str]:
    """Whom staff can ask."""
    owners = User.select().join(Membership).where(Membership.merchant == desk.merchant(), Membership.role == Role.OWNER)
    return [owner.name or owner.email for owner in owners.order_by(User.id)]
