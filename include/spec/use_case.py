"""The spec of a use case: values only, checked all at once, light enough for every DAG parse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from include.core import partitions
from include.core.errors import UnknownPartition
from include.core.partitions import Period, Span
from include.core.repository import REPOSITORY
from include.core.words import nearest
from include.spec.accelerator import AcceleratorSpec
from include.spec.families import METRICS, TASKS
from include.spec.gates import GateSpec
from include.spec.monitoring import MonitoringSpec
from include.spec.scoring import ScoringSpec
from include.spec.training import ModelSettings, SeasonalBaseline
from include.spec.values import Values

FOLDER = REPOSITORY / "include" / "use_cases"
"""Folder of the use cases that ship with the repository."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Column = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Key = Annotated[str, Field(pattern=f"^({'|'.join(one.pattern for one in Period)})$")]

NO_FEATURES = ("ds", "event_timestamp", "label_known_at")
"""Columns of a training set that say when, and are never learnt from."""

TAKEN_NAMES = ("audited_partitions", "entity_rows", "history_rows", "partitions", "staged")
"""Tables and views that steps make on the connection on which raw tables are views of their own name."""


class History(Values):
    """The partitions that the source can deliver; without ``last`` the source goes on."""

    first: Key = Field(description="first partition key that the source can deliver")
    last: Key | None = Field(default=None, description="last one; left out, history goes on")

    @field_validator("first", "last")
    @classmethod
    def _is_a_period(cls, key: str | None) -> str | None:
        try:
            return key if key is None else partitions.check(key, partitions.period_of(key))
        except UnknownPartition as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _in_order(self) -> History:
        if self.last is None:
            return self
        try:
            backwards = partitions.between(self.first, self.last) < 0
        except UnknownPartition as error:
            raise ValueError(str(error)) from error
        if backwards:
            raise ValueError(f"last ({self.last}) lies before first ({self.first})")
        return self


class SourceSpec(Values):
    """The adapter that delivers raw partitions, as ``module:Class``, and the options it takes."""

    adapter: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Z]\w*$")] = Field(
        description="class that delivers the raw tables, made with the cache folder and the options; a module without "
        "a dot is a file of the use case's folder"
    )
    options: dict[Column, bool | int | float | str] = Field(default={}, description="the class's keyword arguments")


class RawTable(Values):
    """A raw table's unique key; a reference table has one partition that holds all of it."""

    key: tuple[Column, ...] = Field(min_length=1, description="columns that identify a row")
    reference: bool = Field(default=False, description="whether one partition, `reference`, holds the whole table")
    may_be_empty: bool = Field(
        default=False,
        description="whether a partition may have no rows, as where events are rare; said of any raw table, it also "
        "holds for the views and the scores. A suite of the table's own says it itself",
    )


class FeatureSpec(Values):
    """The Feast feature service that the model reads, and how far back its SQL looks."""

    service: Column = Field(description="Feast feature service that training and scoring read")
    lookback_periods: int = Field(
        ge=1, le=20_000, description="partitions that a partition's features read: its own and those before it"
    )
    lifetime_periods: int = Field(
        default=2,
        ge=1,
        description="periods after which a feature value counts as missing: its own, and those of a delay",
    )
    views: dict[Column, Annotated[tuple[Column, ...], Field(min_length=1)]] = Field(
        min_length=1, description="each view's entity keys"
    )


class PredictionSpec(Values):
    """The columns that identify one scored row."""

    key: tuple[Column, ...] = Field(min_length=1, description="columns that identify a scored row")


class BootstrapSpec(Values):
    """The partitions that the bootstrap loads by default."""

    periods: int = Field(default=120, ge=1, description="partitions up to the last one, when no range is given")


class UseCase(Values):
    """One prediction problem, as values.

    Attributes:
        name: prefix of its DAG ids, folder of its tables, name of its Feast project and of its model.
        like: the use case whose values hold where this one gives none, and whose SQL, suites and
            feature definitions it shares.
        title: name for people, on pages and questions.
        description: the question that it answers; the model card begins with it.
        owner: owner of its DAGs in Airflow.
        tags: tags of its DAGs, beside its name and the step.
        paused: whether its DAGs are paused when Airflow first sees them.
        raw: tables that the source delivers, by name.
        period: what one partition covers, ``hour``, ``day``, ``week`` (Monday to Sunday) or ``month``; its run is due
            when it begins.
        time_zone: IANA zone of the calendar whose days, weeks or months the partitions are; hours are those of UTC.
        accelerator: what one search worker needs of the machine it runs on.
        label_delay_periods: partitions until the outcomes of a partition are complete but for a few: those of `D` are
            used from the clock of `D` plus this many periods on.
        training_periods: labelled periods of a training set, counted back from its last; left out, all of history.
        promotion: ``auto`` promotes what the gates recommend; ``approve`` asks a person first.
        limits: what a reader of a model card must know beyond its figures.
    """

    name: Name
    like: Name | None = None
    title: str
    description: str
    limits: tuple[str, ...] = ()
    owner: str
    tags: tuple[str, ...] = ()
    time_zone: str
    period: Period = Period.DAY
    paused: bool = False
    history: History
    source: SourceSpec
    raw: dict[Column, RawTable] = Field(min_length=1)
    features: FeatureSpec
    predictions: PredictionSpec
    training: ModelSettings
    accelerator: AcceleratorSpec = AcceleratorSpec()
    label_delay_periods: int = Field(default=1, ge=1, le=20_000)
    training_periods: int | None = Field(default=None, ge=3)
    promotion: Literal["auto", "approve"] = "auto"
    gates: GateSpec = GateSpec()
    scoring: ScoringSpec = ScoringSpec()
    monitoring: MonitoringSpec = MonitoringSpec()
    bootstrap: BootstrapSpec = BootstrapSpec()

    @model_validator(mode="before")
    @classmethod
    def _derive_the_training(cls, values: Any) -> Any:
        """Fill in what follows from the rest: the key of a row, its period, and the columns that are no features."""
        training = values.get("training") if isinstance(values, dict) else None
        if not isinstance(training, dict):
            return values
        derived: dict[str, Any] = {"period_column": values.get("period", Period.DAY.value), "ignore": [], **training}
        predictions = values.get("predictions")
        if "keys" not in training and isinstance(predictions, dict) and "key" in predictions:
            derived["keys"] = predictions["key"]
        if isinstance(derived["ignore"], list):
            derived["ignore"] = [*NO_FEATURES, *(name for name in derived["ignore"] if name not in NO_FEATURES)]
        return {**values, "training": derived}

    @field_validator("raw")
    @classmethod
    def _free_names(cls, value: dict[str, RawTable]) -> dict[str, RawTable]:
        taken = [name for name in value if name in TAKEN_NAMES]
        if taken:
            raise ValueError(f"{', '.join(taken)}: SQL and suites know another table by that name; call it otherwise")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        from zoneinfo import available_timezones

        try:
            partitions.zone(value)
        except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones, such as America
            raise ValueError(f"no such time zone{nearest(value, available_timezones())}") from None
        return value

    @model_validator(mode="after")
    def _gates_suit_the_training(self) -> UseCase:
        task = self.training.task
        able = ", ".join(name for name, info in METRICS.items() if task in info.tasks)
        faults = [
            f'gates: metric "{name}" is not for {task}; use one of {able}'
            for name in sorted(self.gates.metrics())
            if task not in METRICS[name].tasks
        ]
        faults += [
            f'gates.slices "{column}" is neither a key nor categorical{nearest(column, self._sliceable)}'
            for column in self.gates.slices
            if column not in self._sliceable
        ]
        faults += [
            f'training.baselines "{baseline.name}" looks ahead: an outcome is known {self.label_delay_periods} periods '
            "later (label_delay_periods), so periods_before must be at least that"
            for baseline in self.training.baselines
            if isinstance(baseline, SeasonalBaseline) and baseline.periods_before < self.label_delay_periods
        ]
        if self.scoring.recalibration is not None and not TASKS[task].rare_positives:
            faults.append("scoring.recalibration shifts probabilities: it is for binary labels; take it away")
        quality = self.monitoring.quality
        for field, given in (
            ("min_recall", bool(quality.min_recall)),
            ("min_accuracy", quality.min_accuracy is not None),
        ):
            if given and not TASKS[task].classes:
                faults.append(f"monitoring.quality.{field} is for {TASKS['multiclass'].labels}; take it away")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def _sliceable(self) -> tuple[str, ...]:
        return (*self.training.categorical, *self.training.keys, *self.training.slices)

    @model_validator(mode="after")
    def _history_of_the_period(self) -> UseCase:
        try:
            partitions.check(self.history.first, self.period)
        except UnknownPartition as error:
            raise ValueError(f"history: {error}, because the period is {self.period}") from error
        return self

    # ---- names that follow from the values ----------------------------------------------------

    _assets_folder: Path = PrivateAttr(default=FOLDER)

    @property
    def assets_folder(self) -> Path:
        """Return the folder of the SQL and the suites: its own, or that of the use case it is like."""
        return self._assets_folder

    @property
    def partitioned_raw(self) -> tuple[str, ...]:
        return tuple(name for name, table in self.raw.items() if not table.reference)

    @property
    def reference_raw(self) -> tuple[str, ...]:
        return tuple(name for name, table in self.raw.items() if table.reference)

    def table(self, layer: str, name: str) -> str:
        """Return the lake's name of one of this use case's tables."""
        return f"{self.name}/{layer}/{name}"

    def training_table(self, as_of: str, fingerprint: str = "") -> str:
        """Return the table of a training set, named by its day and the first twelve digits of its content.

        Without ``fingerprint`` it is the one table that earlier releases had for all sets of a day.
        """
        content = f"_{fingerprint[:12]}" if fingerprint else ""
        return self.table("training", f"as_of_{as_of.replace('-', '_').lower()}{content}")

    # ---- partitions -----------------------------------------------------------------------------

    def check_span(self, span: Span) -> Span:
        """Return ``span`` if it lies in the source's history.

        Raises:
            UnknownPartition: a key is no period of this use case or outside the source's history, or ``last`` lies
                before ``first``.
        """
        for key in (span.first, span.last):
            partitions.check(key, self.period)
        keys, end = span.keys, self.history.last
        if keys[0] < self.history.first or (end is not None and keys[-1] > end):
            until = end or "now"
            raise UnknownPartition(
                f"{self.name}: {span.first}..{span.last} is outside the source's history "
                f"{self.history.first}..{until}; ask for partitions inside it"
            )
        return span

    def lookback(self, span: Span) -> Span:
        """Return the raw partitions that the features of ``span`` read, cut off where history begins."""
        return span.with_periods_before(self.features.lookback_periods - 1, self.history.first)

    @property
    def first_label_period(self) -> str:
        """Return the first partition whose features have a whole look-back."""
        return partitions.shift(self.history.first, self.features.lookback_periods)

    def last_label_period(self, as_of: str) -> str:
        """Return the last partition whose outcomes are complete, but for a few, at the clock of ``as_of``."""
        return partitions.shift(as_of, -self.label_delay_periods)
