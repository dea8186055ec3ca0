"""A person's data: find all that is held about an e-mail address, erase it, and remove it once its time is over. May
import `pipeline` and all below it.
"""
