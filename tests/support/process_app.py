"""The app of this process, for tests that change the settings it was made from."""

from leads import app


def forget_app() -> None:
    """Let the next request build the process's app again."""
    app._made.cache_clear()
