"""BioJEPA: a world model of cell states, as published (v0.6) and repaired."""

from vc_model.biojepa.config import STAGE_CONFIGS, STAGES, BioJepaConfig, StageConfig, param_counts

__all__ = ["STAGES", "STAGE_CONFIGS", "BioJepaConfig", "StageConfig", "param_counts"]
