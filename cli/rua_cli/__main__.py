"""`python -m rua_cli …` is `rua …`."""

from rua_cli.main import main

main()
