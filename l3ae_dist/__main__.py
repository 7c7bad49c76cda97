"""``python -m l3ae_dist`` is the command ``l3ae-dist``."""

from l3ae_dist.cli.app import main

if __name__ == "__main__":
    main()
