"""A pytest plugin for nbval: a kernel that dies as it starts is started once more.

Its ports are chosen before it starts. Where many kernels and servers start at the same time, another of them may have
taken one by then.
"""

from typing import Any

import nbval.kernel

start = nbval.kernel.start_new_kernel


def start_new_kernel(*arguments: Any, **options: Any) -> Any:
    """Start a kernel; if it dies, once more."""
    try:
        return start(*arguments, **options)
    except RuntimeError:
        return start(*arguments, **options)


nbval.kernel.start_new_kernel = start_new_kernel
