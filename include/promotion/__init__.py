"""The judgement on a challenger and the ledger of champions.

Imports only core, spec, lake, training and monitoring. Nothing here registers, loads or promotes a model: the steps do
that with these verdicts.
"""
