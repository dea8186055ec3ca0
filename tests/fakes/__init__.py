"""Fakes of vendors' clouds, over TLS on this machine. They behave as the vendors document."""
