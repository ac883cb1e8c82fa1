"""A plan is offered with a token; who repeats the token means that plan. Each is good once, for ten minutes."""

import hashlib
import secrets
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from app.audit import service as audit
from app.audit.model import Origin
from app.db.pool import Connection
from app.errors import Conflict, Denied, NotFound, RateLimited
from app.plans import queries
from app.plans.model import Confirmed, Intent, Offer, Plan

VALID_FOR: Final = timedelta(minutes=10)
# Of one actor, at a time, over all processes: making a plan looks through the catalogue.
MOST_OPEN: Final = 50


class ConfirmationInvalid(Conflict):
    code = "confirmation_invalid"
    title = "The confirmation does not hold"


class ApprovalNeeded(Conflict):
    code = "approval_needed"
    title = "Somebody else must approve the plan"


class PlanNotFound(NotFound):
    code = "plan_not_found"
    title = "There is no such plan"


class PlanUsed(Conflict):
    code = "plan_used"
    title = "The plan has been carried out"


class OwnPlan(Denied):
    code = "own_plan"
    title = "Nobody approves a plan of their own"


class TooManyPlans(RateLimited):
    code = "too_many_plans"
    title = "Too many open plans"


async def offer(conn: Connection, intent: Intent, *, actor: str, needs_approval: bool) -> Offer:
    """For `actor` and what `intent` stands for, and nobody and nothing else. Raises TooManyPlans."""
    await queries.forget_expired(conn)
    if await queries.open_plans(conn, actor) >= MOST_OPEN:
        raise TooManyPlans(
            f"There are {MOST_OPEN} open plans of yours: confirm one, or wait until they have expired.",
            retry_after=round(VALID_FOR.total_seconds()),
        )
    plan_id, token = uuid4(), secrets.token_urlsafe(32)
    expires_at = await queries.store(
        conn,
        plan_id,
        intent,
        token_hash=_hash(token),
        actor=actor,
        needs_approval=needs_approval,
        valid_for=VALID_FOR,
    )
    return Offer(id=plan_id, token=token, expires_at=expires_at, needs_approval=needs_approval)


async def use_up(conn: Connection, token: str, intent: Intent, *, actor: str, needs_approval: bool) -> Confirmed:
    """In the transaction of what it confirms: what is refused has not used it up.

    Raises ConfirmationInvalid, saying what to do, and ApprovalNeeded where the plan, or now the service, wants one.
    """
    used = await queries.use(conn, token_hash=_hash(token), action=intent.action, actor=actor)
    if used is None:
        raise ConfirmationInvalid("The confirmation is unknown, used, expired or another caller's: make a new plan.")
    if used.digest != intent.digest:
        raise ConfirmationInvalid("It is not as the plan said, or the plan was of something else: make a new plan.")
    if (used.needs_approval or needs_approval) and used.approved_by is None:
        raise ApprovalNeeded(
            f"Another admin has to approve it first: POST /v1/plans/{used.id}/approve, or bf-admin plan approve.",
            plan=f"/v1/plans/{used.id}",
        )
    return Confirmed(id=used.id, approved_by=used.approved_by)


async def require(conn: Connection, plan_id: str) -> Plan:
    """Raises PlanNotFound for one that has expired, too."""
    try:
        plan = await queries.get(conn, UUID(plan_id))
    except ValueError:
        plan = None
    if plan is None:
        raise PlanNotFound("There is no such plan, or it has expired.")
    return plan


async def approve(conn: Connection, plan_id: str, *, origin: Origin) -> Plan:
    """As a second one, other than who made it; approving twice is fine. Raises PlanNotFound, PlanUsed, OwnPlan."""
    plan = await require(conn, plan_id)
    if plan.actor == origin.actor:
        raise OwnPlan("Whoever made a plan cannot approve it: somebody else has to.")
    if await queries.approve(conn, plan.id, approver=origin.actor):
        await audit.record(
            conn,
            origin,
            action="plan.approve",
            target=f"plan/{plan.id}",
            outcome="succeeded",
            after={"action": plan.action, "target": plan.target, "planned_by": plan.actor},
        )
    approved = await require(conn, plan_id)
    if approved.used_at is not None:
        raise PlanUsed("The plan has been carried out: there is nothing left to approve.")
    return approved


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
