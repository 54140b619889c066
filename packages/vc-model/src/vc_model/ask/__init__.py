"""Questions to a fitted model: what is known of each, the answers, and how much such answers were worth out of fold.

`questions` reads what is asked, `relatives` and `verdict` say what training knows of it, `memory` keeps what that takes
beside the model, `answers` makes the table, `stream` writes it in blocks, `model` joins them for Python, `plugin` takes a
user's own model, `everything` and `controls` read a screen without a split and control cells of a new context.
"""
