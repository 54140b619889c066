"""From predictions to what to do next: one module per question, each a plain function that returns a `Decision`.

Questions on tables alone: `next`, `lethal`, `biomarker`, `moa`, `target`, `combo`. Questions to a fitted model: the same
and `safety`, `escape`, `steer`, `network`, `mechanism`. A `Decision` is a ranked table with intervals, evidence, reasons
to doubt and a verdict on support, and the one figure that shows it (`vc_model.plan.results`).
"""
