"""`vc fit`, `vc predict` and `vc support`: a model for use, and questions to it. The logic is `vc_model.ask`."""
