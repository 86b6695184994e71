"""`rua …`: the composition root. The only place where processors meet sinks."""
