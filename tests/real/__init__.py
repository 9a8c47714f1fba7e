"""Against a real language model that ``tools/local.py`` serves on this machine: ``make real``."""
