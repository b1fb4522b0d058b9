"""Everything wrong that we could think of, as one table; run as a module, it prints what is said to each."""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tests.integration.cases import Case, attempt
from tests.integration.chain import Chain, make_chain
from tests.integration.tables.bags import BAGS, RIGS
from tests.integration.tables.bundles import BUNDLES
from tests.integration.tables.data import DATA, SCENES_VERB
from tests.integration.tables.datasets import DATASETS
from tests.integration.tables.drives import DRIVES
from tests.integration.tables.methods import METHODS
from tests.integration.tables.official import OFFICIALS
from tests.integration.tables.verbs import TRAINING, VERBS

WRONG_INPUTS: tuple[Case, ...] = (
    *(*BUNDLES, *BAGS, *RIGS, *DATA, *SCENES_VERB, *TRAINING, *VERBS),
    *(*DATASETS, *DRIVES, *OFFICIALS, *METHODS),
)
_NAME_COLUMNS, _COLUMNS = 30, 100


def rows(cases: tuple[Case, ...], root: Path) -> Iterator[str]:
    """The table `case | message`, at most 100 columns wide, temporary folders shortened to `...`."""
    chain = make_chain(root / "chain")
    for number, case in enumerate(cases):
        here = root / f"{number:03d}"
        here.mkdir()
        message = f"DEFECT: {case.defect}" if case.defect else _answer(case, chain, here)
        left = textwrap.wrap(case.name, _NAME_COLUMNS - 1)
        right = textwrap.wrap(message, _COLUMNS - _NAME_COLUMNS - 2)
        for line in range(max(len(left), len(right))):
            name, words = (part[line] if line < len(part) else "" for part in (left, right))
            yield f"{name:{_NAME_COLUMNS}}| {words}"


def _answer(case: Case, chain: Chain, here: Path) -> str:
    outcome = attempt(case, chain, here)
    message = " ".join(outcome.messages) or f"(status {outcome.status})"
    return message.replace(f"{here}/", ".../").replace(f"{chain.root}/", ".../")


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        for line in rows(WRONG_INPUTS, Path(folder)):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
