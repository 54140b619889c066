"""Training of any pure loss over nested dicts of arrays: on any mesh, resumable to the bit.

`loop.train` is the front door. `schedule` and `optimiser` say how parameters move, `sharding` where arrays lie, `state` what
a step changes, `saver` what is on disk, `log` what can be seen, `interrupt` how a run is stopped.
"""
