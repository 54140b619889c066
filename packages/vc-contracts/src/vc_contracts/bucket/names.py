"""Which local copy stands for which address, in this process: messages and records name the address."""

_NAMES: dict[str, str] = {}


def remember(local: str, address: str) -> None:
    """From now on `replace` writes the address where the local path stands."""
    _NAMES[local] = address


def forget(local: str) -> None:
    """Show the local path itself from now on."""
    _NAMES.pop(local, None)


def replace(text: str) -> str:
    """A text with every remembered local path as its address."""
    for local in sorted(_NAMES, key=len, reverse=True):
        text = text.replace(local, _NAMES[local])
    return text


def address_of(local: str) -> str | None:
    """The address that a local path, or the folder it lies in, stands for."""
    for known in sorted(_NAMES, key=len, reverse=True):
        if local == known or local.startswith(f"{known}/"):
            return _NAMES[known] + local[len(known) :]
    return None
