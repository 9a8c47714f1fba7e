"""Tests without a server or an SDK: streams are scripted, and time is virtual."""
