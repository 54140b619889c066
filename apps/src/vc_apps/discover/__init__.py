"""`vc discover VERB`: questions to tables and to fitted models, and what to do next."""
