"""Features: compute snapshots, tell Feast what they are, bring the newest ones online."""

from __future__ import annotations

from typing import Any

from lifecycle.operators.base import LifecycleOperator, SpanOperator


class ComputeFeaturesOperator(SpanOperator):
    """Stage every feature view's snapshots for a range of partitions, in one pass."""

    def execute(self, context: Any) -> dict[str, str]:
        from include.steps import features

        workspace = self.workspace()
        return features.stage(workspace, self.span["first"], self.span["last"], self.attempt_of(context, workspace))


class MaterializeOperator(SpanOperator):
    """Apply the Feast definitions if they changed, then bring the snapshots of ``span`` online.

    An online value is replaced by a newer one only, so a backfill of old partitions leaves it alone."""

    def execute(self, context: Any) -> dict[str, Any]:
        from include.steps import features
        from lifecycle.context import announce

        workspace = self.workspace()
        done = features.materialize(workspace, self.span["first"], self.span["last"])
        announce(context, self.outlets, self.span["last"])
        return done


class ApplyFeatureDefinitionsOperator(LifecycleOperator):
    """Register the use case's entities, views and service with Feast, and read them back."""

    def execute(self, context: Any) -> list[str]:
        from include.steps import features

        return features.apply_definitions(self.workspace())
