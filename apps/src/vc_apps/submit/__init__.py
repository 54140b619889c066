"""`vc submit`: predictions of any model as a challenge's file, checked, proved and with its local score.

`settings` is what a user may say; `challenge` what a rule asks for; `check` finds what breaks it; `cells` writes the cells,
`shift` by the simplest rule; `prove` packs them and asks the official tool; `score` scores held-out perturbations; `run` is
the command.
"""
