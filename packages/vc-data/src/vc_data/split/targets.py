"""Which targets of several screens are one; the rules are `vc_contracts.targets`, which every package reads them by."""

from vc_contracts.targets import TargetTable, read_targets, target_keys, targets_of, tell_unproven, unproven_of

__all__ = ["TargetTable", "read_targets", "target_keys", "targets_of", "tell_unproven", "unproven_of"]
