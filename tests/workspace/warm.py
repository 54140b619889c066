"""Runs the commands of the workspace as processes of their own that need not import the libraries again.

One server imports what most commands need; a command is a fork of it, with the arguments, the folder, the environment and
the open files of whoever started it. Pages of the documentation run dozens of commands, each of which would else spend
seconds on imports. Whether a command works from nothing is what tests/pipeline and `test_alone.py` run real processes for.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import NoReturn

COMMANDS = ("vc", "vc-contracts", "vc-data", "vc-eval", "vc-featurize", "vc-interp", "vc-model")
LIBRARIES = (
    "anndata",
    "flax.nnx",
    "jax.numpy",
    "matplotlib.figure",
    "numba",
    "optax",
    "orbax.checkpoint",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.linear_model",
    "tyro",
    "zarr",
)
"""What is imported once. None of them starts a thread when it is imported, so that a fork is safe."""

SHIM = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = {{"argv": [{name!r}, *sys.argv[1:]], "cwd": os.getcwd(), "env": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
    server.shutdown(socket.SHUT_WR)
    code = server.recv(16)
sys.exit(int(code) if code else 70)
"""


@contextlib.contextmanager
def warm_commands(folder: Path):
    """Start the server; yields a folder with one executable a command, to be put in front of PATH.

    `warm-python CODE` is among them: it runs Python code as `python -c CODE` does.
    """
    address = str(folder / "warm.sock")
    server = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE, text=True)
    scripts = folder / "bin"
    scripts.mkdir()
    for name in (*COMMANDS, "warm-python"):
        (scripts / name).write_text(SHIM.format(python=sys.executable, address=address, name=name))
        (scripts / name).chmod(0o755)
    try:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        yield scripts
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def serve(address: str) -> NoReturn:
    """Fork a process for every command that is asked for, until terminated."""
    mains = {script.name: script.value for script in entry_points(group="console_scripts") if script.name in COMMANDS}
    for name in LIBRARIES:
        import_module(name)
    for place in mains.values():
        import_module(place.partition(":")[0])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended processes are not waited for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            asker, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(asker, mains)
            asker.close()


def answer(asker: socket.socket, mains: dict[str, str]) -> NoReturn:
    """Run the command that is asked for in a process of its own, and send its exit code."""
    message, files, *_ = socket.recv_fds(asker, 1 << 20, 3)
    while more := asker.recv(1 << 20):
        message += more
    child = os.fork()
    if child == 0:
        asker.close()
        become(json.loads(message), files, mains)
    asker.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    os._exit(0)


def become(asked: dict, files: list[int], mains: dict[str, str]) -> NoReturn:
    """The command itself, with the files, the folder, the environment and the arguments of whoever asked for it."""
    for at, file in enumerate(files):
        os.dup2(file, at)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = asked["argv"]
    code = 0
    try:
        if sys.argv[0] == "warm-python":
            exec(compile(sys.argv[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            module, _, function = mains[sys.argv[0]].partition(":")
            code = getattr(import_module(module), function)() or 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
