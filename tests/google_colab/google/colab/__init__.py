"""Stands in for Google Colab's own package: the names, signatures and exceptions that the lesson uses, and no more.

Written from the public source of colabtools. ``google`` has no ``__init__``: it is a namespace of many packages.
"""
