"""Getting a session of a site: the endpoints in order, passing over those known to be bad.

What is remembered of an address, and when mail may go without TLS, is decided in
`mail.health`; the order of the endpoints in `mail.mx`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from postroad.mail import health
from postroad.mail.classify import insisting, judge
from postroad.mail.health import HostHealth
from postroad.mail.mx import Plan
from postroad.mail.outcome import Fault, Kind, Outcome, Reason, Stage, Trouble
from postroad.mail.routing import Endpoint, Route
from postroad.mail.rules import Rules
from postroad.ports.clock import Clock
from postroad.ports.transport import ConnectFailed, Session, Transport

# Complete SMTP handshakes one attempt may cost (as Postfix's smtp_mx_session_limit).
HANDSHAKES = 2
# Endpoints of a site that gave a session, remembered for those whom they greylisted.
MOST_DOORS = 64


class Unreachable(Exception):
    """No endpoint gave a session; `outcome` says what the last one did, `endpoint` which that was."""

    def __init__(self, outcome: Outcome, endpoint: Endpoint | None) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome
        self.endpoint = endpoint


def unforeseen(error: Exception, rules: Rules) -> Unreachable:
    """What a bug on the way to a session means for those who wanted it."""
    trouble = Trouble(Stage.LOCAL, Fault.INTERNAL, f"internal error: {type(error).__name__}")
    return Unreachable(judge(Stage.LOCAL, trouble, None, rules), None)


class Doorstep:
    __slots__ = ("_clock", "_doors", "_health", "_patience", "_rules", "_transport")

    def __init__(self, transport: Transport, rules: Rules, clock: Clock, patience: float) -> None:
        """`patience`: seconds between the first TLS failure and the first try without TLS."""
        self._transport = transport
        self._rules = rules
        self._clock = clock
        self._patience = patience
        self._health: dict[str, HostHealth] = {}
        self._doors: dict[str, Endpoint] = {}

    def order(self, endpoints: Sequence[Endpoint], prefer: str | None) -> list[Endpoint]:
        """The endpoints to try: `prefer` (an `Outcome.host`) first, skipped ones only when all are.

        Greylisters remember who knocked where: a retry goes to the same door, though
        a newer plan may have chosen others of a large group.
        """
        now = self._clock.now()
        good = [e for e in endpoints if not health.skipped(self._of(e), now)] or list(endpoints)
        if prefer is None:
            return good
        door = next((e for e in endpoints if str(e) == prefer), None) or self._doors.get(prefer)
        if door is None or health.skipped(self._of(door), now):
            return good
        return [door, *(e for e in good if e != door)]

    @asynccontextmanager
    async def session(self, plan: Plan, route: Route, prefer: str | None) -> AsyncIterator[Session]:
        """A session of the first endpoint that gives one, closed with the block; raises Unreachable.

        For messages that require TLS all endpoints are asked, until one promises it.
        """
        insists = plan.site.tls.requiretls
        troubles: list[tuple[Outcome, Endpoint]] = []
        handshakes = 0
        left = list(plan.endpoints) if insists else self.order(plan.endpoints, prefer)
        while left and (insists or handshakes < HANDSHAKES):
            endpoint = left.pop(0)
            async with AsyncExitStack() as connected:
                found = await self._knock(endpoint, plan, route, connected, hurried=bool(left))
                if not isinstance(found, Outcome):
                    yield found
                    return
            troubles.append((found, endpoint))
            handshakes += found.stage is not Stage.CONNECT
        if not troubles:
            nowhere = Trouble(Stage.DNS, Fault.NO_ADDRESS, f"no endpoint for {plan.hop}")
            raise Unreachable(judge(Stage.DNS, nowhere, None, self._rules), None)
        passing = [each for each in troubles if each[0].kind is not Kind.FAILED]
        raise Unreachable(*(passing or troubles)[-1])

    async def _knock(
        self, endpoint: Endpoint, plan: Plan, route: Route, connected: AsyncExitStack, *, hurried: bool
    ) -> Session | Outcome:
        """A session that ends with `connected`, or why this endpoint gives none."""
        tls = plan.site.tls
        context = self._transport.connect(
            endpoint,
            tls,
            route,
            plaintext=self._goes_plain(endpoint, plan),
            # One that has answered before is worth waiting for.
            hurried=hurried and str(endpoint) not in self._doors,
        )
        try:
            session = await connected.enter_async_context(context)
        except ConnectFailed as failed:
            outcome = self._learn(failed, endpoint)
            return insisting(outcome) if tls.requiretls else outcome
        self._reached(endpoint, session)
        if tls.requiretls and not session.capabilities.requiretls:
            text = f"TLS is required, and {endpoint} does not offer REQUIRETLS"
            lacking = Trouble(Stage.EHLO, Fault.NO_REQUIRETLS, text)
            return judge(Stage.EHLO, lacking, endpoint, self._rules)
        return session

    def _goes_plain(self, endpoint: Endpoint, plan: Plan) -> bool:
        now, record = self._clock.now(), self._of(endpoint)
        if not health.plaintext(record, plan.site.tls.level, now, self._patience):
            return False
        self._health[endpoint.address] = health.fell_back(record, now)
        return True

    def _of(self, endpoint: Endpoint) -> HostHealth:
        return self._health.get(endpoint.address, HostHealth())

    def _learn(self, failed: ConnectFailed, endpoint: Endpoint) -> Outcome:
        now = self._clock.now()
        outcome = judge(failed.stage, failed.what, endpoint, self._rules, now)
        record = self._of(endpoint)
        if outcome.stage is Stage.CONNECT:
            timed_out = isinstance(failed.what, Trouble) and failed.what.fault is Fault.TIMEOUT
            record = health.unreachable(record, timed_out, now)
        elif outcome.reason is Reason.TLS:
            record = health.tls_failed(health.reached(record), now)
        else:
            record = health.reached(record)
        self._health[endpoint.address] = record
        return outcome

    def served(self, endpoint: Endpoint) -> None:
        """A message was taken there."""
        record = self._health.get(endpoint.address)
        if record is not None:
            self._keep(endpoint, health.served(record))

    def lost(self, endpoint: Endpoint) -> None:
        """A session there ended in the middle."""
        self._health[endpoint.address] = health.lost(self._of(endpoint), self._clock.now())

    def _reached(self, endpoint: Endpoint, session: Session) -> None:
        if len(self._doors) >= MOST_DOORS:
            self._doors.clear()
        self._doors[str(endpoint)] = endpoint
        record = health.reached(self._of(endpoint))
        if session.tls is not None:
            record = health.tls_worked(record)
        self._keep(endpoint, record)

    def _keep(self, endpoint: Endpoint, record: HostHealth) -> None:
        if record == HostHealth():
            self._health.pop(endpoint.address, None)
        else:
            self._health[endpoint.address] = record

    def forget(self) -> None:
        """An operator asks to try again now: what is held against addresses is dropped."""
        self._health.clear()
