"""What a conversion decided, in words, as its steps hand it on."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Notes:
    """What one step, or all steps so far, decided."""

    statements: tuple[str, ...] = ()
    """Guesses and rules that were used."""
    questions: tuple[str, ...] = ()
    """What was decided by default although another meaning is as likely; each names its flag. `--strict` refuses them."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Why -> how many cells."""

    def __add__(self, later: "Notes") -> "Notes":
        """These notes, then later ones; cells that were dropped for one reason are counted together."""
        dropped = dict(self.dropped)
        for why, n in later.dropped.items():
            dropped[why] = dropped.get(why, 0) + n
        return Notes(self.statements + later.statements, self.questions + later.questions, dropped)


def say(*statements: str) -> Notes:
    """Notes that hold statements only."""
    return Notes(statements)


def ask(*questions: str) -> Notes:
    """Notes that hold questions only."""
    return Notes(questions=questions)
