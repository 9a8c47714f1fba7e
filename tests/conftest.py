"""What all tests share: an environment without the developer's keys, addresses and proxies."""

from tests.support import environment

environment.clean()


def pytest_configure(config):
    # matplotlib 3.10 (Colab's) uses names that newer versions of pyparsing call deprecated.
    config.addinivalue_line("filterwarnings", "ignore:.* deprecated - use .*:DeprecationWarning:matplotlib")
