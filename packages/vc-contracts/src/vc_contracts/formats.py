"""Every contract as data: its fields and its rules. The tables of docs/contracts are made from this file."""

from vc_contracts import rules
from vc_contracts.schema import Field, Kind, Rule, Schema

_FLAGGED = Rule(
    name="control_not_flagged", says="`is_control` that disagrees with `perturbation`", check=rules.control_is_flagged
)
_MODE = Field(place="obs[mode]", kind="integer", stored="int8 in 0..8", low=0, high=8, what="how the perturbation acts")
_DOSE = Field(
    place="obs[dose]",
    kind="number",
    stored="float32",
    what="in the source's unit; NaN for genetic perturbations and controls",
)
_GENES = Field(place="var index", kind="names", what="genes by name")

SCREEN = Schema(
    name="screen",
    form="anndata",
    writer="with 'vc-data convert'",
    fields=(
        Field(
            place="X", kind="matrix", layout=("csr",), finite=True, whole=True, low=0, stored_zeros=False,
            stored="CSR, finite, integer-valued, >= 0, sorted column indices, no stored zeros",
            what="raw UMI counts; any integer or float dtype",
        ),
        Field(place="obs index", kind="names", what="cell names"),
        Field(place="obs[perturbation]", kind="label", what="targets joined by `+` in sorted order; `control`"),
        Field(
            place="obs[target]", kind="label",
            what="the same, without guide, dose or mode; equals `perturbation` unless the label carries more; "
            "`control` for controls",
        ),
        Field(
            place="obs[cell_line]", kind="label",
            what="the context: cell line, donor or cell type, with condition where one exists",
        ),
        Field(place="obs[batch]", kind="label", what="`unknown` where the source has none"),
        Field(place="obs[is_control]", kind="bool", what='true exactly where `perturbation == "control"`'),
        _MODE,
        _DOSE,
        Field(
            place="obs[total_counts]", kind="number", stored="float32, finite, > 0", finite=True, low=0, above=True,
            what="library size over **all** genes the source measured; what CP10k divides by. A cell without a library is "
            "no cell: writers drop it. A row of X may be empty all the same, where the counts lie in genes that are not "
            "in the table",
        ),
        Field(place="obs[dataset]", kind="label", what="key of the source"),
        Field(place="var index", kind="names", what="the gene symbol where known, else the id"),
        Field(place="var[gene_id]", kind="label", what="Ensembl id without version, or empty"),
        Field(place="var[symbol]", kind="label", what="symbol, or empty"),
        Field(
            place="var[measured]", kind="bool",
            what="false: the column is zero-filled because the source (of several: at least one of them) did not measure "
            "the gene",
        ),
        Field(
            place="obs[guide]", kind="label", required=False,
            what="the guide of the cell as the source names it; empty where it has none",
        ),
        Field(
            place="uns[groups]", kind="table", keys=("cell_line", "perturbation", "batch", "start", "stop"),
            what="one row per (cell_line, perturbation, batch): those three columns plus `start`, `stop` (int64)",
        ),
        Field(place="uns[alignment]", kind="json", what="how genes were matched, what was dropped and why"),
        Field(
            place="uns[filters]", kind="json", required=False,
            what="which cells were left out on request: `settings`, `dropped` (why: cells), `on_target` (residuals)",
        ),
        Field(
            place="uns[target_genes]", kind="json", required=False,
            what="which gene each target is, decided once at conversion: `kind` (`gene` or `compound`) and `targets`, an object "
            "that gives for each single target `gene_id`, `symbol`, `how` (the rule that linked it; empty: no gene is known by "
            "that name), `measured`, and the source's `labels` where they differ. Whoever compares targets of several screens "
            "goes by it",
        ),
        Field(
            place="uns[controls_only]", kind="object", required=False, stored="true",
            what="the screen holds control cells and no perturbed ones: a context for a model, not something to split or score",
        ),
        Field(
            place="uns[datasets]", kind="strings", required=False,
            what="keys of the data sets of a screen that joins several, as in `obs[\"dataset\"]`",
        ),
        Field(
            place="varm[measured]", kind="object", required=False, stored='with `uns["datasets"]`: bool, [genes, datasets]',
            what="which data set measured which gene; a column is zero-filled for the cells of those that did not",
        ),
    ),
    rules=(
        _FLAGGED,
        Rule(
            name="controls_and_perturbed", says="no control, or nothing but controls without `uns[\"controls_only\"]`",
            check=rules.controls_and_perturbed
        ),
        Rule(
            name="groups_tile",
            says="`groups` that do not tile the rows in whole numbers, disagree with `obs` or name a (cell_line, "
            "perturbation, batch) twice",
            check=rules.groups_tile,
        ),
        Rule(
            name="datasets_measured",
            says='`varm["measured"]` without `uns["datasets"]`, of another shape or not bool',
            check=rules.datasets_are_measured,
        ),
    ),
)  # fmt: skip

SPLITS = Schema(
    name="splits",
    form="json",
    version="1.2",
    writer="with 'vc-data split'",
    fields=(
        Field(
            place="recipe", kind="text", stored="non-empty string",
            what="who made the split. Known: `by_perturbation`, `kfold`, `follow`, `by_cell_line`, `few_shot`, `gears`, "
            "`cell_load`, `by_scaffold`, `by_dose`",
        ),
        Field(place="seed", kind="integer", stored="whole number", what="the seed that made it"),
        Field(
            place="conditions", kind="list",
            stored='list of `{"cell_line", "perturbation", "part"}`, all strings',
            what='`part` is `train`, `val`, `test` or `unused`; every non-control (cell_line, perturbation) of the screen '
            'exactly once; `unused` carries a `"why"` (string); MAY carry a `"group"` (string) that reports keep apart, '
            "e.g. `combo_seen1`, `seen nowhere`",
        ),
        Field(
            place="controls", kind="object", keys=("input", "reference", "evaluation"),
            stored="object with the lists `input`, `reference`, `evaluation`",
            what="names of control cells, disjoint; three empty lists in a split of effects-v1",
        ),
    ),
    rules=(
        Rule(
            name="conditions_of_a_split",
            says="a condition without its three strings, a `part` that is not one of the four, an `unused` one without "
            "`why`, a `group` that is no string, a condition that occurs twice, an empty `train` or `test`",
            check=rules.conditions_of_a_split,
        ),
        Rule(
            name="controls_of_a_split",
            says="control lists that overlap, are empty (but for all three) or hold other things than names",
            check=rules.controls_of_a_split,
        ),
    ),
)  # fmt: skip

FEATURES = Schema(
    name="features",
    form="anndata",
    writer="with 'vc-featurize'",
    fields=(
        Field(
            place="X", kind="matrix", layout=("dense",), dtype="float32", finite=True, stored="float32, dense, finite",
            what="the vectors; a row that is missing is all zeros",
        ),
        Field(
            place="obs index", kind="names",
            what="the entity: gene symbol, guide sequence or compound id, as in `screen-v1`'s targets",
        ),
        Field(place="obs[kind]", kind="label", allowed=("gene", "guide", "protein", "compound"), what="what a row is"),
        Field(place="obs[source]", kind="label", what="id of the record the vector was made from, or empty"),
        Field(place="obs[missing]", kind="bool", what="true: nothing was found for this entity"),
        Field(
            place="obs[note]", kind="label", required=False,
            what="a remark per row: why it is missing, or what was changed before it was encoded",
        ),
        Field(place="var index", kind="names", what="names of the dimensions"),
        Field(
            place="uns[encoder]", kind="json", keys=("id", "revision", "pooling", "dtype", "dim", "licence"),
            what="`id`, `revision`, `pooling`, `dtype`, `dim`, `licence`",
        ),
    ),
    rules=(
        Rule(name="missing_rows_are_zero", says="`missing` rows that are not zero", check=rules.missing_rows_are_zero),
        Rule(
            name="dim_is_the_columns", says="`dim` that differs from the number of columns", check=rules.dim_is_the_columns
        ),
    ),
)  # fmt: skip

PREDICTIONS = Schema(
    name="predictions",
    form="anndata",
    writer="with the model that made it",
    fields=(
        Field(
            place="X", kind="matrix", finite=True, low=0,
            stored="float32, dense or CSR, finite, >= 0; readers take any real dtype",
            what='the predicted expression in the space that `uns["space"]` names',
        ),
        Field(place="obs[perturbation]", kind="label", what="as in screen-v1"),
        Field(place="obs[cell_line]", kind="label", what="as in screen-v1"),
        Field(place="obs[is_control]", kind="bool", what="as in screen-v1"),
        _GENES,
        Field(place="uns[space]", kind="text", allowed=("log1p_cp10k", "counts"), what="the space of `X`"),
        Field(
            place="uns[unit]", kind="text", allowed=("profile", "cell"),
            what="`profile`: one row per condition, the mean over cells",
        ),
        Field(place="uns[model]", kind="text", what="the model's name"),
        Field(
            place="uns[role]", kind="text", required=False, allowed=("model", "baseline", "reference"),
            what="what the file stands for in a table of scores; a file that states none counts as a model",
        ),
        Field(
            place="layers[sd]", kind="matrix", required=False, finite=True, low=0, stored="float32, >= 0",
            what="predictive standard deviation of the profile, X's shape",
        ),
        Field(
            place="layers[sd_epistemic]", kind="matrix", required=False, finite=True, low=0, stored="float32, >= 0",
            what="the part of `sd` (squares add) that more training data would remove",
        ),
        Field(
            place="obsm[interval_width]", kind="matrix", required=False, layout=("dense",), low=0, may_be_infinite=True,
            stored="with `sd`; float32, [rows, levels], >= 0, rising along a row",
            what="half-width of the central interval of each level, in units of `sqrt(sd^2 + variance of measuring)`; "
            "infinite where the model cannot promise that level",
        ),
        Field(
            place="uns[interval_levels]", kind="levels", required=False,
            stored="with `interval_width`; rising, in (0, 1)",
            what="its levels; a share of a condition's genes, on average over new perturbations",
        ),
        Field(
            place="obs[interval_basis]", kind="label", required=False,
            what="what the widths were calibrated on, for a reader: kind of condition, lines, number of perturbations",
        ),
        Field(
            place="obs[supported]", kind="bool", required=False,
            what="false: the condition lies outside what the model was trained on, the row is an extrapolation",
        ),
    ),
    rules=(
        _FLAGGED,
        Rule(
            name="every_line_has_a_control",
            says="a cell line without control row",
            check=rules.every_line_has_a_control,
        ),
        Rule(
            name="profiles_once",
            says="in a `profile` file, the same (cell_line, perturbation) twice",
            check=rules.profiles_once,
        ),
        Rule(
            name="widths_multiply_sd",
            says="widths without `sd` or without levels, of another shape, or falling along a row",
            check=rules.widths_multiply_sd,
        ),
    ),
)  # fmt: skip

EFFECTS = Schema(
    name="effects",
    form="anndata",
    writer="with the tool that measured it",
    fields=(
        Field(
            place="X", kind="matrix", layout=("dense",), finite=True, stored="float32, dense, finite",
            what='mean change against the controls, in the space that `uns["space"]` names; zero where not measured',
        ),
        Field(place="obs index", kind="names", what="names of the conditions"),
        Field(place="obs[perturbation]", kind="label", what="as in screen-v1"),
        Field(place="obs[target]", kind="label", what="as in screen-v1"),
        Field(place="obs[cell_line]", kind="label", what="as in screen-v1"),
        _MODE,
        _DOSE,
        Field(
            place="obs[n_cells]", kind="number", stored="float32, whole, >= 0", low=0, whole=True,
            what="cells behind the row; NaN where unknown",
        ),
        Field(place="obs[batch]", kind="label", required=False, what="a batch or a replicate of the condition"),
        Field(place="obs[is_control]", kind="bool", required=False, what="as in screen-v1"),
        _GENES,
        Field(place="var[gene_id]", kind="label", required=False, what="Ensembl id without version, or empty"),
        Field(place="var[symbol]", kind="label", required=False, what="symbol, or empty"),
        Field(
            place="var[measured]", kind="bool", required=False,
            what="false: no row measured the gene; absent masks mean that every gene was measured",
        ),
        Field(place="layers[measured]", kind="object", required=False, stored="bool, dense, X's shape",
              what='which row measured which gene; excludes `var["measured"]`'),
        Field(place="layers[se]", kind="matrix", required=False, layout=("dense",), finite=True, low=0,
              stored="float32, >= 0", what="standard error of X; zero where not measured"),
        Field(
            place="uns[space]", kind="text", allowed=("log1p_delta", "log_fold_change", "z", "rank"),
            what="`log1p_delta`: difference of two `log1p_cp10k` profiles; `log_fold_change`: logarithm of a ratio, its "
            'base in `config["base"]` of the header; `z`: standardised against controls; `rank`: 1 for the gene that rises '
            "most, 2 for the next, -1 for the gene that falls most, 0 for genes that are not listed",
        ),
        Field(place="uns[target_genes]", kind="json", required=False, what="as in screen-v1"),
        Field(place="uns[model]", kind="text", required=False, what="of predicted effects: the model's name"),
        Field(place="uns[role]", kind="text", required=False, allowed=("model", "baseline", "reference"),
              what="of predicted effects: as in predictions-v1"),
        Field(place="obs[supported]", kind="bool", required=False, what="of predicted effects: as in predictions-v1"),
    ),
    rules=(
        _FLAGGED,
        Rule(
            name="conditions_once",
            says="the same (cell_line, perturbation, batch) twice",
            check=rules.conditions_once,
        ),
        Rule(
            name="measured_once",
            says="two masks, a mask that is not bool, values other than zero where a gene was not measured",
            check=rules.measured_once,
        ),
    ),
)  # fmt: skip

LATENTS = Schema(
    name="latents",
    form="anndata",
    writer="with the model that made it",
    fields=(
        Field(
            place="X", kind="matrix", layout=("dense",), dtype="float32", finite=True, stored="float32, dense, finite",
            what="activations",
        ),
        Field(place="obs index", kind="names", what="row identities"),
        Field(place="obs[kind]", kind="label", allowed=("cell", "condition", "gene", "action"), what="what a row is"),
        Field(
            place="obs[cell_line]", kind="label", required=False,
            what="of rows of kind `cell`: the context they are averaged in",
        ),
        Field(place="var index", kind="names", what="names of the dimensions"),
        Field(place="uns[site]", kind="text", what="where in the model, e.g. `residual/hidden`"),
        Field(place="uns[model]", kind="text", what="the model's name"),
    ),
)  # fmt: skip

CHECKPOINT = Schema(
    name="checkpoint",
    form="folder",
    writer="by fitting the model again",
    fields=(
        Field(place="params/", kind="object", stored="orbax item", what="what prediction needs"),
        Field(
            place="state/", kind="object", required=False, stored="orbax item",
            what="optimiser, step, random key, loader position",
        ),
        Field(
            place="metrics/", kind="object", required=False, stored="`STAGE.jsonl`",
            what="one JSON object per logged step of each training stage",
        ),
        Field(
            place="config.json", kind="object", keys=("model",), stored="JSON object",
            what="the model's name under `model`, and its configuration",
        ),
        Field(
            place="meta.json", kind="object", keys=("genes", "cell_lines", "metrics"), stored="JSON object",
            what="`contract` (the header, name `checkpoint`), `genes` (the gene axis), `cell_lines`, `metrics` at save, "
            "`commit` or null",
        ),
    ),
)  # fmt: skip

_SCORE_COLUMNS: tuple[tuple[str, Kind, str, str], ...] = (
    ("model", "label", "string", "the scored model; `split_half` is the ceiling, `shuffled_labels`, "
     "`interpolated_duplicate` and others are controls"),
    ("dataset", "label", "string", "what it was scored on"),
    ("split", "label", "string", "what it was scored on"),
    ("metric", "label", "string", "e.g. `pearson_delta`, `vcc2025/des`, `beat/mean_effect`"),
    ("group", "label", "string", "`all`, a class (`single`, `combo`), a third by strength of the measured effect (`weak`, "
     "`medium`, `strong`, from nine conditions on), a cell line, or `condition:<cell line>|<perturbation>`"),
    ("value", "number", "float64", "the value"),
    ("lower", "number", "float64", "lower end of its 95 % interval (NaN where there is none, e.g. per condition)"),
    ("upper", "number", "float64", "upper end of its 95 % interval"),
    ("n", "integer", "int64", "number of conditions behind the value"),
    ("baseline", "number", "float64", "the best baseline's value of the same metric and group (NaN if undefined)"),
    ("ceiling", "number", "float64", "the split-half value of the same metric and group (NaN if undefined)"),
    ("metric_version", "label", "string", "moves when the definition of the metric moves"),
)  # fmt: skip

SCORES = Schema(
    name="scores",
    form="scores",
    writer="with 'vc-eval'",
    fields=tuple(
        Field(place=f"columns[{name}]", kind=kind, stored=stored, what=what)
        for name, kind, stored, what in _SCORE_COLUMNS
    ),
    rules=(
        Rule(name="value_inside_interval", says="a `value` outside its interval", check=rules.value_inside_interval),
        Rule(
            name="score_rows_once",
            says="two rows with the same model, dataset, split, metric and group",
            check=rules.score_rows_once,
        ),
    ),
)

SCHEMAS = {
    schema.name: schema for schema in (SCREEN, SPLITS, FEATURES, PREDICTIONS, EFFECTS, CHECKPOINT, LATENTS, SCORES)
}
