"""The entry point ``python -m nllgen``, which supervisors start their workers with."""

from nllgen.cli import main

if __name__ == "__main__":
    main()
