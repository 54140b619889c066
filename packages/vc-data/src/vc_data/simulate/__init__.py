"""A mechanistic simulator of perturbation screens with known truth.

Genes in pathways regulate each other through a sparse signed network; a perturbation moves its steady state; cells are
sequenced around it. `network.py` is the cell, `world.py` draws one, `effects.py` is the perturbation, `cells.py` the
sequencer, `screen.py` the whole. The equations and a comparison with real screens are in docs/simulator.md.
"""

from vc_data.simulate.config import DIFFICULTIES, PRESETS, Difficulty, SimulatorConfig, SimulatorError
from vc_data.simulate.effects import Perturbation, TrueEffects, solve_effects
from vc_data.simulate.network import World
from vc_data.simulate.screen import Simulation, make_truth, simulate, write_simulation
from vc_data.simulate.world import make_world

__all__ = [
    "DIFFICULTIES",
    "PRESETS",
    "Difficulty",
    "Perturbation",
    "Simulation",
    "SimulatorConfig",
    "SimulatorError",
    "TrueEffects",
    "World",
    "make_truth",
    "make_world",
    "simulate",
    "solve_effects",
    "write_simulation",
]
