"""The vocabulary every model here speaks: actions, contexts, conditions and the table of measured effects.

A *context* is a population of control cells of a cell line; an *action* is what is done to it; a *condition* is a
(cell line, action) pair. An `EffectTable` holds the measured effects of training conditions at the level of
pseudobulks, because the effective sample size is the number of conditions, not of cells.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from vc_contracts.targets import TargetTable

from vc_model.contracts.features import FeatureBank
from vc_model.errors import TableError
from vc_model.stored import stored

MODES = ("crispri", "crispra", "overexpression", "knockout", "inhibitor", "agonist", "degrader", "binder", "unknown")
UNKNOWN_MODE = 8


@stored
@dataclass(frozen=True, order=True)
class Action:
    """What is done to the cells; no targets means nothing is done.

    Targets are kept sorted, so an action does not depend on the order in which its targets were named.

    Attributes:
        targets: Gene symbols or compound ids.
        mode: How it acts, 0..8 (see `MODES`).
        dose: In the source's unit; 0 where there is none (genetic perturbations).

    Raises:
        TableError: For a repeated or empty target, a mode outside 0..8, or a dose that is not finite and >= 0.
    """

    targets: tuple[str, ...]
    mode: int = UNKNOWN_MODE
    dose: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(sorted(self.targets)))
        if len(set(self.targets)) < len(self.targets) or "" in self.targets:
            raise TableError(f"Action {self.targets}: expected different, named targets. Name each target once.")
        if not 0 <= self.mode < len(MODES):
            raise TableError(f"Action {self.targets}: expected a mode in 0..{len(MODES) - 1}, found {self.mode}.")
        if not (math.isfinite(self.dose) and self.dose >= 0):
            raise TableError(f"Action {self.targets}: expected a finite dose >= 0, found {self.dose}. Use 0 for none.")

    @property
    def label(self) -> str:
        """The targets joined by `+`, or `control`."""
        return "+".join(self.targets) or "control"


@stored
@dataclass(frozen=True, eq=False)
class Contexts:
    """What control cells tell about each cell line; nothing here was measured on a perturbed cell.

    Attributes:
        genes: [g] names.
        cell_lines: [c] names.
        input_cg: [c, g] float32, mean log1p CP10k of the `input` controls.
        base_cg: [c, g] float32, mean log1p CP10k of the `reference` and `input` controls together. Effects are measured
            against these, so the sum of both is free of the controls' sampling noise.
        sigma2_cg: [c, g] float32, variance of log1p CP10k over control cells within batches.
        detected_cg: [c, g] float32, share of control cells with a count.
        loadings_cgk: [c, g, k] float32, correlation of each gene with the co-expression components, within the line.
        basis_gk: [g, k] float32, the directions of these components over standardised genes (shared by all lines).
        vector_cv: [c, v] float32, what describes a line to the model, where that comes from outside (an encoder of cells,
            say); None: its `input_cg`.
        space: What effects are: `log1p_delta` of a screen's cells, or what a table of effects says of itself. Tables hold no
            control profiles; theirs are zeros.
        names: What targets and genes go by elsewhere, as `vc_contracts.targets.TargetTable.to_text` writes it; '' where
            nothing is known. Everything that brings names of its own is read through `call`.
    """

    genes: tuple[str, ...]
    cell_lines: tuple[str, ...]
    input_cg: np.ndarray
    base_cg: np.ndarray
    sigma2_cg: np.ndarray
    detected_cg: np.ndarray
    loadings_cgk: np.ndarray
    basis_gk: np.ndarray
    vector_cv: np.ndarray | None = None
    space: str = "log1p_delta"
    names: str = ""

    @property
    def has_profiles(self) -> bool:
        """Whether control cells were seen; a table of effects has none."""
        return bool(self.detected_cg.any())

    @cached_property
    def _table(self) -> TargetTable:
        return TargetTable.from_text(self.names)

    def call(self, name: str) -> str:
        """What the training screen calls a target or gene that is spelled otherwise elsewhere; else the name itself."""
        return name if name in self.gene_position else self._table.call(name) or name

    def call_target(self, name: str, screen: TargetTable) -> str:
        """What the training screen calls a target of another screen; else the name itself."""
        return self._table.call_target(name, screen) or name

    @property
    def describing_cv(self) -> np.ndarray:
        """[c, v] what describes each line."""
        return self.input_cg if self.vector_cv is None else self.vector_cv

    def described_by(self, vectors: Mapping[str, np.ndarray]) -> "Contexts":
        """The same contexts with vectors from outside for what describes a line.

        Args:
            vectors: Cell line -> vector, for every line here.

        Raises:
            TableError: If a line has none, or the vectors are not finite and of one length.
        """
        absent = [line for line in self.cell_lines if line not in vectors]
        if absent:
            raise TableError(f"contexts: expected a vector for every cell line, found none for {absent[:5]}.")
        own = [np.asarray(vectors[line], dtype=np.float32) for line in self.cell_lines]
        if len({vector.shape for vector in own}) > 1 or own[0].ndim != 1 or not np.isfinite(np.stack(own)).all():
            raise TableError("contexts: expected finite vectors of one length, found others.")
        return replace(self, vector_cv=np.stack(own))

    @cached_property
    def gene_position(self) -> dict[str, int]:
        """Gene name -> column."""
        return {name: column for column, name in enumerate(self.genes)}

    def positions(self, cell_line: Sequence[str] | np.ndarray) -> np.ndarray:
        """Row of each cell line, [p] int.

        Raises:
            TableError: If a line is not here.
        """
        order = {name: row for row, name in enumerate(self.cell_lines)}
        absent = sorted({str(name) for name in np.unique(np.asarray(cell_line, dtype=str))} - set(order))
        if absent:
            raise TableError(
                f"Cell line(s) {absent[:5]!r}: expected one of {list(self.cell_lines)[:10]!r}. "
                "Give the conditions contexts that hold control cells of every line."
            )
        return np.array([order[str(name)] for name in cell_line], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Conditions:
    """(Cell line, action) pairs to predict or that were measured.

    Attributes:
        cell_line: [p] str.
        actions: p actions.
        contexts: Control profiles of the lines; None means those the model was fitted with.
        perturbation: p labels as the screen spells them; by default the actions' labels.
    """

    cell_line: np.ndarray
    actions: tuple[Action, ...]
    contexts: Contexts | None = None
    perturbation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell_line", np.asarray(self.cell_line, dtype=object).astype(str))
        object.__setattr__(self, "actions", tuple(self.actions))
        labels = tuple(self.perturbation) or tuple(action.label for action in self.actions)
        object.__setattr__(self, "perturbation", labels)
        if not len(self.cell_line) == len(self.actions) == len(labels):
            raise TableError(
                f"Conditions: expected as many cell lines as actions and labels, found {len(self.cell_line)}, "
                f"{len(self.actions)} and {len(labels)}."
            )

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def labels(self) -> tuple[str, ...]:
        """`cell line|perturbation` per condition."""
        return tuple(f"{line}|{name}" for line, name in zip(self.cell_line, self.perturbation, strict=True))

    @cached_property
    def sizes(self) -> np.ndarray:
        """[p] int, number of targets."""
        return np.array([len(action.targets) for action in self.actions], dtype=np.int64)

    def subset(self, rows: np.ndarray | slice) -> "Conditions":
        """The given rows (indices, a mask or a slice), in that order."""
        rows = np.arange(len(self))[rows]
        return Conditions(
            self.cell_line[rows],
            tuple(self.actions[i] for i in rows),
            self.contexts,
            tuple(self.perturbation[i] for i in rows),
        )

    def contexts_or(self, contexts: Contexts) -> Contexts:
        """The conditions' own contexts where they bring some, else the given ones (a model's).

        Raises:
            TableError: If both exist and differ in genes.
        """
        if self.contexts is None:
            return contexts
        if self.contexts.genes != contexts.genes:
            raise TableError(
                f"Conditions: expected contexts over the model's {len(contexts.genes)} genes in its order, found "
                f"{len(self.contexts.genes)} others. Read them with load_conditions."
            )
        if self.contexts.describing_cv.shape[1] != contexts.describing_cv.shape[1] or (
            (self.contexts.vector_cv is None) != (contexts.vector_cv is None)
        ):
            raise TableError(
                "Conditions: expected lines described by the kind of vector that the model was fitted with, found another. "
                "Give predict the same `contexts` as fit."
            )
        return self.contexts

    def components(self) -> tuple[np.ndarray, "Conditions"]:
        """Take every condition apart into its single targets.

        Returns:
            owner_r: [r] the condition each component belongs to.
            singles: r conditions of one target each, same line, mode and dose.
        """
        return self._components

    @cached_property
    def _components(self) -> tuple[np.ndarray, "Conditions"]:
        if (self.sizes == 1).all():
            return np.arange(len(self)), Conditions(self.cell_line, self.actions, self.contexts)
        parts = [(row, target) for row, action in enumerate(self.actions) for target in action.targets]
        owner_r = np.array([row for row, _ in parts], dtype=np.int64)
        actions = tuple(Action((target,), self.actions[row].mode, self.actions[row].dose) for row, target in parts)
        return owner_r, Conditions(self.cell_line[owner_r], actions, self.contexts)


@dataclass(frozen=True, eq=False)
class EffectTable:
    """Measured effects of training conditions.

    Attributes:
        contexts: Control profiles of every cell line of the screen (also of lines without training conditions).
        conditions: The p training conditions.
        delta_pg: [p, g] float32, mean log1p CP10k of the perturbed cells minus all batch-matched controls that are not kept
            for evaluation (`reference` and `input` together). Every model is fitted on these.
        half_pg: [p, g] float32, the same cells minus batch-matched `reference` controls alone.
        check_pg: [p, g] float32, the same cells minus batch-matched `input` controls alone. Effects against one set of
            controls share its noise, so a prediction made of some looks good on the others; out-of-fold predictions
            are therefore made of `half_pg` (`half`) and judged on these.
        n_cells_p: [p] float32, perturbed cells behind each row.
        n_controls_p: [p] float32, effective number of control cells behind `delta_pg`, 1 / sum_b (w_b^2 / n_b).
        n_half_p: [p] float32, the same for `half_pg`.
        n_check_p: [p] float32, the same for `check_pg`.
        bank: Features of perturbed entities from outside, or None.
        more_banks: Further sources of such features; each is judged by itself.
        notes: Counts worth telling the user, e.g. batches that had no reference control.
    """

    contexts: Contexts
    conditions: Conditions
    delta_pg: np.ndarray
    half_pg: np.ndarray
    check_pg: np.ndarray
    n_cells_p: np.ndarray
    n_controls_p: np.ndarray
    n_half_p: np.ndarray
    n_check_p: np.ndarray
    bank: FeatureBank | None = None
    more_banks: tuple[FeatureBank, ...] = ()
    notes: dict[str, int] = field(default_factory=dict)
    # Not an argument: `replace` gives every changed table an empty one.
    _memo: dict[Hashable, Any] = field(default_factory=dict, repr=False, init=False)

    def __len__(self) -> int:
        return len(self.conditions)

    @property
    def genes(self) -> tuple[str, ...]:
        """[g] gene names."""
        return self.contexts.genes

    @property
    def cell_lines(self) -> tuple[str, ...]:
        """Names of all lines with control cells, trained or not."""
        return self.contexts.cell_lines

    @property
    def banks(self) -> tuple[FeatureBank, ...]:
        """All sources of features from outside."""
        return self.more_banks if self.bank is None else (self.bank, *self.more_banks)

    @property
    def trained_lines(self) -> tuple[str, ...]:
        """Sorted names of the lines that have training conditions."""
        return self.once("trained_lines", lambda: tuple(sorted(set(self.conditions.cell_line.tolist()))))

    @property
    def line_p(self) -> np.ndarray:
        """[p] int, position of each row's line in `trained_lines`."""
        return self.once("line_p", lambda: np.searchsorted(np.array(self.trained_lines), self.conditions.cell_line))

    @property
    def single_p(self) -> np.ndarray:
        """[p] bool, rows with exactly one target."""
        return self.once("single_p", lambda: self.conditions.sizes == 1)

    @property
    def gram_pp(self) -> np.ndarray:
        """[p, p] float64, inner products of the effects over genes; subsets take theirs from their parent."""
        return self.once("gram_pp", lambda: (self.delta_pg @ self.delta_pg.T).astype(np.float64))

    @property
    def gene_position(self) -> dict[str, int]:
        """Gene name -> column."""
        return self.contexts.gene_position

    @property
    def half(self) -> "EffectTable":
        """The table against `reference` controls alone: for predictions that are judged on `check_pg`."""
        return self.once("half", lambda: self.with_effects(self.half_pg, n_controls_p=self.n_half_p))

    def with_effects(self, delta_pg: np.ndarray, **changes: Any) -> "EffectTable":
        """The same conditions with other effects; nothing that was derived from the old ones stays.

        Args:
            delta_pg: [p, g] what models are to be fitted on.
            **changes: Other fields to change.
        """
        return replace(self, delta_pg=delta_pg, **changes)

    def noise_pg(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Variance of measurement of `check_pg`, sigma2 (1/n + 1/n_check), [rows, g] float32."""
        sigma2 = self.contexts.sigma2_cg[self.contexts.positions(self.conditions.cell_line[rows])]
        return sigma2 * (1 / self.n_cells_p[rows] + 1 / self.n_check_p[rows])[:, None].astype(np.float32)

    def subset(self, rows: np.ndarray) -> "EffectTable":
        """The table of the given rows alone: nothing in it depends on the other rows."""
        rows = np.arange(len(self))[rows]
        table = replace(
            self,
            conditions=self.conditions.subset(rows),
            delta_pg=self.delta_pg[rows],
            half_pg=self.half_pg[rows],
            check_pg=self.check_pg[rows],
            n_cells_p=self.n_cells_p[rows],
            n_controls_p=self.n_controls_p[rows],
            n_half_p=self.n_half_p[rows],
            n_check_p=self.n_check_p[rows],
        )
        # Subsets take their inner products from the whole table.
        table._memo["gram_pp"] = self.gram_pp[np.ix_(rows, rows)]
        return table

    def described_by(self, vectors: Mapping[str, np.ndarray]) -> "EffectTable":
        """The same table with lines described by vectors from outside (`Contexts.described_by`)."""
        contexts = self.contexts.described_by(vectors)
        return replace(self, contexts=contexts, conditions=replace(self.conditions, contexts=contexts))

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what `make` gives, made at most once per table; for quantities several models derive from it."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def recall(self, key: Hashable) -> Any:
        """What `once` made under this key, or None where it made nothing."""
        return self._memo.get(key)
