"""Plan what to compute again after a change: what is stale, and why.

Everything published says what it was computed from: its inputs with versions and fingerprints, and the definition of
its query. The plan compares these with the lake and the use case of today, by content: a partition that was published
again with equal rows makes nothing stale.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from include.core.errors import ConfError, NoChampion
from include.core.handover import Handover
from include.core.partitions import Span, between
from include.lake.records import SECONDS, Record
from include.promotion import ledger
from include.registry.model_versions import Version
from include.sources.adapter import REFERENCE
from include.steps import inputs, provenance
from include.steps.score import predicting
from include.steps.train import training_sets
from include.steps.workspace import Workspace, WorkspaceReader
from include.training.model import read_manifest

SCORES, VERDICTS = "scores", "verdicts"


class Stale(Handover):
    """Partitions of one table that rest on something which has changed since, for one reason."""

    table: str
    spans: tuple[Span, ...]
    count: int
    reason: str


class Plan(Handover):
    """What is stale in one use case, and what follows from it.

    Attributes:
        use_case: its name.
        stale: stale partitions, by table and reason, upstream first.
        champion: the version that scores today; None before the first promotion.
        model: why the champion is stale; empty if it is not.
        train_as_of: the partition to train as of; None where the champion is not stale.
        features, scores, verdicts: spans to compute again, in this order.
        scores_now, verdicts_now: those of them whose champion learnt from today's definitions; the others wait for the
            promotion of the next one.
        seconds: about how long features, scores and verdicts take, by what they took before; None if nobody knows.
    """

    use_case: str
    stale: tuple[Stale, ...]
    champion: int | None
    model: tuple[str, ...]
    train_as_of: str | None
    features: tuple[Span, ...]
    scores: tuple[Span, ...]
    verdicts: tuple[Span, ...]
    scores_now: tuple[Span, ...]
    verdicts_now: tuple[Span, ...]
    seconds: float | None

    @property
    def empty(self) -> bool:
        """Tell whether nothing is stale."""
        return not (self.stale or self.model)

    @property
    def digest(self) -> str:
        """Return twelve hexadecimal digits that are equal for equal plans, whenever they are made."""
        values = self.model_dump(mode="json", exclude={"seconds"})
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Cause:
    """Why something is stale: what happened, and to which partitions of which table if it was an input."""

    happened: str
    table: str = ""
    keys: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """Write the cause for a person."""
        if not self.table:
            return self.happened
        return f"{short(self.table)} of {spans_as_text(runs(self.keys))} {self.happened}"


class Now(Handover):
    """What one DAG run of reprocess computes: the span of each step; None skips it."""

    features: Span | None
    train_as_of: str | None
    scores: Span | None
    verdicts: Span | None


Reasons = dict[str, Cause]
"""The cause by which a partition is stale, by its key."""

_NEW_QUERY, _NEVER = Cause("its query has changed"), Cause("it was never computed")
_STALE, _OTHER_ROWS = "is stale", "was published again with other rows"


def make(workspace: Workspace) -> Plan:
    """Compare what is published with the inputs and definitions of today.

    Raises:
        LifecycleError: MLflow cannot be asked for the champion, or its signature is not valid.
    """
    return _Planner(workspace.at_one_moment()).plan()


def refuse_other(plan: Plan, asked: str | None) -> None:
    """Raise unless ``plan`` is the one that somebody has read and asked for by its name.

    Raises:
        ConfError: it is another one; something has changed since.
    """
    if asked is not None and asked != plan.digest:
        raise ConfError(
            f"{plan.use_case}: the plan is {plan.digest} now, not {asked}: something has changed since it was made. "
            f"Look at it again (make plan CASE={plan.use_case}), and trigger with its name"
        )


def now(plan: Plan) -> Now:
    """Return what can be computed now; each span reaches from the first to the last stale partition."""
    return Now(
        features=_hull(plan.features),
        train_as_of=plan.train_as_of,
        scores=_hull(plan.scores_now),
        verdicts=_hull(plan.verdicts_now),
    )


def _hull(spans: Sequence[Span]) -> Span | None:
    return Span(first=spans[0].first, last=spans[-1].last) if spans else None


class _Planner:
    def __init__(self, workspace: WorkspaceReader) -> None:
        self.workspace, self.case, self.lake = workspace, workspace.case, workspace.lake
        self.contents: dict[str, _Contents] = {}
        self.stale: dict[str, Reasons] = {}

    def plan(self) -> Plan:
        for view in self.case.features.views:
            self.stale[self.case.table("features", view)] = self._features(view)
        champion = self._champion
        model = () if champion is None else tuple(self._model(champion))
        as_of = self.workspace.newest("features") if model else None
        self.stale[self._scores] = self._follow("score", self._scores, as_of)
        self.stale[self._verdicts] = self._follow("monitor", self._verdicts, as_of)
        features = {key for table, keys in self.stale.items() if "/features/" in table for key in keys}
        return Plan(
            use_case=self.case.name,
            stale=tuple(one for table, reasons in self.stale.items() for one in _grouped(table, reasons)),
            champion=None if champion is None else champion.number,
            model=model,
            train_as_of=as_of,
            features=runs(features),
            scores=runs(self.stale[self._scores]),
            verdicts=runs(self.stale[self._verdicts]),
            scores_now=runs(self._by_champions(self._scores)),
            verdicts_now=runs(self._by_champions(self._verdicts)),
            seconds=self._seconds(),
        )

    @cached_property
    def _scores(self) -> str:
        return self.case.table("predictions", SCORES)

    @cached_property
    def _verdicts(self) -> str:
        return self.case.table("monitoring", VERDICTS)

    # ---- features ---------------------------------------------------------------------------

    def _features(self, view: str) -> Reasons:
        """Return the stale partitions of a view, and those that other views have and this one lacks."""
        known = self._features_of[view]
        found = {key: _NEVER for records in self._features_of.values() for key in records if key not in known}
        for key, record in known.items():
            cause = self._changed_input("features", key, record)
            if cause:
                found[key] = cause
        return found | dict.fromkeys(provenance.stale_partitions(self.workspace, view, known), _NEW_QUERY)

    @cached_property
    def _features_of(self) -> dict[str, dict[str, Record]]:
        """The records of each view's partitions."""
        return {view: self.lake.records(self.case.table("features", view)) for view in self.case.features.views}

    def _changed_input(self, step: str, key: str, record: Record) -> Cause | None:
        """Return which input of a partition is stale, or has other content than the record says; None if none is."""
        for table, parts in inputs.wanted(self.workspace, step, Span.one(key)).items():
            cause = self._of_input(table, parts, record)
            if cause:
                return cause
        return None

    def _of_input(self, table: str, keys: Sequence[str], record: Record) -> Cause | None:
        stale = self.stale.get(table, {}).keys() & set(keys)
        if stale:
            return Cause(_STALE, table, frozenset(stale))
        then = record.inputs.get(table)
        changed = [] if then is None else self._contents_of(table).changed(keys, then.version)
        return Cause(_OTHER_ROWS, table, frozenset(changed)) if changed else None

    def _contents_of(self, table: str) -> _Contents:
        if table not in self.contents:
            self.contents[table] = _Contents(self.lake.history(table))
        return self.contents[table]

    # ---- the champion -------------------------------------------------------------------------

    @cached_property
    def _entries(self) -> list[ledger.Promotion]:
        return ledger.promotions(self.lake, self.case)

    @cached_property
    def _champion(self) -> Version | None:
        return predicting.model_version(self.workspace, self._entries[-1].version) if self._entries else None

    def _model(self, champion: Version) -> Iterator[str]:
        """Yield why the champion rests on something that has changed."""
        changed = provenance.changed_parts(self.workspace, champion)
        for part in changed:
            yield f"{part}: {'its' if part in self.case.features.views else 'their'} query has changed"
        # of a view with another query nothing more need be said
        said = {self.case.table("features", part) for part in changed}
        record = training_sets.record_of(self.workspace, champion)
        for table, then in sorted({} if record is None else record.inputs.items()):
            keys = Span(first=then.first, last=then.last).keys if then.first != REFERENCE else [then.first]
            cause = None if record is None or table in said else self._of_input(table, keys, record)
            if cause:
                yield str(cause)
        manifest = read_manifest(predicting.model_folder(self.workspace, champion.number))
        other = self.case.training.differing(manifest.settings)
        if other:
            yield f"settings that have changed: {', '.join(f'training.{name}' for name in other)}"

    def _scorer_is_of_today(self, key: str, record: Record, as_of: str | None) -> bool:
        """Tell whether the model that would score ``key`` learnt from the definitions of today.

        What an older model said over the features of its time stays as it is: no model can say it again.
        """
        if as_of is not None and key >= as_of:
            return True  # the training that the plan asks for comes first
        return self._champion_is_of_today(key, record)

    def _champion_is_of_today(self, key: str, record: Record) -> bool:
        try:
            number = ledger.champion_of(self._entries, key, self.case.name).version
        except NoChampion:
            number = int(record.notes.get("models", {}).get(key, 0))
        return number in self._of_today

    @cached_property
    def _of_today(self) -> set[int]:
        found = set()
        for number in {entry.version for entry in self._entries}:
            version = predicting.model_version(self.workspace, number)
            if not provenance.changed_parts(self.workspace, version):
                found.add(number)
        return found

    # ---- scores and verdicts --------------------------------------------------------------------

    def _follow(self, step: str, table: str, as_of: str | None) -> Reasons:
        """Return the stale partitions of a table that rests on features and models."""
        found = {}
        for key, record in self.lake.records(table).items():
            cause = self._changed_input(step, key, record)
            if cause and self._scorer_is_of_today(key, record, as_of):
                found[key] = cause
        return found

    def _by_champions(self, table: str) -> list[str]:
        """Return the stale partitions of a table that the champions of now can compute again."""
        records = self.lake.records(table)
        return [key for key in self.stale[table] if self._champion_is_of_today(key, records[key])]

    # ---- how long -------------------------------------------------------------------------------

    def _seconds(self) -> float | None:
        """Return about how long the stale partitions take, by what each table's newest publish took a partition."""
        total = 0.0
        for table, reasons in self.stale.items():
            if not reasons:
                continue
            took = self._contents_of(table).seconds
            if took is None:
                return None
            total += took * len(reasons)
        return total


class _Contents:
    """The fingerprints that the partitions of one table have had, by version."""

    def __init__(self, history: Sequence[Record]) -> None:
        self._versions: dict[str, list[int]] = defaultdict(list)
        self._fingerprints: dict[str, list[str]] = defaultdict(list)
        for record in reversed(history):
            self._versions[record.key].append(record.version)
            self._fingerprints[record.key].append(record.fingerprint)
        timed = [record for record in history[:1] if SECONDS in record.notes]
        together = sum(record.version == history[0].version for record in history) if history else 0
        self.seconds = float(timed[0].notes[SECONDS]) / together if timed else None

    def changed(self, keys: Iterable[str], version: int) -> list[str]:
        """Return those of ``keys`` whose rows are not those of an earlier version."""
        found = []
        for key in keys:
            versions = self._versions.get(key)
            if versions is None or versions[-1] <= version:
                continue
            then = bisect_right(versions, version) - 1
            if then < 0 or self._fingerprints[key][then] != self._fingerprints[key][-1]:
                found.append(key)
        return found


def _grouped(table: str, reasons: Reasons) -> Iterator[Stale]:
    """Yield the stale partitions of a table together that have a cause of one kind."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, cause in sorted(reasons.items()):
        alike[cause.happened, cause.table].append(key)
    for (happened, source), keys in alike.items():
        of_all = frozenset[str]().union(*(reasons[key].keys for key in keys))
        yield Stale(table=table, spans=runs(keys), count=len(keys), reason=str(Cause(happened, source, of_all)))


def runs(keys: Iterable[str]) -> tuple[Span, ...]:
    """Return the spans that ``keys`` form, without gaps."""
    found: list[list[str]] = []
    for key in sorted(keys):
        if found and found[-1][1] != REFERENCE != key and between(found[-1][1], key) == 1:
            found[-1][1] = key
        else:
            found.append([key, key])
    return tuple(Span(first=first, last=last) for first, last in found)


def spans_as_text(spans: Sequence[Span]) -> str:
    shown = ", ".join(map(str, spans[:3]))
    return shown if len(spans) <= 3 else f"{shown}, ... ({len(spans)} spans)"


def short(table: str) -> str:
    return table.partition("/")[2]
