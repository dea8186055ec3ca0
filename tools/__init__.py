"""Tools that set up, run and check this repository on a developer's machine; never deployed."""
