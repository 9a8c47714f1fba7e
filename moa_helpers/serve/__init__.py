"""A mixture as a model, for any client that speaks OpenAI's or Anthropic's format. See ``python -m moa_helpers.serve``.

``moa.serve(...)`` is this module, called: a module and a function of the same name would hide one another, depending on
which of them is imported last.
"""

import sys
from types import ModuleType
from typing import Any

from moa_helpers.serve.running import Server, serve

__all__ = ["Server", "serve"]


class _Called(ModuleType):
    """A module that may be called like its function."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return serve(*arguments, **settings)


_Called.__call__.__doc__ = serve.__doc__
sys.modules[__name__].__class__ = _Called
