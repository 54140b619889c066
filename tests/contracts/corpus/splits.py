"""Examples of splits-v1."""

import json
from collections.abc import Callable
from pathlib import Path

from corpus.base import HEADER_FAULTS, SEED, Example, changed_header, header
from corpus.screen import screen


def splits() -> dict:
    """A split of the corpus screen: G1 trains, G1+G2 is unused or validates, G2 is held out."""
    adata = screen()
    controls = list(adata.obs_names[adata.obs["is_control"]])
    part = {"G1": "train", "G1+G2": "val", "G2": "test"}
    conditions = [
        {"cell_line": line, "perturbation": label, "part": part[label]} for line in ("A549", "K562") for label in part
    ]
    conditions[1] |= {"part": "unused", "why": "too few cells"}
    return {
        "contract": header("splits"),
        "recipe": "by_perturbation",
        "seed": SEED,
        "conditions": conditions,
        "controls": {"input": controls[0::3], "reference": controls[1::3], "evaluation": controls[2::3]},
    }


def _splits_examples() -> list[Example]:
    def maker(change: Callable[[dict], object]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            content = splits()
            change(content)
            path.write_text(json.dumps(content, indent=1))

        return make

    def all_parts(content: dict, old: str, new: str) -> None:
        for row in content["conditions"]:
            row["part"] = new if row["part"] == old else row["part"]

    def newer_minor(content: dict) -> None:
        content |= {"contract": header("splits", "1.9") | {"unknown_key": 1}, "unknown_key": [None]}
        for row in content["conditions"]:
            row["unknown_key"] = "x"

    def share_a_control(content: dict) -> None:
        content["controls"]["reference"].append(content["controls"]["input"][0])

    valid = {
        "plain": lambda c: None,
        "newer_minor_version": newer_minor,
        "without_val": lambda c: [
            row.update(part="unused", why="dropped") for row in c["conditions"] if row["part"] == "val"
        ],
        "promises_less": lambda c: (c.update(recipe="cell_load"), all_parts(c, "val", "train")),
        **{
            f"recipe_{r}": lambda c, r=r: c.update(recipe=r)
            for r in ("by_cell_line", "few_shot", "gears", "of_next_year")
        },
        "with_groups": lambda c: [row.update(group="seen elsewhere") for row in c["conditions"]],
    }
    broken = {
        **{
            name: (lambda c, x=changes: c.update(contract=changed_header("splits", x)), words)
            for name, (changes, words) in HEADER_FAULTS.items()
        },
        "no_header": (lambda c: c.pop("contract"), ("contract",)),
        "header_that_is_a_list": (lambda c: c.update(contract=[1]), ("contract",)),
        **{
            f"missing_{key}": (lambda c, key=key: c.pop(key), (key,))
            for key in ("recipe", "seed", "conditions", "controls")
        },
        "unknown_part": (lambda c: c["conditions"][0].update(part="trian"), ("part",)),
        "condition_without_part": (lambda c: c["conditions"][0].pop("part"), ("part",)),
        "condition_twice": (lambda c: c["conditions"].append(dict(c["conditions"][0])), ("condition",)),
        "condition_not_in_screen": (
            lambda c: c["conditions"].append({"cell_line": "K562", "perturbation": "G9", "part": "train"}),
            ("condition",),
        ),
        "condition_of_screen_missing": (lambda c: c["conditions"].pop(1), ("condition",)),
        "empty_train": (lambda c: all_parts(c, "train", "val"), ("train",)),
        "empty_test": (lambda c: all_parts(c, "test", "val"), ("test",)),
        "controls_that_overlap": (share_a_control, ("controls",)),
        **{
            f"controls_{name}_empty": (lambda c, name=name: c["controls"].update({name: []}), ("controls",))
            for name in ("input", "reference", "evaluation")
        },
        "controls_all_empty_in_a_screen": (
            lambda c: c.update(controls={name: [] for name in ("input", "reference", "evaluation")}),
            ("controls",),
        ),
        "controls_without_evaluation": (lambda c: c["controls"].pop("evaluation"), ("controls",)),
        "controls_that_are_no_cells": (lambda c: c["controls"]["input"].append("nobody"), ("controls",)),
        "controls_that_are_perturbed": (lambda c: c["controls"]["input"].append("cell47"), ("controls",)),
        "held_out_target_trains_in_a_pair": (lambda c: all_parts(c, "val", "train"), ("G2",)),
        "held_out_target_trains_in_another_line": (lambda c: c["conditions"][2].update(part="train"), ("G2",)),
        "held_out_target_trains_in_the_line": (
            lambda c: (c.update(recipe="by_cell_line"), all_parts(c, "val", "train")),
            ("G2",),
        ),
        "empty_recipe": (lambda c: c.update(recipe=""), ("recipe",)),
        "recipe_that_is_a_list": (lambda c: c.update(recipe=["gears"]), ("recipe",)),
    }
    texts = {
        "not_json": (json.dumps(splits())[:-20], ("JSON",)),
        "empty_file": ("", ("JSON",)),
        "not_an_object": ("[1, 2]", ("object",)),
    }
    return [
        *(Example("splits", f"{name}.json", maker(change)) for name, change in valid.items()),
        *(Example("splits", f"{name}.json", maker(change), words) for name, (change, words) in broken.items()),
        *(
            Example("splits", f"{name}.json", lambda path, text=text: path.write_text(text) and None, words)
            for name, (text, words) in texts.items()
        ),
    ]


EXAMPLES = _splits_examples()
