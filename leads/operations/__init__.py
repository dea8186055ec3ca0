"""The operations of the app, the same over HTTP and at a shell: one module for each subject, one table of all operations.

An operation is a function. It takes parts of the app, which `table` names, and a request. Request and answer are models. No
answer holds a secret. Only operations marked `personal` answer data of customers that the request did not hold.
"""
