"""The follow-up protocol as a small model, searched exhaustively: every order of steps, with every crash in between.

One lead goes to one destination. Two workers and `watch` act on a queue, the ledger's row and the customer's claim; each
arrow of the model is one request to storage or to the vendor, so a crash can fall between any two. Which message is still
to be handled is asked of the product's own `Delivery.still_to_do`.

The safety net, `watch` re-driving rows that are overdue by an hour, is left out on purpose: nothing may depend on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import pytest

from leads.core.states import FINAL, State
from leads.ledger.rows import Delivery

Order = Literal["message first", "ledger first"]
Judge = Callable[[State, int, int], bool]

NOBODY = 0
GIVEN_UP = 8
"""The process knows that nobody sends under this claim: the attempt was told of a failed write, and has ended."""
DEAD = 9
WORKERS = (1, 2)


class Row(NamedTuple):
    """What the ledger says."""

    state: State
    seq: int


class At(NamedTuple):
    """Where a worker or `watch` is: its next step, and what it works on.

    `outdated` stands for ETags: the row has changed since a worker that is about to claim read it.
    """

    step: str
    seq: int = 0
    next_seq: int = 0
    outdated: bool = False


IDLE = At("idle")


class World(NamedTuple):
    """Everything there is. A message is (seq, who holds its lease)."""

    messages: tuple[tuple[int, int], ...] = ((0, NOBODY),)
    row: Row | None = None
    claim: int = NOBODY
    customer_known: bool = False
    workers: tuple[At, At] = (IDLE, IDLE)
    watch: At = IDLE
    paused: bool = False
    records: int = 0
    """How often the vendor has taken the lead."""
    crashes: int = 0
    stalls: int = 0
    """Leases that ended while their worker still worked."""
    failures: int = 0
    lost_answers: int = 0
    lost_claims: int = 0
    lost_outcomes: int = 0
    late_claim: bool = False
    """A claim that its worker has given up may still be written, as long as the customer's row does not change."""

    def put(self, seq: int) -> World:
        return self._replace(messages=tuple(sorted((*self.messages, (seq, NOBODY)))))

    def without(self, message: tuple[int, int]) -> World:
        left = list(self.messages)
        if message in left:
            left.remove(message)
        return self._replace(messages=tuple(left))

    def holding(self, message: tuple[int, int], holder: int) -> World:
        world = self.without(message)
        return world._replace(messages=tuple(sorted((*world.messages, (message[0], holder)))))

    def write(self, state: State, seq: int) -> World:
        first, second = (at._replace(outdated=True) if at.step == "claim" else at for at in self.workers)
        return self._replace(row=Row(state, seq), workers=(first, second))

    def at(self, worker: int, at: At) -> World:
        first, second = self.workers
        return self._replace(workers=(at, second) if worker == 1 else (first, at))

    def release(self, worker: int) -> World:
        return self._replace(claim=NOBODY, late_claim=False) if self.claim == worker else self

    @property
    def all_send(self) -> bool:
        return all(at.step == "send" for at in self.workers)

    @property
    def row_seq(self) -> int:
        return self.row.seq if self.row else 0

    @property
    def is_delivered(self) -> bool:
        return self.row is not None and self.row.state is State.DELIVERED


class Step(NamedTuple):
    """One arrow; `is_fault` if it is something that need not happen."""

    name: str
    world: World
    is_fault: bool = False


def by_the_product(state: State, row_seq: int, seq: int) -> bool:
    return Delivery("crm", state, row_seq).still_to_do(seq)


@dataclass(frozen=True)
class Model:
    """The protocol, and how much may go wrong in one story."""

    order: Order = "message first"
    judge: Judge = by_the_product
    late_outcome: Literal["leaves what is newer", "wins"] = "leaves what is newer"
    unknown_lead: Literal["waits", "is dropped"] = "waits"
    crashes: int = 1
    stalls: int = 1
    failures: int = 1
    lost_answers: int = 1
    lost_claims: int = 0
    lost_outcomes: int = 0
    own_claim: Literal["is given up by its attempt", "is any of the process"] = "is given up by its attempt"

    def steps(self, world: World) -> Iterator[Step]:
        """Everything that can happen next."""
        for worker in WORKERS:
            yield from self._worker(world, worker)
            yield from self._crash(world, worker)
        yield from self._watch(world)
        if world.paused:
            yield Step("the vendor is well again", world._replace(paused=False))
        if world.claim in {DEAD, GIVEN_UP}:
            yield Step("the claim's lease ends", world._replace(claim=NOBODY, late_claim=False))
        if world.late_claim:
            yield Step("a claim is written late", self._written(world, GIVEN_UP)._replace(late_claim=False))

    def _worker(self, world: World, worker: int) -> Iterator[Step]:
        at = world.workers[worker - 1]
        say = f"worker {worker}: {{}} (message {at.seq})".format
        match at.step:
            case "idle":
                for message in sorted({message for message in world.messages if message[1] == NOBODY}):
                    taken = world.holding(message, worker).at(worker, At("judge", message[0]))
                    yield Step(f"worker {worker}: takes message {message[0]}", taken)
            case "judge":
                yield Step(say("reads the row"), world.at(worker, self._judged(world, at)))
            case "claim":
                yield Step(say("claims"), self._claimed(world, worker, at))
                yield from self._claimed_in_vain(world, worker, at, say)
            case "send":
                yield from self._sent(world, worker, at, say)
            case "delivered":
                settled = world.write(State.DELIVERED, world.row_seq).release(worker)
                yield Step(say("settles: delivered"), settled.at(worker, at._replace(step="delete")))
                if world.lost_outcomes < self.lost_outcomes:
                    back = At("put back", at.seq)
                    lost = world._replace(lost_outcomes=world.lost_outcomes + 1)
                    given_up = lost._replace(claim=GIVEN_UP) if world.claim == worker else lost
                    yield Step(say("can't settle"), given_up.at(worker, back), is_fault=True)
                    unheard = settled._replace(lost_outcomes=world.lost_outcomes + 1)
                    yield Step(say("settles, the answer is lost"), unheard.at(worker, back), is_fault=True)
            case "park":
                settled = self._settled(world, at, State.PARKED, max(world.row_seq, at.seq)).release(worker)
                yield Step(say("settles: parked"), settled.at(worker, at._replace(step="delete")))
            case "put follow-up":
                then = "settle follow-up" if self.order == "message first" else "delete"
                yield Step(say("puts the next message"), world.put(at.next_seq).at(worker, at._replace(step=then)))
            case "settle follow-up":
                then = "delete" if self.order == "message first" else "put follow-up"
                settled = self._settled(world, at, State.RETRY, at.next_seq).release(worker)
                yield Step(say("settles: retry"), settled.at(worker, at._replace(step=then)))
            case "put back":
                yield Step(say("puts it back"), world.put(at.seq).at(worker, at._replace(step="delete")))
            case "delete":
                # Who lost the lease can't delete: the pop receipt has changed.
                yield Step(say("deletes it"), world.without((at.seq, worker)).at(worker, IDLE))

    def _judged(self, world: World, at: At) -> At:
        if world.row is None and at.seq > 0:  # only intake's message brings the lead with it
            return at._replace(step="put back" if self.unknown_lead == "waits" else "delete")
        if world.row is not None and not self.judge(world.row.state, world.row.seq, at.seq):
            return at._replace(step="delete")
        return at._replace(step="park" if world.paused else "claim")

    def _claimed(self, world: World, worker: int, at: At) -> World:
        if not self._is_free(world):
            return world.at(worker, At("put back", at.seq))
        if world.customer_known and at.outdated:
            return world.at(worker, At("judge", at.seq))
        return self._written(world, worker, at.seq).at(worker, At("send", at.seq))

    def _is_free(self, world: World) -> bool:
        return world.claim in {NOBODY, GIVEN_UP} or (
            self.own_claim == "is any of the process" and world.claim in WORKERS
        )

    def _written(self, world: World, claim: int, seq: int = 0) -> World:
        """The claim is written; beside the customer's row the lead's, unless it is the customer's first claim."""
        claimed = world._replace(claim=claim, customer_known=True, late_claim=False)
        if not world.customer_known:
            return claimed
        return claimed.write(world.row.state, world.row.seq) if world.row else claimed.write(State.WAITING, seq)

    def _claimed_in_vain(self, world: World, worker: int, at: At, say: Callable[[str], str]) -> Iterator[Step]:
        """Storage does not say whether the claim is written: it is, or will be while the customer's row stays as it is."""
        if world.lost_claims == self.lost_claims or not self._is_free(world) or (world.customer_known and at.outdated):
            return
        lost = world._replace(lost_claims=world.lost_claims + 1)
        back = At("put back", at.seq)
        written = self._written(lost, GIVEN_UP, at.seq).at(worker, back)
        yield Step(say("claims, the answer is lost"), written, is_fault=True)
        yield Step(say("claims, which hangs"), lost._replace(late_claim=True).at(worker, back), is_fault=True)

    def _sent(self, world: World, worker: int, at: At, say: Callable[[str], str]) -> Iterator[Step]:
        stored = world._replace(records=world.records + 1)
        yield Step(say("sends it, is told so"), stored.at(worker, at._replace(step="delivered")))
        next_seq = max(world.row_seq, at.seq) + 1
        follow_up = "put follow-up" if self.order == "message first" else "settle follow-up"
        then = {"retried": At(follow_up, at.seq, next_seq), "parked": At("park", at.seq)}
        for way, after in then.items():
            paused = way == "parked"
            if world.failures < self.failures:
                failed = world._replace(failures=world.failures + 1, paused=world.paused or paused)
                yield Step(say(f"sends it in vain, to be {way}"), failed.at(worker, after), is_fault=True)
            if world.lost_answers < self.lost_answers:
                lost = stored._replace(lost_answers=world.lost_answers + 1, paused=world.paused or paused)
                yield Step(say(f"sends it, the answer is lost, to be {way}"), lost.at(worker, after), is_fault=True)

    def _settled(self, world: World, at: At, state: State, seq: int) -> World:
        """What somebody else has finished or taken further meanwhile stays as it is."""
        row = world.row
        if row is None or self.judge(row.state, row.seq, at.seq):
            return world.write(state, seq)
        if self.late_outcome == "wins" and row.state not in FINAL:
            return world.write(state, seq)
        return world.write(row.state, row.seq)

    def _watch(self, world: World) -> Iterator[Step]:
        at = world.watch
        match at.step:
            case "idle":
                if world.row is not None and world.row.state is State.PARKED and not world.paused:
                    yield Step("watch: finds it parked", world._replace(watch=At("put", world.row.seq + 1)))
            case "put":
                yield Step(f"watch: puts message {at.seq}", world.put(at.seq)._replace(watch=At("settle", at.seq)))
            case "settle":
                parked = world.row is not None and world.row.state is State.PARKED and world.row.seq < at.seq
                settled = world.write(State.RETRY, at.seq) if parked else world
                yield Step("watch: says so in the ledger", settled._replace(watch=IDLE))
        if at != IDLE and world.crashes < self.crashes:
            crashed = world._replace(watch=IDLE, crashes=world.crashes + 1)
            yield Step("watch: CRASHES", crashed, is_fault=True)

    def _crash(self, world: World, worker: int) -> Iterator[Step]:
        if world.workers[worker - 1] == IDLE:
            return
        mine = next((message for message in world.messages if message[1] == worker), None)
        freed = world.holding(mine, NOBODY) if mine else world
        if world.crashes < self.crashes:
            claim = DEAD if world.claim == worker else world.claim
            crashed = freed.at(worker, IDLE)._replace(crashes=world.crashes + 1, claim=claim)
            yield Step(f"worker {worker}: CRASHES", crashed, is_fault=True)
        if world.stalls < self.stalls:
            stalled = world.stalls + 1
            if mine:
                lost = freed._replace(stalls=stalled)
                yield Step(f"worker {worker}: stalls, its message is seen again", lost, is_fault=True)
            if world.claim == worker:
                lost = world._replace(stalls=stalled, claim=NOBODY)
                yield Step(f"worker {worker}: stalls, its claim ends", lost, is_fault=True)


Wrong = Callable[[World], bool]


class Search:
    """Every world that can come about, and how; `until` one of which this is true, if it is given."""

    def __init__(self, model: Model, until: Wrong = lambda world: False) -> None:
        self.worlds = [World()]
        self._came_from: list[tuple[int, str] | None] = [None]
        self._sane_predecessors: list[list[int]] = [[]]
        numbers = {World(): 0}
        for number, world in enumerate(self.worlds):  # it grows meanwhile: breadth first
            if until(world):
                return
            for step in model.steps(world):
                found = numbers.setdefault(step.world, len(self.worlds))
                if found == len(self.worlds):
                    self.worlds.append(step.world)
                    self._came_from.append((number, step.name))
                    self._sane_predecessors.append([])
                if not step.is_fault:
                    self._sane_predecessors[found].append(number)

    def first(self, is_wrong: Wrong) -> list[str]:
        """The shortest story to a world of which this is true; empty if there is none."""
        found = next((number for number, world in enumerate(self.worlds) if is_wrong(world)), None)
        return [] if found is None else self._story(found)

    def first_hopeless(self) -> list[str]:
        """The shortest story to a world in which nothing goes wrong any more and the lead is never delivered."""
        waiting = deque(n for n, world in enumerate(self.worlds) if world.is_delivered and not world.messages)
        hopeful = set(waiting)
        while waiting:
            for before in self._sane_predecessors[waiting.popleft()]:
                if before not in hopeful:
                    hopeful.add(before)
                    waiting.append(before)
        hopeless = next((number for number in range(len(self.worlds)) if number not in hopeful), None)
        return [] if hopeless is None else self._story(hopeless)

    def _story(self, number: int) -> list[str]:
        steps = [str(self.worlds[number])]
        while before := self._came_from[number]:
            number, name = before
            steps.append(name)
        return steps[::-1]


def first(model: Model, is_wrong: Wrong) -> list[str]:
    """The shortest story of a model to a world of which this is true."""
    return Search(model, is_wrong).first(is_wrong)


def is_nowhere(world: World) -> bool:
    """Neither on the queue nor in the ledger as something that `watch` picks up or that is done."""
    waits_for_watch = world.row is not None and world.row.state is State.PARKED
    return not world.messages and not waits_for_watch and not world.is_delivered


def is_twice_for_no_reason(world: World) -> bool:
    """The vendor has the lead more often than crashes, ended leases and lost answers account for."""
    return world.records > 1 + world.crashes + world.stalls + world.lost_answers + world.lost_outcomes


STORAGE_HANGS = Model(stalls=0, failures=2, lost_answers=0, lost_claims=1, lost_outcomes=1)


@pytest.fixture(scope="module")
def storage_hangs() -> Search:
    return Search(STORAGE_HANGS)


@pytest.fixture(
    scope="module",
    params=[Model(), Model(crashes=2, stalls=0, failures=2, lost_answers=0), STORAGE_HANGS],
    ids=["one of every fault", "two crashes and two failures", "storage hangs at a claim and an outcome"],
)
def search(request: pytest.FixtureRequest, storage_hangs: Search) -> Search:
    return storage_hangs if request.param is STORAGE_HANGS else Search(request.param)


def test_the_search_is_worth_its_name(search: Search) -> None:
    """It meets what it is about: parked and retried leads, two workers at once, leftovers, the claim of a dead worker."""
    worlds = search.worlds
    assert len(worlds) > 10_000
    assert any(world.is_delivered and world.records == 1 and world.crashes for world in worlds)
    assert any(world.row and world.row.state is State.PARKED and world.row.seq > 0 for world in worlds)
    assert any(len(world.messages) >= 3 for world in worlds)
    assert any(world.claim == DEAD and IDLE not in world.workers for world in worlds)


def test_a_lead_is_always_somewhere(search: Search) -> None:
    assert not search.first(is_nowhere)


def test_a_lead_can_always_still_be_delivered(search: Search) -> None:
    """Whatever has happened: if nothing more goes wrong, it is delivered, and no message of it is left over."""
    assert not search.first_hopeless()


def test_a_lead_is_sent_again_only_for_a_reason(search: Search) -> None:
    assert not search.first(is_twice_for_no_reason)


def test_without_a_fault_a_lead_is_delivered_once_and_nothing_is_left() -> None:
    """Two workers, `watch`, a vendor that fails for a while, but no crash, stall or lost answer: exactly one record."""
    calm = Search(Model(crashes=0, stalls=0, lost_answers=0))
    assert not calm.first(lambda world: world.records > 1)
    assert not calm.first_hopeless()


def test_a_claim_that_was_given_up_is_taken_up_by_one_alone(storage_hangs: Search) -> None:
    """While no lease ends before its time, there are never two that send."""
    assert storage_hangs.first(lambda world: world.claim == GIVEN_UP and IDLE not in world.workers)
    assert storage_hangs.first(lambda world: world.lost_claims == 1 and world.is_delivered and world.records == 1)
    assert not storage_hangs.first(lambda world: world.all_send)


def test_a_claim_that_is_ours_because_it_is_the_processs_is_taken_up_by_two() -> None:
    assert first(replace(STORAGE_HANGS, own_claim="is any of the process"), lambda world: world.all_send)


def test_the_other_order_loses_leads(capsys: pytest.CaptureFixture[str]) -> None:
    """Ledger first: a crash before the message is put, and the current message is taken for a leftover."""
    wrong = Search(Model(order="ledger first", failures=1, stalls=0, lost_answers=0))
    story = wrong.first(is_nowhere)
    with capsys.disabled():
        print("", "How a lead is lost if the ledger is written first:", *story, sep="\n  ")
    assert [step for step in story if "CRASHES" in step]
    assert story[-3:-1] == ["worker 1: reads the row (message 0)", "worker 1: deletes it (message 0)"]
    assert wrong.first_hopeless()


def test_a_late_outcome_that_wins_takes_leads_from_watch() -> None:
    """A worker stalls with "retry" in its hand; another one handles that retry and parks the lead; then the first settles."""
    assert first(Model(crashes=0, failures=3, lost_answers=0, late_outcome="wins"), is_nowhere)


def test_dropping_what_the_ledger_does_not_know_yet_loses_leads() -> None:
    """The retry is due before the attempt that put it has said so in the ledger."""
    assert first(Model(crashes=0, stalls=0, lost_answers=0, unknown_lead="is dropped"), is_nowhere)


@pytest.mark.parametrize(
    ("rule", "judge"),
    [
        ("drops the message that the row counts on", lambda state, row, seq: state not in FINAL and seq > row),
        ("drops what is put for a parked lead", lambda state, row, seq: state is not State.PARKED and seq >= row),
    ],
)
def test_a_rule_that_drops_too_much_loses_leads(rule: str, judge: Judge) -> None:
    assert Search(Model(judge=judge, failures=1, stalls=0, lost_answers=0)).first_hopeless(), rule


def test_a_rule_that_drops_too_little_sends_twice() -> None:
    careless = Model(judge=lambda state, row, seq: True, crashes=1, stalls=0, failures=0, lost_answers=0)
    assert first(careless, lambda world: world.records > 1 and world.workers == (IDLE, IDLE) and world.messages == ())
