"""The command line, one thin file a command; nothing here imports torch until a command needs it."""
