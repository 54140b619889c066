"""What a batch holds. Letters: b sets, cells or profiles; s cells in a set; g genes; k padded non-zeros.

Expression is log1p CP10k (natural logarithm of 1 + counts / library size * 10,000). With `output="padded_sparse"` each
key `NAME` of type `[.., g]` is replaced by `NAME_genes` (int32 `[.., k]`, ascending, padded with g) and `NAME_values`
(float32 `[.., k]`, padded with 0), of one fixed width k for all batches; the padding falls off the end of the axis when JAX
scatters it with `mode="drop"`.

Codes are positions in the loader's tables: `condition` in `loader.conditions`, `perturbation` in `loader.perturbations`,
`cell_line` in `loader.cell_lines`, `batch` in `loader.batches`. Rows are rows of `loader.screens[screen]`, so
`(screen, row)` names a cell.
"""

from typing import NotRequired, TypedDict

import numpy as np


class SetBatch(TypedDict):
    """Sets of cells of one condition, each with as many matched controls (mode `sets`)."""

    x: np.ndarray
    """[b, s, g] float32: perturbed cells."""
    x_input: NotRequired[np.ndarray]
    """[b, s, g] float32: for each perturbed cell a control of the split's `input` list, where that list is asked for."""
    x_reference: NotRequired[np.ndarray]
    """[b, s, g] float32: likewise of the `reference` list."""
    mask: np.ndarray
    """[b, s] bool: false for a cell that only fills a short set (a repeat, with valid values)."""
    screen: np.ndarray
    """[b] int32"""
    condition: np.ndarray
    """[b] int32"""
    perturbation: np.ndarray
    """[b] int32"""
    cell_line: np.ndarray
    """[b] int32"""
    row: np.ndarray
    """[b, s] int64: row of the screen."""
    batch: np.ndarray
    """[b, s] int32"""
    mode: np.ndarray
    """[b, s] int8: how the perturbation acts, as in screen-v1."""
    dose: np.ndarray
    """[b, s] float32"""
    input_row: NotRequired[np.ndarray]
    """[b, s] int64: row of the control; likewise `reference_row`."""
    input_tier: NotRequired[np.ndarray]
    """[b, s] int8: 0 control of the same cell line and batch, 1 of the same cell line only; likewise `reference_tier`."""


class CellBatch(TypedDict):
    """Plain shuffled cells, perturbed and control (mode `cells`)."""

    x: np.ndarray
    """[b, g] float32"""
    mask: np.ndarray
    """[b] bool: false for a repeat that fills the last batch of an epoch."""
    screen: np.ndarray
    """[b] int32"""
    condition: np.ndarray
    """[b] int32"""
    perturbation: np.ndarray
    """[b] int32"""
    cell_line: np.ndarray
    """[b] int32"""
    row: np.ndarray
    """[b] int64"""
    batch: np.ndarray
    """[b] int32"""
    mode: np.ndarray
    """[b] int8"""
    dose: np.ndarray
    """[b] float32"""


class ProfileBatch(TypedDict):
    """Means of log1p CP10k over all cells of a condition (mode `pseudobulk`)."""

    x: np.ndarray
    """[b, g] float32: mean over the condition's cells."""
    x_input: NotRequired[np.ndarray]
    """[b, g] float32: mean of the matched controls: per cell, the mean of its (cell line, batch) controls."""
    x_reference: NotRequired[np.ndarray]
    """[b, g] float32: likewise of the `reference` list; `x - x_reference` is the training effect."""
    mask: np.ndarray
    """[b] bool: false for a repeat that fills the last batch of an epoch."""
    n_cells: np.ndarray
    """[b] int32: cells behind `x`."""
    screen: np.ndarray
    """[b] int32"""
    condition: np.ndarray
    """[b] int32"""
    perturbation: np.ndarray
    """[b] int32"""
    cell_line: np.ndarray
    """[b] int32"""
