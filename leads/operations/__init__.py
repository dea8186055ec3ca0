"""The operations of the app, the same over HTTP and at a shell: one module for each subject, one table of them all.

An operation is a function of the app and one request, a model; what it answers is a model, too. Nothing here answers a secret,
and nothing that a customer said unless the caller has sent it along.
"""
