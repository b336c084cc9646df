"""`python -m bnstudy` is the command `bnstudy`."""

from bnstudy.app.main import main

if __name__ == "__main__":
    main()
