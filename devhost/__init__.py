"""A local host for the function app, for machines without Azure Functions Core Tools."""
