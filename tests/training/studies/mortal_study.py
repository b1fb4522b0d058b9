"""A study whose process is killed when the first epoch of its first student was written down: `STUDY DATA OUT`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from understudy_training.loop.checkpoints import Checkpoints
from understudy_training.studies.planning import make_plan
from understudy_training.studies.running import run_study
from understudy_training.studies.study_file import read_study


def main() -> None:
    """Runs the first job of the method `dense`."""
    study, data, out = (Path(argument) for argument in sys.argv[1:])
    read, beside = read_study(study)
    plan = make_plan(read, beside, {"main": data})
    finish_epoch = Checkpoints.on_train_epoch_end

    def and_die(self: Checkpoints, *arguments: object) -> None:
        finish_epoch(self, *arguments)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.on_train_epoch_end = and_die  # type: ignore[method-assign]
    run_study(plan, plan.only(("dense",))[:1], out, threads=1)


if __name__ == "__main__":
    main()
