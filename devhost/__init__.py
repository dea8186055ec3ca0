"""A local host for the function app where Azure Functions Core Tools are missing."""
