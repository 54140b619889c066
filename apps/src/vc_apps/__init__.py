"""The `vc` command: the only place where the packages meet.

`quickstart` runs the whole job (simulate or read, convert, split, fit, predict, score, report); `models` fits and
predicts every model on one split; `outputs` makes a run folder appear whole or not at all; `submit` writes
predictions as the cells that the Virtual Cell Challenge's tools accept.
"""

__version__ = "0.1.0"
