"""What can be read from latents: dimension, and cross-validated probes, each beside its chance level."""
