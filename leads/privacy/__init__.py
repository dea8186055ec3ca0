"""Personal data: search by e-mail address, erasure and retention. May import `pipeline` and all below it."""
