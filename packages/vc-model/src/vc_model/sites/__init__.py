"""Activations of a fitted model at named sites, for whoever wants to know what it has learnt (vc-interp).

`open_site` gives a `Site`: its rows block by block, what replaced activations decode to, and the mean gradient of that.
`write.py` streams rows to latents-v1; `attention.py` does so with the factors of BioJEPA's linear attention.
"""

from vc_model.sites.open import SITES, default_site, open_site
from vc_model.sites.site import Block, Site

__all__ = ["SITES", "Block", "Site", "default_site", "open_site"]
