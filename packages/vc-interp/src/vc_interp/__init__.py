"""What a perturbation model has learnt: latent tables and what their dimensions mean.

Reads and writes the contract latents-v1 (`latents`). Submodules are imported where they are needed, so that importing
the package stays cheap.
"""

__version__ = "0.1.0"
