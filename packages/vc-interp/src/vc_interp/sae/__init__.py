"""Sparse autoencoders: trained with sae-lens (extra `vc-interp[sae]`), read and measured without it.

`order.py` is the order of rows, a pure function of seed and step; `train.py` trains and resumes; `dictionary.py` reads the
folder that sae-lens writes, with numpy alone; `measure.py` and `stability.py` say how good a dictionary is.
"""
