"""The operations of the app, the same over HTTP and at a shell: one module for each subject, one table of them all.

An operation is a function of the parts of the app that it uses and of one request, a model. Its answer is a model, too. `table`
says which parts each one gets. No answer holds a secret, and none tells what a customer said unless the caller has sent it
along.
"""
