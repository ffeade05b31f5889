"""Judgement of a suite: one verdict a partition, however many partitions are loaded at once.

A check of single rows is evaluated in one pass over the span, and its broken rows are counted by partition. A share
of rows (``mostly``) and the usual figures of a column are computed for all partitions by one grouped query. Only the
other checks, such as a join of ``{batch}`` with itself, are evaluated once a partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from include.core.sql import identifier
from include.quality import expectations, figures, gx_private, samples, sql_rules
from include.quality.evaluation import EXAMPLES, evaluate, query_of, relation_of
from include.quality.judged import Judged, config_of, meta, unexpected
from include.quality.relations import Relations

# row by row, but each row is compared with others of its table
_OTHER_ROWS = (
    "expect_column_values_to_be_unique",
    "expect_column_value_z_scores_to_be_less_than",
    "expect_compound_columns_to_be_unique",
    "expect_multicolumn_values_to_be_unique",
)
_WHOLE_COUNT = ("expect_column_values_to_be_null", "expect_column_values_to_not_be_null")


def validate(relations: Relations, first_partition: str | None) -> list[Judged]:
    """Evaluate every check of a suite, in the suite's order.

    Raises:
        AuditEngineError: some could not be evaluated; the message names them.
    """
    configurations = expectations.configurations(relations.suite, first_partition, relations.floating)
    whole = relations.whole_reads()
    together = [one for one in configurations if _in_one_pass(relations, one, whole)]
    taken = {_position(one) for one in together}
    alone = {_position(one): one for one in configurations if _position(one) not in taken}
    candidates: dict[int, Sequence[str]] = dict.fromkeys(alone, relations.keys)
    judged: dict[int, Judged] = {}
    # without examples first: fetching them scans the table again for every expectation, even for those that hold
    for validation in evaluate(relations, together):
        config = config_of(validation)
        failing = _failing(relations, validation)
        if isinstance(failing, _Unknown):
            alone[_position(config)], candidates[_position(config)] = config, failing.keys
        judged[_position(config)] = Judged(validation, failing if isinstance(failing, dict) else {})
    for position, found in _one_by_one(relations, alone, candidates).items():
        failing = {key: _rows(one) for key, one in found.items() if not one.success}
        shown = next((one for one in found.values() if not one.success), None)
        shown = shown or (judged[position].validation if position in judged else next(iter(found.values())))
        judged[position] = Judged(shown, failing)
    return [_with_examples(relations, judged[position], position in alone) for position in sorted(judged)]


class _Unknown:
    """The partitions of which one pass cannot tell whether they fail."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(keys)


def _in_one_pass(relations: Relations, config: ExpectationConfiguration, whole: frozenset[str]) -> bool:
    if config.type in figures.GROUPED or config.type in expectations.FIGURE_RULES:
        return False
    if len(relations.keys) == 1 or meta(config)["built_in"]:
        return True
    if config.type == expectations.SQL_RULE:
        query = query_of(config)
        return sql_rules.judges_each_partition(relations.session, query, expectations.STAGED, whole)
    return gx_private.is_about_rows(config.type) or gx_private.is_about_columns(config.type)


def _failing(relations: Relations, validation: ExpectationValidationResult) -> dict[str, int] | _Unknown:
    """Return the partitions that fail alone, with their broken rows, after one pass over all of them."""
    config, keys = config_of(validation), relations.keys
    if validation.success and not _rows(validation):
        return {}
    if gx_private.is_about_columns(config.type):
        return dict.fromkeys(keys, 0)
    broken = samples.by_partition(relations.session, validation)
    if len(keys) == 1:
        return {} if validation.success else broken or {keys[0]: _rows(validation)}
    if broken is None:
        return _Unknown(keys)
    if config.type == expectations.SQL_RULE:
        # rows without a partition are a fault of the whole load
        return broken or dict.fromkeys(keys, 0)
    if config.type in _OTHER_ROWS:
        return _Unknown(key for key in keys if key in broken)
    mostly = float(config.kwargs.get("mostly") or 1)
    if mostly == 1:
        return broken
    if not gx_private.is_about_rows_of_one_column(config.type):
        return _Unknown(key for key in keys if key in broken)
    counts = _counts(relations, config)
    return {key: n for key, n in broken.items() if (counts[key] - n) / counts[key] < mostly}


def _counts(relations: Relations, config: ExpectationConfiguration) -> dict[str, int]:
    """Return by partition how many rows a share of rows is a share of."""
    counted = "*" if config.type in _WHOLE_COUNT else identifier(config.kwargs["column"])
    relation = relation_of(relations, config)
    rows = relations.session.execute(f"SELECT ds::VARCHAR, count({counted}) FROM {relation} GROUP BY ds").fetchall()
    return dict(rows)


def _one_by_one(
    relations: Relations, alone: Mapping[int, ExpectationConfiguration], candidates: Mapping[int, Sequence[str]]
) -> dict[int, dict[str, ExpectationValidationResult]]:
    """Judge expectations in each of their candidate partitions."""
    found: dict[int, dict[str, ExpectationValidationResult]] = {}
    left: dict[str, list[ExpectationConfiguration]] = {}
    for position, config in alone.items():
        found[position] = figures.not_finite(relations, config)
        keys = [key for key in candidates[position] if key not in found[position]]
        if config.type in figures.GROUPED:
            found[position] |= figures.grouped(relations, config, keys)
            continue
        for key in keys:
            left.setdefault(key, []).append(config)
    with closing(relations.each([key] for key in sorted(left))) as shown:
        for (key,) in shown:
            for validation in evaluate(relations, left[key]):
                found[_position(config_of(validation))][key] = validation
    return {position: dict(sorted(by_key.items())) for position, by_key in found.items()}


def _with_examples(relations: Relations, judged: Judged, alone: bool) -> Judged:
    """Return a judgement with its final verdict, and for a failed one a few rows of the partitions that failed."""
    validation, config = judged.validation, config_of(judged.validation)
    if not judged.partitions:
        # a share that is too small in the span can be large enough in each of its partitions
        validation.success = True
        return judged
    failed = [key for key in relations.keys if key in judged.partitions] or list(relations.keys)
    with relations.narrowed(failed[:1] if alone else failed):
        if gx_private.is_about_rows(config.type):
            (validation,) = evaluate(relations, [config], EXAMPLES)
        validation.success = False
        rows = samples.examples(relations.session, validation) if _rows(validation) else ()
    return Judged(validation, judged.partitions, rows)


def _rows(validation: ExpectationValidationResult) -> int:
    return unexpected(config_of(validation).type, validation.result or {}) or 0


def _position(config: ExpectationConfiguration) -> int:
    return int(meta(config)["position"])
