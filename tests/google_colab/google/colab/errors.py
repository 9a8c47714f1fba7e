"""The exceptions that its modules share."""


class Error(Exception):
    """What all of Colab's errors derive from."""


class RuntimeManagementError(Error):
    """Asked for something that only Google's own Colab has."""
