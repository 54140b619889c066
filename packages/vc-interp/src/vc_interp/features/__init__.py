"""What features of a dictionary mean: for genes, perturbations, cell lines and gene sets, against nulls.

`attribution.py` features to genes, by gradient and by intervention; `moved.py` features to perturbations and lines;
`annotate.py` enrichment beside permuted labels; `recover.py` residual attribution beside PCA, ICA and random directions;
`specificity.py` regulators and their known targets; `run.py` all of it for one dictionary, into one folder.
"""
