"""Group problems: everything that the same capability would solve becomes one line that names the capability."""

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Final

from shipper.kernel.source import Problem

_REFUSED: Final = (os.strerror(errno.EACCES), os.strerror(errno.EPERM))
_RIGHTS: Final = "run as root, or with CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE"


def grouped(problems: Iterable[Problem]) -> Iterator[tuple[str, str]]:
    """Cause and line of each problem; all files without permission are grouped into one."""
    refused: list[Problem] = []
    for problem in problems:
        if problem.reason in _REFUSED:
            refused.append(problem)
        else:
            yield problem.file, f"{problem.file}: {problem.reason}"
    if refused:
        first, *others = refused
        what = f"{first.file} and {len(others)} more files" if others else first.file
        yield "refused", f"{what}: {first.reason.lower()}; {_RIGHTS}"
