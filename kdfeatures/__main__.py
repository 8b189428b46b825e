"""python -m kdfeatures."""

from kdfeatures.cli.main import main

if __name__ == "__main__":
    main()
