"""The spec of monitoring: thresholds, lengths of windows, when to retrain."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from include.spec.values import Values

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class DriftSpec(Values):
    """The rule by which a column, and a whole window, counts as drifted.

    The defaults are Evidently's, so that the decision and its report judge by the same rule.

    Attributes:
        window_periods: partitions that one window compares, the newest and those before it; of days whole weeks,
            or the days of the week alone would differ from any reference.
        distance_threshold: least Wasserstein distance, in reference standard deviations, that counts as
            drift of a number where the reference has more than 1,000 values.
        category_threshold: least Jensen-Shannon distance that does for categories.
        p_value_threshold: p-value below which a smaller reference counts as drifted.
        drift_share: share of drifted columns from which the window drifts.
        exclude: columns left out of the decision because they always differ from a reference that is
            another season (day of year, month).
    """

    window_periods: int = Field(default=7, ge=1)
    distance_threshold: float = Field(default=0.1, gt=0.0)
    category_threshold: float = Field(default=0.1, gt=0.0)
    p_value_threshold: float = Field(default=0.05, gt=0.0, lt=1.0)
    drift_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    exclude: tuple[str, ...] = ()


class QualitySpec(Values):
    """The rule by which past predictions, judged by their outcomes, count as bad.

    Attributes:
        window_periods: partitions whose predictions one window judges; one is too few for an AUC.
        min_rows: fewer judged rows than this give figures but no violation.
        max_calibration_gap: largest accepted difference of predicted and observed share, either way; of classes, that
            of the mean probability of the predicted class and the share of rows where it was right.
        max_worse: largest accepted worsening of the training's metric, as a share of what the model's evidence
            promised, counted from the worse end of the promised interval; null accepts any.
        max_bias: largest accepted mean error of predicted numbers, either way, in units of the promised rmse
            (regression only).
        min_auc: smallest accepted area under the ROC curve; of classes, the mean of each against the others.
        min_accuracy: smallest accepted share of rows whose predicted class was right (multiclass only); left out, any.
        min_recall: by class, the smallest accepted share of its rows that were predicted to be of it (multiclass
            only), judged in windows with ``min_rows`` rows of the class. A class that is left out is shown without a
            threshold.
        max_unknown_class_share: largest accepted share of rows whose outcome is of a class that the model does not know
            (multiclass only).
        beat_constant: whether a log loss above that of the training set's constant rate is a violation.
    """

    window_periods: int = Field(default=14, ge=1)
    min_rows: int = Field(default=500, ge=1)
    max_calibration_gap: Share = 0.15
    max_worse: float | None = Field(default=0.5, ge=0.0)
    max_bias: float = Field(default=0.5, gt=0.0)
    min_auc: Share = 0.55
    min_accuracy: Share | None = None
    min_recall: dict[str, Share] = {}
    max_unknown_class_share: Share = 0.01
    beat_constant: bool = True


class RetrainingRule(Values):
    """The rule by which violated windows ask for a new training.

    Attributes:
        windows: how many of the newest windows are looked at, one partition each.
        violations: how many of them must violate; the newest always must.
        cooldown_periods: partitions that must lie between the newest window and both the last request and the
            end of the champion's training data.
    """

    windows: int = Field(default=5, ge=1)
    violations: int = Field(default=2, ge=1)
    cooldown_periods: int = Field(default=14, ge=0)


class MonitoringSpec(Values):
    """The monitoring part of a use case."""

    drift: DriftSpec = DriftSpec()
    quality: QualitySpec = QualitySpec()
    retraining: RetrainingRule = RetrainingRule()
