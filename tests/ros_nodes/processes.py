"""Node processes: started with arguments as by `ros2 run`, stopped by SIGINT, and by SIGKILL where that fails."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

LONGEST_STOP_S = 30.0


class NodeProcess:
    """One node; its output goes to a file, so that a full pipe never blocks it."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    @property
    def name(self) -> str:
        return self._log.stem

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float = LONGEST_STOP_S) -> int:
        return self._process.wait(timeout_s)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Its exit status; killed when it does not end."""
        if self.is_alive:
            self._process.send_signal(number)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self.wait()


class Nodes:
    """Starts nodes; when this is left, none of them is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[NodeProcess] = []

    def start(
        self,
        module: str,
        *,
        name: str,
        namespace: str = "",
        remap: dict[str, str] | None = None,
        params_file: Path | None = None,
        **parameters: object,
    ) -> NodeProcess:
        """Runs a module of ours as a node; the parameters go on the command line, after those of the file."""
        rules = {"__node": name, **({"__ns": namespace} if namespace else {}), **(remap or {})}
        arguments = [word for source, target in rules.items() for word in ("-r", f"{source}:={target}")]
        arguments += ["--params-file", str(params_file)] if params_file else []
        arguments += [word for key, value in parameters.items() for word in ("-p", f"{key}:={_yaml(value)}")]
        command = [sys.executable, "-m", module, "--ros-args", *arguments]
        node = NodeProcess(command, self._folder / f"{name}-{len(self._started)}.log")
        self._started.append(node)
        return node

    def __enter__(self) -> Nodes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self._started:
            status = node.stop()
            # pytest shows it with a test that failed; what happened there, a fixture is not told.
            sys.stdout.write(f"--- {node.name} ended with {status}\n{node.log}")


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
