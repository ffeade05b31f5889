"""Errors a person may meet. Each message says what is wrong, where, and what to do now."""


class LifecycleError(Exception):
    """Base of every error that this project raises on purpose."""


class SettingsError(LifecycleError):
    """An address, secret or limit is missing or malformed."""


class SpecError(LifecycleError):
    """A use-case spec or expectation suite is wrong; carries every fault, not the first."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class ConfError(LifecycleError):
    """A DAG run was asked for something that its parameters do not allow."""


class UnknownPartition(LifecycleError):
    """A partition key is malformed or lies outside the source's history."""


class SourceError(LifecycleError):
    """An upstream file is missing, truncated, or not of the promised shape."""


class MissingPartitions(LifecycleError):
    """Input partitions are unpublished and nobody is producing them."""


class AuditFailed(LifecycleError):
    """A critical expectation failed: the stage is kept and nothing was published."""


class StagePublished(LifecycleError):
    """The rows of a stage were published already, so they cannot be audited any more."""


class AuditEngineError(LifecycleError):
    """An expectation could not be evaluated, which says nothing about the data."""


class LateAttempt(LifecycleError):
    """An attempt that was already superseded tried to publish."""


class PublishConflict(LifecycleError):
    """Another writer kept changing the same partitions until the retries ran out."""


class StaleStage(LifecycleError):
    """A partition changed after rows were staged for it, so publishing them would undo that change."""


class RowsRefused(LifecycleError):
    """Rows cannot be stored: they have no partition that was asked for, or a type or value that no table can hold."""


class SchemaMismatch(LifecycleError):
    """Staged rows do not have the columns of the table they are meant for."""


class ContentDiffers(LifecycleError):
    """Partitions of the lake do not hold the rows that their publish records say; carries every difference."""

    def __init__(self, differences: list[str]) -> None:
        self.differences = list(differences)
        super().__init__("\n".join(self.differences))


class SpanDependent(LifecycleError):
    """Rows of a partition differ by the span that they are computed in; carries every difference."""

    def __init__(self, differences: list[str]) -> None:
        self.differences = list(differences)
        super().__init__("\n".join(self.differences))


class DefinitionChanged(LifecycleError):
    """Rows were computed by another query than those beside them, or than those that a model learnt from."""


class LinkInLake(LifecycleError):
    """A symbolic link lies where files are deleted: what it points to would be deleted too."""


class TrainingError(LifecycleError):
    """A model cannot be trained from this data or with these settings."""


class DigestMismatch(LifecycleError):
    """A model's files are not the ones that were registered."""


class SignatureRefused(LifecycleError):
    """A model version is not signed by a trusted key, or it is not the one that the ledger names."""


class NoChampion(LifecycleError):
    """No promoted model may score this partition."""


class PromotionConflict(LifecycleError):
    """The champion changed while a promotion was being decided."""


class AcceleratorError(LifecycleError):
    """There is no place to run a worker, or the worker failed."""


class LeaseLost(LifecycleError):
    """A worker tried to write although its GPU or CPU slot has another holder by now."""
