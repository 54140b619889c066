"""Draws a simulated world: pathways, the network that follows them, and cell lines.

Decides what is like what: which genes have similar effects, and how much cell lines differ. `network.py` says what these
quantities mean.
"""

import numpy as np

from vc_data.simulate.config import DIFFICULTIES, SimulatorConfig
from vc_data.simulate.network import ACTIVE_LOG_LEVEL, CellLine, Gates, World

LOOP_GAIN = 0.5
"""Spectral radius given to the regulator-to-regulator part; below 1 makes the steady state unique."""
MAX_LOOP_GAIN = 0.9
"""Spectral radius above which a cell line's regulator-to-regulator part is scaled down."""
SILENT_LOG_SHIFT = -6.0
"""Added to the log level of a gene that a cell line hardly expresses."""
COMPLEX_SHARE = 0.35
"""Share of pathways that act as one complex: losing any member does much the same."""
HOUSEKEEPING_RESPONSE = 0.3
"""Factor on edges into housekeeping genes, which are regulated less than others."""
REPRESSOR_SHARE = 0.1
"""Share of regulators in the other pathways whose effect has the opposite sign."""


def make_world(config: SimulatorConfig, rng: np.random.Generator) -> World:
    """Draw genes, pathways, network and cell lines.

    Pathways have regulators and a template of downstream genes; a regulator follows the template of its pathway for
    the share `coherence` of its squared weights and has targets of its own for the rest, so that pathway membership
    is informative about an effect and does not determine it.

    Args:
        config: The screen.
        rng: Source of everything random here.

    Returns:
        The world.
    """
    n_genes = config.n_genes
    width = len(str(n_genes))
    log_level, popularity = rng.normal(0.0, config.basal_log_sd, n_genes), rng.lognormal(0.0, 0.6, n_genes)
    member_pathway, member_gene = _memberships(config, popularity, rng)
    is_complex = rng.random(config.n_pathways) < COMPLEX_SHARE
    regulators, regulator_pathway = _regulators(config, log_level, member_pathway, member_gene, is_complex, rng)
    housekeeping = _housekeeping(config, regulators, rng)
    programs = _programs(config, member_pathway, member_gene, rng)
    module = np.full(n_genes, len(programs))
    for m, (genes, _) in enumerate(programs):
        module[genes] = m

    source, target, weight = _edges(
        config, programs, member_pathway, member_gene, regulators, regulator_pathway, is_complex, rng
    )
    weight = np.where(np.isin(target, housekeeping), HOUSEKEEPING_RESPONSE, 1.0) * weight
    gates = _gates(config, regulators, regulator_pathway, source, target, weight, rng)
    is_regulator = np.isin(np.arange(n_genes), regulators)
    gates = _scale_gates(n_genes, gates, is_regulator)
    weight = _scale_edges(n_genes, source, target, weight, gates, is_regulator, LOOP_GAIN)

    in_complex = np.isin(np.arange(n_genes), regulators[is_complex[regulator_pathway]])
    # Essential genes are machinery; the others are few, so that a broad effect is not deadly in a large transcriptome.
    is_essential = rng.random(n_genes) < np.where(in_complex, 0.3, min(0.05, 100 / n_genes))
    essentiality = np.where(is_essential, rng.gamma(2.0, 0.4, n_genes), 0.0)
    stress = np.where(rng.random(n_genes) < 0.06, rng.normal(0.0, 1.0, n_genes), 0.0)
    lethal_a, lethal_b = _pairs_within_pathways(regulators, regulator_pathway, 0.8, rng)
    lines = tuple(
        _cell_line(
            name, config, log_level, housekeeping, module, member_pathway, member_gene, regulators, regulator_pathway,
            (source, target, weight), gates, stress, essentiality, rng,
        )
        for name in config.cell_lines
    )  # fmt: skip
    return World(
        config=config,
        gene_names=np.array([f"G{i + 1:0{width}d}" for i in range(n_genes)]),
        gene_ids=np.array([f"ENSG{90_000_000_000 + i + 1}" for i in range(n_genes)]),
        member_pathway=member_pathway,
        member_gene=member_gene,
        regulators=regulators,
        regulator_pathway=regulator_pathway,
        source=source,
        target=target,
        weight=weight,
        gates=gates,
        lethal_a=lethal_a,
        lethal_b=lethal_b,
        lethal_cost=rng.gamma(4.0, 0.4, len(lethal_a)),
        shift=config.shift_scale * rng.standard_t(4, n_genes),
        dispersion=_dispersion(config, lines, rng),
        lines=lines,
    )


def _dispersion(config: SimulatorConfig, lines: tuple[CellLine, ...], rng: np.random.Generator) -> np.ndarray:
    """Parametric trend `a + b / mean` (Love, Huber and Anders 2014, equation 6) with log-normal scatter."""
    share = np.mean([np.exp(line.log_level) / np.exp(line.log_level).sum() for line in lines], axis=0)
    trend = config.dispersion + config.dispersion_over_mean / (config.depth_median * share)
    return np.minimum(trend * rng.lognormal(0.0, 0.4, config.n_genes), 20.0)


def _memberships(config: SimulatorConfig, popularity: np.ndarray, rng: np.random.Generator):
    """Overlapping pathways of log-normal size; about half of the genes are in at least one."""
    n_genes, n_pathways = config.n_genes, config.n_pathways
    sizes = rng.lognormal(0.0, 0.5, n_pathways)
    sizes = np.clip(np.round(sizes / sizes.sum() * 0.65 * n_genes), 6, n_genes // 3).astype(int)
    share = popularity / popularity.sum()
    genes = [np.sort(rng.choice(n_genes, size, replace=False, p=share)) for size in sizes]
    return np.repeat(np.arange(n_pathways), sizes), np.concatenate(genes)


def _regulators(config, log_level, member_pathway, member_gene, is_complex, rng):
    """Regulators of each pathway, expressed genes first; a gene regulates for one pathway only."""
    home: dict[int, int] = {}
    for k in rng.permutation(config.n_pathways):
        genes = member_gene[member_pathway == k]
        n_wanted = int(np.clip(round((0.5 if is_complex[k] else 0.3) * len(genes)), 2, 14))
        # Expressed members are preferred, but not strictly: some regulators are silent in a line and do nothing there.
        ranked = genes[np.argsort(-(log_level[genes] + rng.normal(0.0, 1.5, len(genes))))]
        for gene in [g for g in ranked if g not in home][:n_wanted]:
            home[int(gene)] = int(k)
    regulators = np.array(sorted(home))
    return regulators, np.array([home[g] for g in regulators])


def _programs(config, member_pathway, member_gene, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """Genes that are regulated together: per program the gene indices and their signed weights.

    Half of a program comes from two pathways, half from anywhere, so that gene sets tell something about targets, too.
    """
    n_genes = config.n_genes
    programs = []
    for _ in range(max(4, round(config.n_pathways / 3))):
        # Programs grow more slowly than the transcriptome: 3 % of 2,000 genes, 1.6 % of 18,000.
        size = 0.03 * n_genes * (2000 / n_genes) ** 0.3 * rng.lognormal(0.0, 0.6)
        size = int(np.clip(round(size), 5, n_genes // 6))
        near = member_gene[np.isin(member_pathway, rng.choice(config.n_pathways, 2, replace=False))]
        genes = np.union1d(rng.permutation(near)[: size // 2], rng.choice(n_genes, size - size // 2, replace=False))
        sign = np.where(rng.random(len(genes)) < 0.2, -1.0, 1.0)
        programs.append((genes, sign * rng.lognormal(0.0, 0.5, len(genes))))
    return programs


def _housekeeping(config, regulators, rng) -> np.ndarray:
    """Genes that regulate nothing and take most of the UMIs."""
    if config.housekeeping_share == 0:
        return np.zeros(0, int)
    others = np.setdiff1d(np.arange(config.n_genes), regulators)
    return np.sort(rng.choice(others, min(150, max(1, config.n_genes // 20)), replace=False))


def _edges(config, programs, member_pathway, member_gene, regulators, regulator_pathway, is_complex, rng):
    """Sparse signed edges: the programs of the pathway, thinned, plus targets of the regulator's own."""
    n_genes = config.n_genes
    coherence = DIFFICULTIES[config.difficulty].coherence
    sources, targets, weights = [], [], []
    for k in range(config.n_pathways):
        template = np.zeros(n_genes)
        chosen = 1 + rng.choice(len(programs) - 1, 1 + rng.binomial(2, 0.4), replace=False)
        for rank, m in enumerate(chosen):
            genes, values = programs[m]
            template[genes] += rng.choice([-1.0, 1.0]) * 0.7**rank * values
        # The first program (growth, stress response) answers most losses in the same direction.
        genes, values = programs[0]
        template[genes] += rng.uniform(0.0, 1.2) * (1.0 if rng.random() < 0.9 else -1.0) * values
        members = member_gene[member_pathway == k]
        template[members] += np.where(rng.random(len(members)) < 0.4, rng.normal(0.0, 0.6, len(members)), 0.0)
        for gene in regulators[regulator_pathway == k]:
            strength = config.effect_scale * rng.lognormal(0.0, 0.6)
            if not is_complex[k] and rng.random() < REPRESSOR_SHARE:
                strength = -strength
            shared = np.where(rng.random(n_genes) < rng.uniform(0.8, 1.0), template, 0.0)
            n_own = min(n_genes // 4, max(2, round(np.count_nonzero(shared) * rng.pareto(2.0))))
            own = np.zeros(n_genes)
            own[rng.choice(n_genes, n_own, replace=False)] = rng.choice([-1.0, 1.0], n_own) * rng.lognormal(
                0.0, 0.5, n_own
            )
            # The squared weights of the column stay what the template alone would give; `coherence` splits them.
            own *= np.linalg.norm(shared) / np.linalg.norm(own)
            column = np.sqrt(coherence) * shared + np.sqrt(1 - coherence) * own
            column[gene] = 0.0
            rows = np.flatnonzero(column)
            sources.append(np.full(len(rows), gene))
            targets.append(rows)
            weights.append(strength * column[rows])
    return np.concatenate(sources), np.concatenate(targets), np.concatenate(weights)


def _pairs_within_pathways(regulators, regulator_pathway, per_regulator: float, rng):
    """Distinct unordered pairs of regulators, mostly of one pathway; [l], [l]."""
    n_pairs = round(per_regulator * len(regulators))
    a = rng.integers(0, len(regulators), n_pairs)
    b = rng.integers(0, len(regulators), n_pairs)
    for i in np.flatnonzero(rng.random(n_pairs) < 0.75):
        peers = np.flatnonzero(regulator_pathway == regulator_pathway[a[i]])
        b[i] = rng.choice(peers)
    low, high = np.minimum(a, b), np.maximum(a, b)
    unique = np.unique(np.stack([low, high])[:, low != high], axis=1)
    return regulators[unique[0]], regulators[unique[1]]


def _gates(config, regulators, regulator_pathway, source, target, weight, rng) -> Gates:
    """Interactions of regulator pairs on targets of either, about 150 genes at most; synergy and redundancy alike."""
    scale = DIFFICULTIES[config.difficulty].interaction
    first_a, first_b = _pairs_within_pathways(regulators, regulator_pathway, 2.0, rng)
    order = np.argsort(source, kind="stable")
    starts = np.searchsorted(source[order], np.arange(config.n_genes + 1))
    none = np.zeros(0, int)
    parts = [(none, none, none, np.zeros(0))]
    for a, b in zip(first_a, first_b, strict=True):
        edges = np.concatenate([order[starts[g] : starts[g + 1]] for g in (a, b)])
        genes, inverse = np.unique(target[edges], return_inverse=True)
        summed = np.bincount(inverse, weight[edges])
        share = min(rng.uniform(0.2, 0.7), 150 / len(genes))
        kept = (rng.random(len(genes)) < share) & (genes != a) & (genes != b)
        # A loss of both makes the product of the two influences positive, so minus the summed weight is more of the
        # same (synergy) and plus the summed weight is less of it (redundancy, masking).
        values = rng.choice([-1.0, 1.0]) * scale * rng.lognormal(-0.2, 0.5) * summed[kept]
        parts.append((genes[kept], np.full(kept.sum(), a), np.full(kept.sum(), b), values))
    return Gates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _scale_gates(n_genes, gates: Gates, is_regulator) -> Gates:
    """Leave the gates on regulators at most half of the loop gain."""
    none = np.zeros(0)
    radius = _loop_radius(n_genes, none.astype(int), none.astype(int), none, gates, is_regulator)
    factor = min(1.0, 0.5 * LOOP_GAIN / radius) if radius > 0 else 1.0
    weight = np.where(is_regulator[gates.target], factor, 1.0) * gates.weight
    return Gates(gates.target, gates.source_a, gates.source_b, weight)


def _scale_edges(n_genes, source, target, weight, gates: Gates, is_regulator, most: float) -> np.ndarray:
    """Scale the edges onto regulators until the spectral radius of the loop, gates included, is at most `most`."""
    while (radius := _loop_radius(n_genes, source, target, weight, gates, is_regulator)) > most:
        weight = np.where(is_regulator[target], 0.99 * most / radius, 1.0) * weight
    return weight


def _loop_radius(n_genes, source, target, weight, gates: Gates, is_regulator) -> float:
    """Spectral radius of |W| plus the largest slopes of the gates, by power iteration on the non-negative matrix."""
    import scipy.sparse as sp

    rows = np.concatenate([target, gates.target, gates.target])
    columns = np.concatenate([source, gates.source_a, gates.source_b])
    values = np.abs(np.concatenate([weight, gates.weight, gates.weight]))
    values = values * is_regulator[rows]
    loop = sp.csr_array((values, (rows, columns)), shape=(n_genes, n_genes))
    vector = is_regulator.astype(float)
    radius = 0.0
    for _ in range(200):
        image = loop @ vector
        radius = float(np.linalg.norm(image) / np.linalg.norm(vector))
        if radius == 0.0:
            return 0.0
        vector = image / np.linalg.norm(image)
    return radius


def _cell_line(
    name, config, log_level, housekeeping, module, member_pathway, member_gene, regulators, regulator_pathway,
    edges, gates, stress, essentiality, rng,
) -> CellLine:  # fmt: skip
    """Draw one line: its basal program, its edge weights, the loadings of its cell states."""
    n_genes, n_pathways = config.n_genes, config.n_pathways
    source, target, weight = edges
    divergence = DIFFICULTIES[config.difficulty].line_divergence
    level = log_level + rng.normal(0.0, 0.5, n_genes)
    np.add.at(level, member_gene, rng.normal(0.0, 0.5, n_pathways)[member_pathway])
    silent = rng.random(n_genes) < config.silent_share
    silent[housekeeping] = False
    level = level - np.median(level[~silent]) + np.where(silent, SILENT_LOG_SHIFT, 0.0)
    level[housekeeping] = rng.normal(0.0, 0.2, len(housekeeping)) + log_level[housekeeping] / 3.0
    others = np.delete(np.exp(level), housekeeping).sum()
    share = config.housekeeping_share
    level[housekeeping] += np.log(share / (1 - share) * others / np.exp(level[housekeeping]).sum())

    pathway_of = np.zeros(n_genes, int)
    pathway_of[regulators] = regulator_pathway
    gain = rng.lognormal(0.0, divergence, (n_pathways, module.max() + 1))[pathway_of[source], module[target]]
    open_edge = rng.random(len(source)) >= 0.2 * min(1.0, divergence)
    is_regulator = np.isin(np.arange(n_genes), regulators)
    line_weight = _scale_edges(n_genes, source, target, weight * gain * open_edge, gates, is_regulator, MAX_LOOP_GAIN)
    return CellLine(
        name=name,
        log_level=level,
        edge_weight=line_weight,
        state_loading=_state_loading(config, level, member_pathway, member_gene, regulators, edges, line_weight, rng),
        stress=stress * rng.lognormal(0.0, 0.3, n_genes),
        essentiality=essentiality * rng.lognormal(0.0, 0.5, n_genes) * ~silent,
    )


def _state_loading(config, level, member_pathway, member_gene, regulators, edges, line_weight, rng) -> np.ndarray:
    """Expression per unit of pathway or hub activity, propagated linearly: (I - W D)^-1 e for each factor e.

    Controls vary along these, so their co-expression carries information on the network, mixed over regulators that
    vary together: co-expression is not the effect of a perturbation.
    """
    import scipy.sparse as sp

    n_genes, n_pathways = config.n_genes, config.n_pathways
    source, target, _ = edges
    reach = np.bincount(source, line_weight**2, n_genes)
    hubs = regulators[np.argsort(-reach[regulators], kind="stable")[: max(4, n_pathways // 4)]]
    drive = np.zeros((n_pathways + len(hubs), n_genes))
    drive[member_pathway, member_gene] = rng.uniform(0.2, 1.0, len(member_gene))
    drive[n_pathways + np.arange(len(hubs)), hubs] = 1.0
    # A few states, such as growth, dominate the differences between cells; most are faint.
    drive *= rng.lognormal(0.0, 0.5, len(drive))[:, None]
    influence = np.exp(level) / (np.exp(level) + np.exp(ACTIVE_LOG_LEVEL))
    matrix = sp.csr_array((line_weight * influence[source], (target, source)), shape=(n_genes, n_genes))
    loading = drive
    for _ in range(60):
        loading = (matrix @ loading.T).T + drive
    sd = np.sqrt(np.sum(loading**2, axis=0))
    loading = loading * (config.state_log_sd / np.median(sd[sd > 0]))
    sd = np.sqrt(np.sum(loading**2, axis=0))
    most = 2.0 * config.state_log_sd
    loading = loading * np.minimum(1.0, most / np.maximum(sd, 1e-12))
    # Without a weighted mean, a cell's state does not change the sum over genes to first order, so depth stays depth.
    share = np.exp(level) / np.exp(level).sum()
    return (loading - (loading @ share)[:, None]).astype(np.float32)
