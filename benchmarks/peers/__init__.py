"""The same step by other means. Each module has functions DistillationSetup -> Variant."""
