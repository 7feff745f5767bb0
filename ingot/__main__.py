"""``python -m ingot`` is the command ``ingot``."""

from ingot.cli.entry import run

if __name__ == "__main__":
    run()
