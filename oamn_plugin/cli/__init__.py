"""The command line: ``oamn COMMAND ...``, one module a command, each imported when it is used."""
