"""Screens whose cells respond by their state: a simulated one whose states are known, and real ones with a cell type hidden."""

from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
from vc_data.convert.run import convert
from vc_data.screen.file import read_screen
from vc_data.simulate import SimulatorConfig, write_simulation
from vc_featurize.bank import write_features
from vc_featurize.geneset import geneset_features

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "single_cell"
REAL = {"kang": "kang2018_pbmc_ifnb", "zhao": "zhao2021_glioblastoma_panobinostat"}
STATES = ("State1", "State2")
DONORS = {"DonorA": 0.3, "DonorB": 0.5, "DonorC": 0.7}  # share of their cells in the first state
SEPARATOR = ":"  # between donor and state, for a model that is told both
WORLD = replace(
    SimulatorConfig(),
    n_genes=500,
    n_pathways=16,
    n_singles=36,
    n_pairs=0,
    cell_lines=STATES,
    cells_per_condition=75,
    controls_per_line=450,
    depth_median=8000.0,
    difficulty="hard",
)


@dataclass(frozen=True)
class Arena:
    """One screen to play on.

    Attributes:
        name: Of the screen.
        screen: screen-v1.
        features: features-v1 of the targets, or None.
        lines: Lines to hide in turn.
        unseen: Share of the hidden line's targets that no other line trains on.
        told: The same cells in lines that are (donor, state), or None where states are not known.
    """

    name: str
    screen: Path
    features: Path | None
    lines: tuple[str, ...]
    unseen: float = 0.0
    told: Path | None = None


def state_world(folder: Path, seed: int, config: SimulatorConfig = WORLD) -> Arena:
    """Donors whose cells are in one of two states, each with a basal program and a network of its own.

    The states are two cell lines of the simulator at its highest divergence, so a perturbation does something else in each.
    Donors differ in how many cells of each state they have and in nothing else: what is learnt of a state in two donors holds in
    the third, which is hidden.
    """
    write_simulation(config, seed, folder / "simulated")
    data = anndata.read_h5ad(folder / "simulated" / "screen.h5ad")
    state_n = data.obs["cell_line"].astype(str).to_numpy()
    donor_n, rng = np.empty(len(state_n), dtype=object), np.random.default_rng([seed, 11])
    first_d = np.array(list(DONORS.values()))
    for state, share_d in zip(STATES, (first_d, 1 - first_d), strict=True):
        at = np.flatnonzero(state_n == state)
        donor_n[at] = rng.choice(list(DONORS), len(at), p=share_d / share_d.sum())
    data.obs["batch"] = donor_n.astype(str)
    screens = {}
    for name, line_n in (("screen", donor_n.astype(str)), ("told", _joined(donor_n, state_n))):
        data.obs["cell_line"] = line_n
        data.write_h5ad(folder / f"{name}.h5ad")
        screens[name] = convert(folder / f"{name}.h5ad", folder / f"{name}.zarr").path
    targets = sorted(set(data.obs["perturbation"].astype(str)) - {"control"})
    features = write_features(
        folder / "features.zarr", geneset_features(folder / "simulated" / "pathways.gmt", targets), config={}
    )
    return Arena(f"states-{seed}", screens["screen"], Path(features), (list(DONORS)[-1],), 0.3, screens["told"])


def real_screen(folder: Path, name: str) -> Arena:
    """A real screen, every line of which is hidden in turn."""
    screen = convert(SHARED / f"{REAL[name]}.h5ad", folder / "screen.zarr").path
    obs = read_screen(screen).obs
    return Arena(name, screen, None, tuple(sorted(set(obs["cell_line"].astype(str)[~obs["is_control"]]))))


def _joined(donor_n: np.ndarray, state_n: np.ndarray) -> np.ndarray:
    return np.array([f"{donor}{SEPARATOR}{state}" for donor, state in zip(donor_n, state_n, strict=True)])
