"""The page that a promotion is decided by shows every figure, and shows names from the data as they are."""

from __future__ import annotations

import jinja2
import pytest

from include.core import templates
from include.promotion import evidence_page
from include.promotion.gates import Verdict
from include.promotion.guardrails import Guardrail, SliceEvidence
from include.promotion.reproduction import Reproduction
from include.spec.gates import Bound

HOSTILE = "<script>\n| [x](javascript:y) `z` _a_ # **b**"
SAME = Reproduction(rows=4000, largest_difference=1.2e-9, microseconds_per_row=1.0, megabytes=1.0)
ALONE = Verdict(promote=True, reason="there is no champion yet", metric="auc", value=0.7123456, n_days=3, n_rows=12_345)


def test_a_verdict_without_a_champion_is_four_paragraphs() -> None:
    assert evidence_page.markdown(ALONE, SAME, [("model card", "http://mlflow:5000/#/runs/a_b")]) == (
        "**The gates recommend promotion**: there is no champion yet.\n"
        "\n"
        "| figure | challenger | champion | difference, 95 % interval | blocks | rows |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| auc | 0.7123 | none yet |  | 3 | 12,345 |\n"
        "\n"
        "A new process reproduced 4,000 stored predictions to within 1e-09.\n"
        "\n"
        "- model card: http://mlflow:5000/#/runs/a_b\n"
    )


def test_names_from_the_data_stay_text() -> None:
    verdict = ALONE.model_copy(
        update={
            "promote": False,
            "reason": HOSTILE,
            "metric": HOSTILE,
            "remarks": (HOSTILE,),
            "guardrails": (Guardrail.of(HOSTILE, 0.3, Bound(max=0.2)),),
            "slices": {HOSTILE: SliceEvidence(metric=HOSTILE, challenger=0.1, champion=None, n_rows=9, n_days=1)},
        }
    )
    page = evidence_page.markdown(verdict, SAME, [(HOSTILE, f"http://mlflow:5000/{HOSTILE}")])
    escaped = r"\<script\> \| \[x\](javascript:y) \`z\` \_a\_ \# \*\*b\*\*"
    assert page.count(escaped) == 7
    rest = page.replace(escaped, "")
    assert not set("<>[]`\\") & set(rest)
    assert "The gates refuse promotion" in rest


def test_a_value_that_a_template_needs_and_does_not_get_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="links"):
        templates.render(
            evidence_page._TEMPLATES,
            "evidence.md.j2",
            verdict=ALONE,
            reproduced=SAME,
            comparison=(),
            guardrails=[],
            slices=[],
        )
